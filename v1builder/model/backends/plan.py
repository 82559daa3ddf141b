"""The order in which compiled kernels read edges: one numbering of all sources, edges sorted, once a network.

Sources are numbered together: the cells first, then the units of every input, then the sites of
short-term plasticity in the order of their source units. Edges are sorted by (block of targets, source,
slot), where

    slot = (delay * R + port) * Np + target

is where a spike's weight goes in a ring buffer, counted from the step of the spike, and where its
gradient comes from. cuda/ has one block. Per edge the plan keeps 8 bytes (place and order) and a rollout 4
to 8 more (the sorted weights, and their gradient).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, Protocol
from weakref import ReferenceType, WeakKeyDictionary, ref

import torch
from torch import Tensor

from v1builder.model.backends.arguments import check_edges
from v1builder.model.backends.layout import Graph, Sites
from v1builder.model.rollout import Projection
from v1builder.schema.errors import ConfigError

_INT32: Final = 2**31


class Ring(NamedTuple):
    """Shape of a ring buffer; n_padded: cells in whole tiles."""

    n_cells: int
    n_padded: int
    n_receptors: int
    n_slots: int


class SortedEdges(NamedTuple):
    """What `Sorting.sort_edges` gives: see `EdgePlan`."""

    order: Tensor
    slot: Tensor
    row: Tensor
    n_blocks: int
    block_size: int
    dense_slot: int = -1


class Sorting(Protocol):
    """What a compiled backend says of the order of its edges.

    Attributes:
        name: of the backend.
        tile: cells are padded to whole tiles of so many.
        index: type of the places of sites.
    """

    name: ClassVar[str]
    tile: ClassVar[int]
    index: ClassVar[torch.dtype]

    def sort_edges(
        self,
        projections: Sequence[Projection],
        numbers: Sequence[Tensor],
        n_sources: int,
        ring: Ring,
    ) -> SortedEdges:
        """The edges of all projections, by (block of targets, source, slot).

        Args:
            projections: checked.
            numbers: of every projection, the number of each of its sources and sites.
            n_sources: how many there are of all.
            ring: where spikes go.
        """
        ...

    def gather(self, values: Tensor, order: Tensor) -> Tensor:
        """values[order]."""
        ...

    def scatter(self, values: Tensor, order: Tensor) -> Tensor:
        """The inverse of `gather`."""
        ...


@dataclass(frozen=True, eq=False)
class EdgePlan:
    """Edges of all projections, merged and sorted. Weights are gathered by `order`.

    Attributes:
        order: [e] int32 or int64, position in the concatenated projections.
        slot: [e] int32.
        row: [n_blocks * sources + 1] int64, first edge of each source into each block of targets.
        n_blocks, block_size: blocks of targets, in cells.
        dense_slot: slot of the first cell where every source has one edge to every cell, all of one delay to
            one port, so that rows are runs of slots; else -1, as always where a backend has no use for it.
        n_padded: number of cells, rounded up to whole tiles.
        n_edges: of every projection.
        first_source: number of the first unit of every input.
        n_units: number of cells and input units.
        site_order: [s] int64, the contract's number of every site.
        site_unit: [s] int32, source unit of every site.
        first_site: [units + 1] first site of every unit.
    """

    order: Tensor
    slot: Tensor
    row: Tensor
    n_blocks: int
    block_size: int
    dense_slot: int
    n_padded: int
    n_edges: list[int]
    first_source: dict[str, int]
    n_units: int
    site_order: Tensor
    site_unit: Tensor
    first_site: Tensor
    sorting: Sorting

    def graph(self, weights: Sequence[Tensor], like: Tensor) -> Graph:
        """The edges with the weights of all projections in the kernels' order."""
        merged = like.new_empty(0)
        if weights:
            merged = weights[0] if len(weights) == 1 else torch.cat(tuple(weights))
        weight = self.sorting.gather(merged.detach().contiguous(), self.order)
        return Graph(weight, self.slot, self.row, self.n_blocks, self.block_size, self.dense_slot)

    def by_projection(self, gradient: Tensor) -> list[Tensor]:
        """The gradient of every projection's weights from that of the weights of `graph`."""
        return list(self.sorting.scatter(gradient, self.order).split(self.n_edges))

    def sites(self, plasticity: Sequence[Tensor], like: Tensor) -> Sites:
        """The sites with their coefficients, in the order of `fields.PLASTICITY`; none without."""
        values = [value.detach()[self.site_order].contiguous() for value in plasticity]
        U, P_rec, P_fac = values or (like.new_empty(0) for _ in range(3))
        return Sites(self.site_unit, self.first_site, U, P_rec, P_fac)


