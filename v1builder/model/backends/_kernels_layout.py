"""From the contract's tensors to the arrays of the compiled kernels, and back.

What the kernels are given are named tuples of arrays, which compiled code takes as they are.

Letters: b sample, n cell, Np cells padded to whole tiles, r receptor, A after-spike currents, D longest
delay, s site of short-term plasticity. The layouts are described in `_kernels_forward`.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from v1builder.model.backends._kernels_forward import (
    ADAPTATION_FIELDS,
    MEMBRANE_FIELDS,
    SYNAPSE_FIELDS,
    WIDTH,
)

Array = NDArray[Any]

#: Order of the coefficients and of the differentiable fields of a state in flat lists.
COEFFICIENTS: Final = (*MEMBRANE_FIELDS, *ADAPTATION_FIELDS, *SYNAPSE_FIELDS)
STATE: Final = ("U", "asc", "y1_fast", "y2_fast", "y1_slow", "y2_slow", "current", "pending")
MOVING: Final = ("th_spike", "th_voltage")
SITES: Final = ("u", "x")
PLASTICITY: Final = ("U", "P_rec", "P_fac")
_M: Final = len(MEMBRANE_FIELDS)
N_CELL: Final = _M + len(ADAPTATION_FIELDS)


def _array(tensor: Tensor) -> Array:
    """A contiguous array of its own memory."""
    return tensor.detach().contiguous().clone().numpy()


def _rows(tensors: Sequence[Tensor], like: Tensor, dim: int) -> Array:
    """Stacked along a new dimension; of length 0 there when there are none."""
    if tensors:
        return _array(torch.stack(tuple(tensors), dim))
    return _array(like.detach().unsqueeze(dim).narrow(dim, 0, 0))


def to_tiles(fields: Tensor, n_padded: int) -> Array:
    """[k, b, n, r] to [b, tile, r, k*WIDTH], the cells that fill the last tile being 0."""
    k, b, n, r = fields.shape
    padded = pad(fields.detach(), (0, 0, 0, n_padded - n)).view(k, b, -1, WIDTH, r)
    return _array(padded.permute(1, 2, 4, 0, 3).reshape(b, -1, r, k * WIDTH))


def from_tiles(tiles: Array, n_cells: int) -> Tensor:
    """The inverse of `to_tiles`."""
    b, n_tiles, r, width = tiles.shape
    fields = torch.from_numpy(tiles).view(b, n_tiles, r, width // WIDTH, WIDTH)
    return fields.permute(3, 0, 1, 4, 2).reshape(-1, b, n_tiles * WIDTH, r)[:, :, :n_cells]


def _first_alike(tiles: Array) -> Array:
    """[tile] the first of the tiles that, one after the other, are equal to this one."""
    first = np.arange(len(tiles), dtype=np.int32)
    first[1:][(tiles[1:] == tiles[:-1]).all(axis=(1, 2))] = 0
    return np.maximum.accumulate(first)


def ring_positions(first_step: int, n_delays: int) -> Tensor:
    """Where the D steps from `first_step` on lie in a ring of D+1 positions."""
    return (first_step + torch.arange(n_delays)) % (n_delays + 1)


class Graph(NamedTuple):
    """Edges and their weights; see `_kernels_edges.EdgePlan`."""

    weight: Array  # [e]
    slot: Array
    row: Array
    n_blocks: int
    block_size: int


class InputSpikes(NamedTuple):
    """Spikes of all inputs, by sample and step: those of (b, t) are start[b*T + t] and following."""

    start: Array  # [b*T + 1] int64
    source: Array  # int32, a unit, or a site that releases
    value: Array


class Sites(NamedTuple):
    """Sites of short-term plasticity, sorted by their source unit."""

    first: Array  # [units + 1] first site of every cell and input unit
    U: Array  # [s]
    P_rec: Array  # [s]
    P_fac: Array  # [s]


class CellArrays(NamedTuple):
    """Coefficients of all cells, or their gradients."""

    membrane: Array  # [4, n]
    adaptation: Array  # [4, A, n]
    synapse: Array  # [tile, r, 10*WIDTH]
    same_as: Array  # [tile] int32
    threshold: Array  # [7, n], of length 0 where no threshold moves
    t_ref: Array  # [n] int32

    @classmethod
    def pack(
        cls,
        coefficients: Sequence[Tensor],
        threshold: Sequence[Tensor],
        t_ref: Tensor,
        n_padded: int,
    ) -> Self:
        """From tensors in the order of `COEFFICIENTS` and, or none, of `THRESHOLD_FIELDS`."""
        synapse = to_tiles(torch.stack(tuple(coefficients[N_CELL:]))[:, None], n_padded)[0]
        return cls(
            _array(torch.stack(tuple(coefficients[:_M]))),
            _array(torch.stack(tuple(coefficients[_M:N_CELL])).transpose(1, 2)),
            synapse,
            _first_alike(synapse),
            _rows(threshold, coefficients[0], 0),
            _array(t_ref.to(torch.int32)),
        )

    def zeros(self, with_membrane: bool, with_synapse: bool) -> "CellArrays":
        """Zeros like these; of length 0 where they are not wanted."""
        return CellArrays(
            np.zeros_like(self.membrane[: None if with_membrane else 0]),
            np.zeros_like(self.adaptation[: None if with_membrane else 0]),
            np.zeros_like(self.synapse[: None if with_synapse else 0]),
            self.same_as[:0],
            np.zeros_like(self.threshold[: None if with_membrane else 0]),
            self.t_ref[:0],
        )

    def unpack(self, n_cells: int) -> list[Tensor | None]:
        """Tensors in the order of `COEFFICIENTS`; None for parts of length 0."""
        out: list[Tensor | None] = [None] * len(COEFFICIENTS)
        if len(self.membrane):
            out[:_M] = torch.from_numpy(self.membrane).unbind(0)
            out[_M:N_CELL] = torch.from_numpy(self.adaptation).transpose(1, 2).unbind(0)
        if len(self.synapse):
            out[N_CELL:] = from_tiles(self.synapse[None], n_cells)[:, 0].unbind(0)
        return out


class Dynamics(NamedTuple):
    """The state of a rollout in the kernels' layout, changed in place; or its adjoint."""

    U: Array  # [b, n]
    asc: Array  # [b, A, n]
    refractory: Array  # [b, n] int32; of no meaning in an adjoint
    current: Array  # [b, n]
    y: Array  # [b, tile, r, 4*WIDTH]
    ring: Array  # [b, (D+1)*r*Np]; of an adjoint [(D+1)*r*Np, b]
    u: Array  # [b, s] in the order of `Sites`
    x: Array  # [b, s]
    moving: Array  # [b, 2, n] th_spike, th_voltage, or [b, 0, n]

    @classmethod
    def pack(
        cls,
        state: Sequence[Tensor],
        moving: Sequence[Tensor],
        sites: Sequence[Tensor],
        refractory: Tensor,
        site_order: Tensor,
        n_padded: int,
    ) -> Self:
        """From tensors in the order of `STATE`, `MOVING` (or none) and `SITES`, before step 0."""
        U, asc, *y, current, pending = state
        n = U.shape[1]
        ring = pad(pending.detach().permute(1, 0, 3, 2), (0, n_padded - n, 0, 0, 0, 1))
        u, x = (field.detach()[:, site_order] for field in sites)
        return cls(
            _array(U),
            _array(asc.transpose(1, 2)),
            _array(refractory.to(torch.int32)),
            _array(current),
            to_tiles(torch.stack(y), n_padded),
            _array(ring.reshape(ring.shape[0], -1)),
            _array(u),
            _array(x),
            _rows(moving, U, 1),
        )

    def unpack(self, n_receptors: int, n_delays: int, n_steps: int) -> list[Tensor]:
        """Tensors in the order of `STATE`, before step `n_steps`."""
        b, n = self.U.shape
        ring = torch.from_numpy(self.ring).view(b, n_delays + 1, n_receptors, -1)
        pending = ring[:, ring_positions(n_steps, n_delays), :, :n].permute(1, 0, 3, 2)
        return [
            torch.from_numpy(self.U),
            torch.from_numpy(self.asc).transpose(1, 2).contiguous(),
            *(field.contiguous() for field in from_tiles(self.y, n)),
            torch.from_numpy(self.current),
            pending.contiguous(),
        ]

    def unpack_adjoint(self, n_receptors: int, n_delays: int) -> list[Tensor]:
        """An adjoint's tensors in the order of `STATE`, before step 0."""
        b, n = self.U.shape
        view = torch.from_numpy(self.ring).view(n_delays + 1, n_receptors, -1, b)
        return [
            torch.from_numpy(self.U),
            torch.from_numpy(self.asc).transpose(1, 2),
            *from_tiles(self.y, n),
            torch.from_numpy(self.current),
            view[:n_delays, :, :n].permute(0, 3, 2, 1),
        ]

    def unpack_sites(self, site_order: Tensor) -> list[Tensor]:
        """U and x in the order in which the contract has the sites."""
        back = torch.argsort(site_order)
        return [torch.from_numpy(field)[:, back] for field in (self.u, self.x)]


def samples_last(pending: Tensor, n_padded: int, n_steps: int) -> Array:
    """The adjoint's ring [(D+1)*r*Np, b] that holds dL/d pending [D, b, n, r] before `n_steps`."""
    d, b, n, r = pending.shape
    ring = pending.new_zeros(d + 1, r, n_padded, b)
    ring[ring_positions(n_steps, d), :, :n] = pending.permute(0, 3, 2, 1)
    return _array(ring.view(-1, b))


def as_steps(tensor: Tensor | None, like: Array) -> Array:
    """[b or 1, t or 1, n] for a kernel: zeros for None, a dimension that only repeats cut to 1."""
    if tensor is None:
        return np.zeros((1, 1, like.shape[1]), like.dtype)
    tensor = tensor.detach()
    for dimension in (0, 1):
        if tensor.stride(dimension) == 0:
            tensor = tensor.narrow(dimension, 0, 1)
    return tensor.contiguous().numpy()
