"""What compiled kernels are given: named tuples of tensors, packed from the contract's tensors and unpacked.

Both compiled backends take these tuples as they are (cpu/ as arrays of the same memory). Only the order of
what a cell has per port differs: `Ports`.

Letters: b sample, t step, n cell, Np cells padded to whole tiles, r port, a after-spike current, D longest
delay, e edge, s site of short-term plasticity.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from v1builder.model.backends import fields


class Ports(Protocol):
    """How a backend lays out what every port of every cell has."""

    def pack_ports(self, values: Tensor) -> Tensor:
        """[k, b, n, r] to [b, ...], in memory of its own."""
        ...

    def unpack_ports(self, packed: Tensor, n_cells: int) -> Tensor:
        """The inverse: [b, ...] to [k, b, n, r]."""
        ...


class Sizes(NamedTuple):
    """Of a rollout. n_slots: positions in a ring, D+1; n_units: cells and input units."""

    n_batch: int
    n_steps: int
    n_cells: int
    n_asc: int
    n_receptors: int
    n_slots: int
    n_units: int
    n_sites: int


class Graph(NamedTuple):
    """Edges and their weights; see `plan.EdgePlan`."""

    weight: Tensor  # [e]
    slot: Tensor  # [e] int32
    row: Tensor  # [n_blocks * sources + 1] int64
    n_blocks: int
    block_size: int
    dense_slot: int


class Sites(NamedTuple):
    """Sites of short-term plasticity, sorted by their source unit."""

    unit: Tensor  # [s] int32
    first: Tensor  # [units + 1] first site of every unit
    U: Tensor  # [s]
    P_rec: Tensor  # [s]
    P_fac: Tensor  # [s]


class RecordedSteps(NamedTuple):
    """[b, t, n] each; of drive and voltage one step or none when nobody wants them."""

    drive: Tensor
    voltage: Tensor
    spikes: Tensor


class Losses(NamedTuple):
    """Gradients of the outputs, [b or 1, t or 1, n]."""

    spikes: Tensor
    voltage: Tensor
    drive: Tensor


class CellArrays(NamedTuple):
    """Coefficients of all cells, or their gradients; fields in the order of `fields`."""

    membrane: Tensor  # [4, n]
    adaptation: Tensor  # [4, a, n]
    synapse: Tensor  # [10 or 12, r, n] as `Ports` has it
    threshold: Tensor  # [7, n], or [0, n] where no threshold moves
    t_ref: Tensor  # [n] int32

    @classmethod
    def pack(cls, of: Mapping[str, Sequence[Tensor]], t_ref: Tensor, ports: Ports) -> Self:
        """From the groups membrane, adaptation, synapse and threshold (may be empty) of `driver.collect`."""
        membrane = own(torch.stack(tuple(of["membrane"])))
        return cls(
            membrane,
            own(torch.stack(tuple(of["adaptation"])).transpose(1, 2)),
            ports.pack_ports(torch.stack(tuple(of["synapse"]))[:, None])[0],
            own(torch.stack(tuple(of["threshold"]))) if of["threshold"] else membrane[:0],
            own(t_ref.to(torch.int32)),
        )

    def zeros(self, *n_batch: int, membrane: bool, synapse: bool) -> "CellArrays":
        """Zeros like these, with samples in front if asked; of length 0 where they are not wanted."""

        def of(field: Tensor, wanted: bool) -> Tensor:
            return field.new_zeros(*n_batch, *(field if wanted else field[:0]).shape)

        return CellArrays(
            of(self.membrane, membrane),
            of(self.adaptation, membrane),
            of(self.synapse, synapse),
            of(self.threshold, membrane),
            self.t_ref[:0],
        )

    def unpack(self, ports: Ports, n_cells: int) -> dict[str, list[Tensor]]:
        """By group, what is not of length 0."""
        found: dict[str, list[Tensor]] = {}
        if len(self.membrane):
            found["membrane"] = list(self.membrane.unbind(0))
            found["adaptation"] = list(self.adaptation.transpose(1, 2).unbind(0))
            found["threshold"] = list(self.threshold.unbind(0))
        if len(self.synapse):
            synapse = ports.unpack_ports(self.synapse[None], n_cells)
            found["synapse"] = list(synapse[:, 0].unbind(0))
        return found


class Dynamics(NamedTuple):
    """The state of a rollout in the kernels' layout, changed in place; or its adjoint."""

    U: Tensor  # [b, n]
    asc: Tensor  # [b, a, n]
    refractory: Tensor  # [b, n] int32; of no meaning in an adjoint
    current: Tensor  # [b, n]
    y: Tensor  # [b, 4, r, n] as `Ports` has it
    ring: Tensor  # [b, (D+1)*r*Np]; of an adjoint [(D+1)*r*Np, b]
    u: Tensor  # [b, s] in the order of `Sites`
    x: Tensor  # [b, s]
    moving: Tensor  # [b, 2, n] th_spike, th_voltage, or [b, 0, n]

    @classmethod
    def pack(
        cls,
        of: Mapping[str, Tensor],
        refractory: Tensor,
        site_order: Tensor,
        ports: Ports,
        ring: Tensor,
    ) -> Self:
        """From the fields of a state by name; those of moving thresholds and of sites may be missing."""
        U = of["U"].detach()
        moving = [of[name] for name in fields.MOVING if name in of]
        u, x = (
            of[name].detach()[:, site_order] if name in of else U[:, :0].clone()
            for name in fields.SITES
        )
        return cls(
            own(U),
            own(of["asc"].transpose(1, 2)),
            own(refractory.to(torch.int32)),
            own(of["current"]),
            ports.pack_ports(torch.stack([of[name] for name in fields.CURRENTS])),
            ring,
            u,
            x,
            own(torch.stack(moving, 1)) if moving else own(U[:, None][:, :0]),
        )

    def copy(self, with_synapses: bool) -> "Dynamics":
        """A copy; y and ring are of length 0 unless wanted."""
        shortened = self
        if not with_synapses:
            shortened = self._replace(y=self.y[:0], ring=self.ring[:0])
        return Dynamics(*(field.clone() for field in shortened))

    def unpack(self, pending: Tensor, site_order: Tensor, ports: Ports) -> dict[str, Tensor]:
        """The fields of a state by name."""
        back = torch.argsort(site_order)
        currents = ports.unpack_ports(self.y, self.U.shape[1])
        return {
            "U": self.U,
            "asc": self.asc.transpose(1, 2).contiguous(),
            **{name: of.contiguous() for name, of in zip(fields.CURRENTS, currents, strict=True)},
            "current": self.current,
            "pending": pending,
            **dict(zip(fields.MOVING, self.moving.unbind(1), strict=False)),
            "u": self.u[:, back],
            "x": self.x[:, back],
        }