_Shape = tuple[int, int, int]
_Entry = tuple[tuple[ReferenceType[Projection], ...], _Shape, torch.device, str, EdgePlan]
_PLANS: WeakKeyDictionary[Projection, list[_Entry]] = WeakKeyDictionary()


def plan_edges(
    projections: Sequence[Projection], shape: _Shape, device: torch.device, sorting: Sorting
) -> EdgePlan:
    """The plan of these projections, made once and kept as long as the projections live.

    Args:
        projections: edges.
        shape: number of cells, ports and ring positions (longest delay).
        device: where the plan is to be.
        sorting: of the backend.

    Raises:
        ConfigError: an edge points outside the network or its delay outside the ring.
    """
    if not projections:
        return _make_plan(projections, shape, device, sorting)
    known = _PLANS.setdefault(projections[0], [])
    known[:] = [entry for entry in known if all(r() is not None for r in entry[0])]
    for references, its_shape, its_device, name, plan in known:
        same = (its_shape, its_device, name) == (shape, device, sorting.name)
        same = same and len(references) == len(projections)
        if same and all(r() is p for r, p in zip(references, projections, strict=True)):
            return plan
    plan = _make_plan(projections, shape, device, sorting)
    known.append((tuple(ref(p) for p in projections), shape, device, sorting.name, plan))
    return plan


def _make_plan(
    projections: Sequence[Projection], shape: _Shape, device: torch.device, sorting: Sorting
) -> EdgePlan:
    n_cells, n_receptors, n_delays = shape
    first_source: dict[str, int] = {}
    n_units = n_cells
    for projection in projections:
        check_edges(projection, shape)
        if projection.source is not None and projection.source not in first_source:
            first_source[projection.source] = n_units
            n_units += projection.n_source
    n_padded = -(-n_cells // sorting.tile) * sorting.tile
    n_positions = (n_delays + 1) * n_receptors * n_padded
    if n_positions >= _INT32:
        raise ConfigError.of(
            f"cells x receptors x delays is too large for the {sorting.name} backend",
            f"backend '{sorting.name}'",
            f"{n_positions} positions in a ring; below {_INT32} are possible",
            "use a longer time step, or backend 'reference'",
        )
    none = torch.empty(0, dtype=torch.int64, device=device)
    offsets = [0 if p.source is None else first_source[p.source] for p in projections]
    sites = [o + p.site_source.to(device).long() for o, p in zip(offsets, projections, strict=True)]
    site_unit, site_order = torch.sort(torch.cat([none, *sites]), stable=True)
    rank = torch.argsort(site_order)
    numbers = [
        torch.cat([offset + torch.arange(p.n_source, device=device), n_units + rank[p.sites]])
        for p, offset in zip(projections, offsets, strict=True)
    ]
    ring = Ring(n_cells, n_padded, n_receptors, n_delays + 1)
    edges = sorting.sort_edges(projections, numbers, n_units + len(rank), ring)
    units = torch.arange(n_units + 1, device=device)
    return EdgePlan(
        **edges._asdict(),
        n_padded=n_padded,
        n_edges=[len(p.receptor) for p in projections],
        first_source=first_source,
        n_units=n_units,
        site_order=site_order,
        site_unit=site_unit.to(torch.int32),
        first_site=torch.searchsorted(site_unit, units).to(sorting.index),
        sorting=sorting,
    )
