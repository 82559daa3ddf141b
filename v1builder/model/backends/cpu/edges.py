"""Edges and input spikes in the order in which the CPU kernels read them, see `backends.plan`.

Each task of the forward pass walks only the edges into its own block of targets.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray
from torch import Tensor

from v1builder.model.backends.cpu.sites import count_releases
from v1builder.model.backends.cpu.structures import EmittedSpikes
from v1builder.model.backends.cpu.tiles import WIDTH, Array
from v1builder.model.backends.plan import EdgePlan, Ring, SortedEdges
from v1builder.model.rollout import Projection

# What arrives at a block of 2 048 cells through one receptor fits into a level 1 cache (3 delays). Runs
# of edges shorter than about 48 cost more than that gains: at 17 000 cells with 400 edges each a walk took
# .91 ns per edge in 2 blocks, .54 in 8 and .73 in 16. Two blocks at least are for the forward threads.
_CELLS_PER_BLOCK: Final = 2048
_EDGES_PER_RUN: Final = 48
_MOST_BLOCKS: Final = 32


def sort_edges(
    projections: Sequence[Projection], numbers: Sequence[Array], n_sources: int, ring: Ring
) -> SortedEdges:
    """See `plan.Sorting`."""
    n_blocks = _count_blocks(projections, ring.n_cells)
    block_size = -(-ring.n_padded // (n_blocks * WIDTH)) * WIDTH
    n_blocks = -(-ring.n_padded // block_size)
    of_row = np.int32 if n_sources * n_blocks < 2**31 else np.int64
    rows, slots = [np.empty(0, of_row)], [np.empty(0, np.int32)]
    for p, number in zip(projections, numbers, strict=True):
        target = p.target_index.numpy().astype(np.int32, copy=False)
        source = number.astype(of_row)[p.source_index.numpy()]
        rows.append(source + (target // block_size).astype(of_row) * n_sources)
        delayed = p.delay_steps.numpy().astype(np.int32) * ring.n_receptors + p.receptor.numpy()
        slots.append((delayed * ring.n_padded + target).astype(np.int32, copy=False))
    row, order, slot = _sort(np.concatenate(rows), np.concatenate(slots), n_sources * n_blocks)
    dense_slot = _dense_slot(slot, n_sources, block_size, ring)
    edges, places, rows_of = (torch.from_numpy(one) for one in (order, slot, row))
    return SortedEdges(edges, places, rows_of, n_blocks, block_size, dense_slot)


def _dense_slot(slot: NDArray[np.int32], n_sources: int, block_size: int, ring: Ring) -> int:
    """See `EdgePlan.dense_slot`; `slot` is sorted."""
    if not len(slot) or len(slot) != n_sources * ring.n_cells or slot[0] % ring.n_padded:
        return -1
    done = 0
    for start in range(0, ring.n_cells, block_size):
        n = min(block_size, ring.n_cells - start)
        rows = slot[done : done + n_sources * n].reshape(n_sources, n)
        if not (rows == slot[0] + np.arange(start, start + n)).all():
            return -1
        done += rows.size
    return int(slot[0])


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


def gather(values: Tensor, order: Tensor) -> Tensor:
    """values[order], by all threads."""
    found = torch.empty(len(order), dtype=values.dtype)
    _take(values.numpy(), order.numpy(), found.numpy())
    return found


def scatter(values: Tensor, order: Tensor) -> Tensor:
    """The inverse of `gather`."""
    found = torch.empty_like(values)
    _put(values.numpy(), order.numpy(), found.numpy())
    return found


def list_spikes(
    inputs: Mapping[str, Tensor], plan: EdgePlan, like: Tensor, n_steps: int
) -> EmittedSpikes:
    """Lists the non-zero entries of dense inputs [b, t, n_source], in order of (b, t, source).

    Args:
        inputs: by name.
        plan: of the edges, which gives the inputs their place.
        like: [b, n] in the model's dtype.
        n_steps: of the rollout.
    """
    start = np.zeros(len(like) * n_steps + 1, np.int64)
    arrays = []
    for name, first in plan.first_source.items():
        dense = inputs[name].detach()
        if dense.dtype == torch.bool:
            dense = dense.view(torch.uint8)
        elif not dense.is_floating_point():
            dense = dense.to(torch.uint8)
        if dense.stride(-1) != 1:
            dense = dense.contiguous()
        begin, flat = _rows(dense)
        _count(flat, begin, dense.shape[-1], start[1:])
        arrays.append((first, dense.shape[-1], begin, flat))
    np.cumsum(start, out=start)
    fill = start[:-1].copy()
    source = torch.empty(int(start[-1]), dtype=torch.int32)
    value = torch.empty(int(start[-1]), dtype=like.dtype)
    for first, n, begin, flat in arrays:
        if flat.dtype == np.uint8:
            words = flat[: len(flat) // 8 * 8].view(np.uint64)
            _fill_from_words(flat, words, begin, n, first, fill, source.numpy(), value.numpy())
        else:
            _fill(flat, begin, n, first, fill, source.numpy(), value.numpy())
    return EmittedSpikes(torch.from_numpy(start), source, value)


def _rows(dense: Tensor) -> tuple[NDArray[np.int64], Array]:
    """Where each row (b, t) of [b, t, n] begins in the memory it is a part of, and that memory, not copied.

    A part of the steps of an input is not contiguous; its copy would cost as much as all that is done here.
    """
    n_samples, n_steps, _ = dense.shape
    sample, step, _ = dense.stride()
    begin = np.arange(n_samples)[:, None] * sample + np.arange(n_steps) * step
    begin += int(dense.storage_offset())
    size = dense.untyped_storage().nbytes() // dense.element_size()
    flat = dense.as_strided((size,), (1,), 0).numpy()
    return begin.ravel(), flat


def make_room(spikes: EmittedSpikes, first_site: Array) -> EmittedSpikes:
    """Room for the spikes and for what the sites of their sources release at each of them."""
    start = torch.zeros_like(spikes.start)
    count_releases(spikes.start.numpy(), spikes.source.numpy(), first_site, start.numpy()[1:])
    torch.cumsum(start, 0, out=start)
    n = int(start[-1])
    return EmittedSpikes(start, spikes.source.new_empty(n), spikes.value.new_empty(n))


@njit(cache=True, parallel=True)
def _take(values, order, out):
    for e in prange(order.shape[0]):
        out[e] = values[order[e]]


@njit(cache=True, parallel=True)
def _put(values, order, out):
    for e in prange(order.shape[0]):
        out[order[e]] = values[e]


@njit(cache=True, parallel=True)
def _count(flat, begin, n, count):
    for row in prange(begin.shape[0]):
        here = flat[begin[row] : begin[row] + n]
        total = 0
        for s in range(n):
            if here[s] != 0:
                total += 1
        count[row] += total


@njit(cache=True, parallel=True)
def _fill(flat, begin, n, first, fill, source, value):
    for row in prange(begin.shape[0]):
        here = flat[begin[row] : begin[row] + n]
        at = fill[row]
        for s in range(n):
            if here[s] != 0:
                source[at] = first + s
                value[at] = here[s]
                at += 1
        fill[row] = at


@njit(cache=True, parallel=True)
def _fill_from_words(flat, words, begin, n, first, fill, source, value):
    """`_fill` for bytes: most are 0, so eight are looked at together (a little-endian machine)."""
    for row in prange(begin.shape[0]):
        low = begin[row]
        high = low + n
        last = min((high + 7) // 8, words.shape[0])
        at = fill[row]
        for w in range(low // 8, last):
            word = words[w]
            place = 8 * w
            while word != 0:
                byte = word & np.uint64(255)
                if byte != 0 and low <= place < high:
                    source[at] = first + (place - low)
                    value[at] = byte
                    at += 1
                word >>= np.uint64(8)
                place += 1
        for place in range(max(low, 8 * last), high):
            if flat[place] != 0:
                source[at] = first + (place - low)
                value[at] = flat[place]
                at += 1
        fill[row] = at
