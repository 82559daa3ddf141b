"""Edges and input spikes in the order in which the Triton kernels read them, on the device of the state.

All sources are numbered together: the cells first, then the units of every input, then the sites of
short-term plasticity in the order of their source units. Edges are sorted by (source, slot), where

    slot = (delay * R + receptor) * n + target

is where a spike's weight goes in a ring buffer, counted from the step of the spike, and where its
gradient comes from. Per edge the plan keeps 8 bytes (place and order) and a rollout 4 to 8 more (the
sorted weights, and their gradient); while it is made, sorting takes about 32.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from weakref import ReferenceType, WeakKeyDictionary, ref

import torch
from torch import Tensor

from v1builder.model.backends._gpu_layout import Graph, InputSpikes, Sites
from v1builder.model.backends.arguments import check_edges
from v1builder.model.rollout import Projection
from v1builder.schema.errors import ConfigError

_INT32: Final = 2**31


@dataclass(frozen=True)
class EdgePlan:
    """Edges of all projections, merged and sorted. Weights are gathered by `order`.

    Attributes:
        order: [e] int32 or int64, position in the concatenated projections.
        slot: [e] int32.
        row: [sources + 1] int64, first edge of each source.
        n_edges: of every projection.
        first_source: number of the first unit of every input.
        n_units: number of cells and input units.
        site_order: [s] int64, the contract's number of every site.
        site_unit: [s] int32, source unit of every site.
        first_site: [units + 1] int32, first site of every unit.
    """

    order: Tensor
    slot: Tensor
    row: Tensor
    n_edges: list[int]
    first_source: dict[str, int]
    n_units: int
    site_order: Tensor
    site_unit: Tensor
    first_site: Tensor

    def graph(self, weights: Sequence[Tensor], like: Tensor) -> Graph:
        """The edges with the weights of all projections in the kernels' order."""
        merged = (
            torch.cat([weight.detach() for weight in weights]) if weights else like.new_empty(0)
        )
        return Graph(merged[self.order], self.slot, self.row)

    def scatter(self, gradient: Tensor) -> list[Tensor]:
        """The gradient of every projection's weights from that of the weights of `graph`."""
        merged = torch.empty_like(gradient)
        merged[self.order] = gradient
        return list(merged.split(self.n_edges))

    def sites(self, plasticity: Sequence[Tensor], like: Tensor) -> Sites:
        """The sites with their coefficients, in the order of `PLASTICITY`; none without."""
        values = [value.detach()[self.site_order] for value in plasticity]
        U, P_rec, P_fac = values or [like.new_empty(0)] * 3
        return Sites(self.site_unit, self.first_site, U, P_rec, P_fac)


_Shape = tuple[int, int, int]
_Entry = tuple[tuple[ReferenceType[Projection], ...], _Shape, torch.device, EdgePlan]
_PLANS: WeakKeyDictionary[Projection, list[_Entry]] = WeakKeyDictionary()


def plan_edges(projections: Sequence[Projection], shape: _Shape, device: torch.device) -> EdgePlan:
    """The plan of these projections, made once and kept as long as the projections live.

    Args:
        projections: edges.
        shape: number of cells, receptors and ring positions (longest delay).
        device: where the plan is to be.

    Raises:
        ConfigError: an edge points outside the network or its delay outside the ring.
    """
    if not projections:
        return _make_plan(projections, shape, device)
    known = _PLANS.setdefault(projections[0], [])
    known[:] = [entry for entry in known if all(r() is not None for r in entry[0])]
    for references, its_shape, its_device, plan in known:
        same = its_shape == shape and its_device == device and len(references) == len(projections)
        if same and all(r() is p for r, p in zip(references, projections, strict=True)):
            return plan
    plan = _make_plan(projections, shape, device)
    known.append((tuple(ref(p) for p in projections), shape, device, plan))
    return plan


