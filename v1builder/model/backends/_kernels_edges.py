"""Edges and input spikes in the order in which the compiled kernels read them.

All sources are numbered together: the cells first, then the units of every input, then the sites of
short-term plasticity in the order of their source units. Edges are sorted by (block of targets,
source, slot), where

    slot = (delay * R + receptor) * Np + target

is where a spike's weight goes in a ring buffer, counted from the step of the spike, and where its
gradient comes from. Each task of the forward pass walks only the edges into its own block.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray
from torch import Tensor

from v1builder.model.backends._kernels_forward import WIDTH
from v1builder.model.backends._kernels_layout import PLASTICITY, Graph, InputSpikes, Sites
from v1builder.model.backends._kernels_sites import count_releases
from v1builder.model.backends.arguments import check_edges
from v1builder.model.rollout import Projection
from v1builder.schema.errors import ConfigError

# What arrives at a block of 2 048 cells through one receptor fits into a level 1 cache (3 delays). Runs
# of edges shorter than about 48 cost more than that gains: at 17 000 cells with 400 edges each a walk took
# .91 ns per edge in 2 blocks, .54 in 8 and .73 in 16. Two blocks at least are for the forward threads.
_CELLS_PER_BLOCK: Final = 2048
_EDGES_PER_RUN: Final = 48
_MOST_BLOCKS: Final = 32


@dataclass(frozen=True)
class EdgePlan:
    """Edges of all projections, merged and sorted. Weights are gathered by `order`.

    Attributes:
        order: [e] int32 or int64, position in the concatenated projections.
        slot: [e] int32.
        row: [n_blocks * n_sources + 1] first edge of each source into each block of targets.
        n_blocks, block_size: blocks of targets, in cells (a multiple of the tile's width).
        n_padded: number of cells, rounded up to whole tiles.
        n_edges: of every projection.
        first_source: number of the first unit of every input.
        site_order: [s] int64, the contract's number of every site.
        first_site: [units + 1] first site of every cell and input unit.
    """

    order: NDArray[np.integer]
    slot: NDArray[np.int32]
    row: NDArray[np.int64]
    n_blocks: int
    block_size: int
    n_padded: int
    n_edges: list[int]
    first_source: dict[str, int]
    site_order: Tensor
    first_site: NDArray[np.int64]

    def graph(self, weights: Sequence[Tensor], dtype: np.dtype) -> Graph:
        """The edges with the weights of all projections in the kernels' order."""
        sorted_weights = np.empty(len(self.order), dtype)
        if weights:
            merged = weights[0] if len(weights) == 1 else torch.cat(tuple(weights))
            _take(merged.detach().contiguous().numpy(), self.order, sorted_weights)
        return Graph(sorted_weights, self.slot, self.row, self.n_blocks, self.block_size)

    def scatter(self, gradient: NDArray[Any]) -> list[Tensor]:
        """The gradient of every projection's weights from that of the weights of `graph`."""
        merged = np.empty_like(gradient)
        _put(gradient, self.order, merged)
        return list(torch.from_numpy(merged).split(self.n_edges))

    def sites(self, plasticity: Sequence[Tensor], dtype: np.dtype) -> Sites:
        """The sites with their coefficients, in the order of `PLASTICITY`; none without."""
        if not plasticity:
            return Sites(self.first_site, *[np.zeros(0, dtype)] * len(PLASTICITY))
        values = (value.detach()[self.site_order].contiguous().numpy() for value in plasticity)
        return Sites(self.first_site, *values)

    @property
    def n_units(self) -> int:
        """Number of cells and input units."""
        return len(self.first_site) - 1


_Shape = tuple[int, int, int]
_Entry = tuple[tuple[ReferenceType[Projection], ...], _Shape, EdgePlan]
_PLANS: WeakKeyDictionary[Projection, list[_Entry]] = WeakKeyDictionary()


def plan_edges(projections: Sequence[Projection], shape: _Shape) -> EdgePlan:
    """The plan of these projections, made once and kept as long as the projections live.

    Args:
        projections: edges.
        shape: number of cells, receptors and ring positions (longest delay).

    Raises:
        ConfigError: an edge points outside the network or its delay outside the ring.
    """
    if not projections:
        return _make_plan(projections, shape)
    known = _PLANS.setdefault(projections[0], [])
    known[:] = [entry for entry in known if all(r() is not None for r in entry[0])]
    for references, its_shape, plan in known:
        same = its_shape == shape and len(references) == len(projections)
        if same and all(r() is p for r, p in zip(references, projections, strict=True)):
            return plan
    plan = _make_plan(projections, shape)
    known.append((tuple(ref(p) for p in projections), shape, plan))
    return plan


def _make_plan(projections: Sequence[Projection], shape: _Shape) -> EdgePlan:
    n_cells, n_receptors, n_delays = shape
    n_padded = -(-n_cells // WIDTH) * WIDTH
    first_source: dict[str, int] = {}
    n_units = n_cells
    for projection in projections:
        check_edges(projection, shape)
        if projection.source is not None and projection.source not in first_source:
            first_source[projection.source] = n_units
            n_units += projection.n_source
    offsets = [0 if p.source is None else first_source[p.source] for p in projections]
    unit_of_site = np.concatenate(
        [np.empty(0, np.int64)]
        + [o + p.site_source.numpy() for o, p in zip(offsets, projections, strict=True)]
    )
    site_order = np.argsort(unit_of_site, kind="stable")
    rank = np.empty_like(site_order)
    rank[site_order] = np.arange(len(rank))
    n_sources = n_units + len(rank)

    block_size = -(-n_padded // (_count_blocks(projections, n_cells) * WIDTH)) * WIDTH
    n_blocks = -(-n_padded // block_size)
    n_slots = (n_delays + 1) * n_receptors * n_padded
    if n_slots >= 2**31:
        raise ConfigError.of(
            "cells x receptors x delays is too large for the fused backend",
            "backend 'fused'",
            f"{n_slots} positions in a ring; below {2**31} are possible",
            "use a longer time step, or backend 'reference'",
        )
    of_row = np.int32 if n_sources * n_blocks < 2**31 else np.int64
    rows, slots = [np.empty(0, of_row)], [np.empty(0, np.int32)]
    for p, offset in zip(projections, offsets, strict=True):
        target = p.target_index.numpy().astype(np.int32, copy=False)
        numbers = np.concatenate([offset + np.arange(p.n_source), n_units + rank[p.sites]])
        source = numbers.astype(of_row)[p.source_index.numpy()]
        rows.append(source + (target // block_size).astype(of_row) * n_sources)
        delayed = p.delay_steps.numpy().astype(np.int32) * n_receptors + p.receptor.numpy()
        slots.append((delayed * n_padded + target).astype(np.int32, copy=False))
    row, order, slot = _sort(np.concatenate(rows), np.concatenate(slots), n_sources * n_blocks)
    return EdgePlan(
        order=order,
        slot=slot,
        row=row,
        n_blocks=n_blocks,
        block_size=block_size,
        n_padded=n_padded,
        n_edges=[len(p.receptor) for p in projections],
        first_source=first_source,
        site_order=torch.from_numpy(site_order),
        first_site=np.searchsorted(unit_of_site[site_order], np.arange(n_units + 1)),
    )


def _count_blocks(projections: Sequence[Projection], n_cells: int) -> int:
    """Blocks of targets: those that the backward pass, which walks the edges of cells, likes best."""
    recurrent = [p for p in projections if p.source is None]
    n_edges = sum(len(p.receptor) for p in recurrent)
    n_rows = sum(len(p.site_source) or p.n_source for p in recurrent)
    by_run = n_edges // (_EDGES_PER_RUN * max(n_rows, 1))
    fewest = 2 if n_cells >= _CELLS_PER_BLOCK else 1
    return max(fewest, min(n_cells // _CELLS_PER_BLOCK, by_run, _MOST_BLOCKS))


def _sort(
    row_of: NDArray[np.integer], slot: NDArray[np.int32], n_rows: int
) -> tuple[NDArray[np.int64], NDArray[np.integer], NDArray[np.int32]]:
    """First edge of every row, the edges in order of (row, slot) as they were before, their slots.

    By counting, then each row by itself: 47 million edges in 2 s and 1.4 GB, where sorting them all at once
    took 13 s and 3.3 GB.
    """
    first = np.zeros(n_rows + 1, np.int64)
    order = np.empty(len(slot), np.int32 if len(slot) < 2**31 else np.int64)
    _count_rows(row_of, first[1:])
    np.cumsum(first, out=first)
    _gather_rows(row_of, first[:-1].copy(), order)
    sorted_slot = np.empty_like(slot)
    _sort_rows(first, slot, order, sorted_slot)
    return first, order, sorted_slot


@njit(cache=True)
def _count_rows(row_of, count):
    for e in range(row_of.shape[0]):
        count[row_of[e]] += 1


@njit(cache=True)
def _gather_rows(row_of, fill, order):
    for e in range(row_of.shape[0]):
        order[fill[row_of[e]]] = e
        fill[row_of[e]] += 1


@njit(cache=True, parallel=True)
def _sort_rows(first, slot, order, sorted_slot):
    for row in prange(first.shape[0] - 1):
        here = slice(first[row], first[row + 1])
        before = order[here].copy()
        of_row = slot[before]
        by_slot = np.argsort(of_row, kind="mergesort")  # stable
        order[here] = before[by_slot]
        sorted_slot[here] = of_row[by_slot]


def list_spikes(
    inputs: Mapping[str, Tensor], plan: EdgePlan, n_batch: int, n_steps: int, dtype: np.dtype
) -> InputSpikes:
    """Lists the non-zero entries of dense inputs [b, t, n_source], in order of (b, t, source)."""
    arrays = []
    for name, first in plan.first_source.items():
        dense = inputs[name].detach()
        if not dense.is_floating_point():
            dense = dense.to(torch.uint8) if dense.dtype != torch.bool else dense.view(torch.uint8)
        arrays.append((first, dense.contiguous().numpy().reshape(n_batch * n_steps, -1)))
    start = np.zeros(n_batch * n_steps + 1, np.int64)
    for _, dense in arrays:
        _count(dense, start[1:])
    np.cumsum(start, out=start)
    fill = start[:-1].copy()
    source = np.empty(start[-1], np.int32)
    value = np.empty(start[-1], dtype)
    for first, dense in arrays:
        _fill(dense, first, fill, source, value)
    return InputSpikes(start, source, value)


def make_room(spikes: InputSpikes, first_site: NDArray[np.int64]) -> InputSpikes:
    """Room for the spikes and for what the sites of their sources release at each of them."""
    start = np.zeros_like(spikes.start)
    count_releases(spikes.start, spikes.source, first_site, start[1:])
    np.cumsum(start, out=start)
    return InputSpikes(
        start, np.empty(start[-1], np.int32), np.empty(start[-1], spikes.value.dtype)
    )


@njit(cache=True, parallel=True)
def _take(values, order, out):
    for e in prange(order.shape[0]):
        out[e] = values[order[e]]


@njit(cache=True, parallel=True)
def _put(values, order, out):
    for e in prange(order.shape[0]):
        out[order[e]] = values[e]


@njit(cache=True, parallel=True)
def _count(dense, count):
    for row in prange(dense.shape[0]):
        total = 0
        for s in range(dense.shape[1]):
            if dense[row, s] != 0:
                total += 1
        count[row] += total


@njit(cache=True, parallel=True)
def _fill(dense, first, fill, source, value):
    for row in prange(dense.shape[0]):
        at = fill[row]
        for s in range(dense.shape[1]):
            if dense[row, s] != 0:
                source[at] = first + s
                value[at] = dense[row, s]
                at += 1
        fill[row] = at