def ring_of(pending: Tensor, n_padded: int) -> Tensor:
    """[b, (D+1)*r*Np] from pending [D, b, n, r] before step 0."""
    n_cells = pending.shape[2]
    of = pending.detach().permute(1, 0, 3, 2)
    return pad(of, (0, n_padded - n_cells, 0, 0, 0, 1)).contiguous().flatten(1)


def pending_of(ring: Tensor, size: Sizes) -> Tensor:
    """The inverse of `ring_of`, before step n_steps."""
    of = ring.view(size.n_batch, size.n_slots, size.n_receptors, -1)
    at = _ring_positions(size.n_steps, size.n_slots - 1, ring.device)
    return of[:, at, :, : size.n_cells].permute(1, 0, 3, 2).contiguous()


def arrival_of(pending: Tensor, n_padded: int, n_steps: int) -> Tensor:
    """The adjoint's ring [(D+1)*r*Np, b] that holds dL/d pending [D, b, n, r] before `n_steps`."""
    d, b, n, r = pending.shape
    ring = pending.new_zeros(d + 1, r, n_padded, b)
    ring[_ring_positions(n_steps, d, pending.device), :, :n] = pending.permute(0, 3, 2, 1)
    return ring.view(-1, b)


def pending_of_arrival(arrival: Tensor, size: Sizes) -> Tensor:
    """The inverse of `arrival_of`, before step 0."""
    of = arrival.view(size.n_slots, size.n_receptors, -1, size.n_batch)
    return of[: size.n_slots - 1, :, : size.n_cells].permute(0, 3, 2, 1)


def _ring_positions(first_step: int, n_delays: int, device: torch.device) -> Tensor:
    """Where the D steps from `first_step` on lie in a ring of D+1 positions."""
    return (first_step + torch.arange(n_delays, device=device)) % (n_delays + 1)


def as_steps(tensor: Tensor | None, like: Tensor) -> Tensor:
    """[b or 1, t or 1, n]: zeros for None, a dimension that only repeats cut to 1. like [..., n]."""
    if tensor is None:
        return like.new_zeros(1, 1, like.shape[-1])
    tensor = tensor.detach()
    for dimension in (0, 1):
        if tensor.stride(dimension) == 0:
            tensor = tensor.narrow(dimension, 0, 1)
    return tensor.contiguous()


def own(tensor: Tensor) -> Tensor:
    """Contiguous, in memory of its own."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def next_of(kind: type[Any], flat: Any) -> Any:
    """A named tuple of that kind from the next of an iterator's tensors."""
    return kind(*(next(flat) for _ in kind._fields))