def _make_plan(projections: Sequence[Projection], shape: _Shape, device: torch.device) -> EdgePlan:
    n_cells, n_receptors, n_delays = shape
    first_source: dict[str, int] = {}
    n_units = n_cells
    for projection in projections:
        check_edges(projection, shape)
        if projection.source is not None and projection.source not in first_source:
            first_source[projection.source] = n_units
            n_units += projection.n_source
    n_positions = (n_delays + 1) * n_receptors * n_cells
    if n_positions >= _INT32:
        raise ConfigError.of(
            "cells x receptors x delays is too large for the triton backend",
            "backend 'triton'",
            f"{n_positions} positions in a ring; below {_INT32} are possible",
            "use a longer time step, or backend 'reference'",
        )
    none = torch.empty(0, dtype=torch.int64, device=device)
    offsets = [0 if p.source is None else first_source[p.source] for p in projections]
    sites = [o + p.site_source.to(device).long() for o, p in zip(offsets, projections, strict=True)]
    site_unit, site_order = torch.sort(torch.cat([none, *sites]), stable=True)
    rank = torch.argsort(site_order)

    def key(p: Projection, offset: int) -> Tensor:
        """(source, slot) of every edge as one number."""
        numbers = torch.cat(
            [offset + torch.arange(p.n_source, device=device), n_units + rank[p.sites]]
        )
        slot = p.delay_steps.to(device).long().mul_(n_receptors).add_(p.receptor.to(device))
        slot.mul_(n_cells).add_(p.target_index.to(device))
        return slot.add_(numbers.mul_(n_positions)[p.source_index.to(device)])

    n_edges = [len(p.receptor) for p in projections]
    keys = torch.empty(sum(n_edges), dtype=torch.int64, device=device)
    for p, offset, part in zip(projections, offsets, keys.split(n_edges or [0]), strict=False):
        part.copy_(key(p, offset))
    keys, order = torch.sort(keys, stable=True)
    sources = torch.arange(n_units + len(rank) + 1, device=device)
    row = torch.searchsorted(keys, sources * n_positions)
    units = torch.arange(n_units + 1, device=device)
    return EdgePlan(
        order=order.to(torch.int32 if len(order) < _INT32 else torch.int64),
        slot=(keys % n_positions).to(torch.int32),
        row=row,
        n_edges=n_edges,
        first_source=first_source,
        n_units=n_units,
        site_order=site_order,
        site_unit=site_unit.to(torch.int32),
        first_site=torch.searchsorted(site_unit, units).to(torch.int32),
    )


def list_spikes(
    inputs: Mapping[str, Tensor], plan: EdgePlan, like: Tensor, n_steps: int
) -> InputSpikes:
    """The inputs [b, t, n_source] side by side, and their non-zero entries by (step, sample, source).

    Whole numbers stay uint8. Waits for the device once, for the number of spikes.

    Args:
        inputs: by name.
        plan: of the edges, which gives the inputs their place.
        like: [b, n] in the model's dtype.
        n_steps: of the rollout.
    """
    parts = [inputs[name].detach() for name in plan.first_source]
    whole = not any(part.is_floating_point() for part in parts)
    dtype = torch.uint8 if whole else like.dtype
    parts = [part.to(device=like.device, dtype=dtype) for part in parts]
    empty = torch.empty(len(like), n_steps, 0, dtype=dtype, device=like.device)
    dense = (parts[0] if len(parts) == 1 else torch.cat([empty, *parts], 2)).contiguous()
    step, sample, unit = dense.transpose(0, 1).nonzero(as_tuple=True)
    bounds = torch.arange(n_steps + 1, device=like.device)
    n_cells = plan.n_units - dense.shape[2]
    return InputSpikes(
        dense,
        torch.searchsorted(step.contiguous(), bounds),
        (unit + n_cells).to(torch.int32),
        sample.to(torch.int32),
        dense[sample, step, unit].to(like.dtype),
    )
