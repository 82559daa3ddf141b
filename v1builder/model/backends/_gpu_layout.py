"""From the contract's tensors to those of the Triton kernels, and back; and how the work is cut.

The kernels take named tuples of tensors as they are. The layouts are described in `_triton_forward`,
`_triton_replay` and `_triton_backward`. Letters: b sample, n cell, r receptor, a after-spike current,
D longest delay, s site of short-term plasticity. All tensors are on the device of the state.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from v1builder.model.backends._kernels_forward import MEMBRANE_FIELDS
from v1builder.model.backends._kernels_layout import COEFFICIENTS, N_CELL

_M: Final = len(MEMBRANE_FIELDS)


#: Samples that one walk along the edges serves; more need another.
MOST_SAMPLES: Final = 32


class Tiles(NamedTuple):
    """How the work is cut into programs; powers of two.

    Attributes:
        cells: per program, as many as it has threads.
        rows, edges, samples: of the tile of one program that walks along edges; together at most
            about 4 elements per thread.
        programs: that share out the list of spikes of a step.
    """

    cells: int
    rows: int
    edges: int
    samples: int
    programs: int

    @classmethod
    def of(cls, n_batch: int, interpreted: bool) -> Self:
        """For a GPU; or few and large, where Triton's interpreter takes a millisecond per operation."""
        samples = min(_power_of_two(n_batch), MOST_SAMPLES)
        if interpreted:
            return cls(cells=1024, rows=256, edges=32, samples=samples, programs=1)
        return cls(cells=128, rows=1, edges=512 // samples, samples=samples, programs=1024)


#: Of the kernels that update cells: a thread per cell, and no contraction (see `_triton_forward`).
CELLS_OPTIONS: Final[dict[str, Any]] = {"num_warps": 4, "enable_fp_fusion": False}


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
    """Start a kernel; an empty grid has nothing to do."""
    if all(grid):
        kernel[grid](*arguments, **options)


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
    """Edges and their weights; see `_gpu_edges.EdgePlan`."""

    weight: Tensor  # [e]
    slot: Tensor  # [e] int32
    row: Tensor  # [sources + 1] int64


class InputSpikes(NamedTuple):
    """What the inputs emit: densely, and listed by step; those of step t are start[t] and following."""

    dense: Tensor  # [b, t, input unit] uint8, or the model's dtype
    start: Tensor  # [t + 1] int64
    source: Tensor  # int32
    sample: Tensor  # int32
    value: Tensor


class Events(NamedTuple):
    """What cells and sites emitted in a step, in no fixed order; the buffers serve one step at a time."""

    n_listed: Tensor  # int32, one per step
    source: Tensor  # int32
    sample: Tensor  # int32
    value: Tensor

    @classmethod
    def room(cls, size: Sizes, n_lists: int, like: Tensor) -> Self:
        """For everything to emit at once."""
        most = size.n_batch * (size.n_cells + size.n_sites)
        source, sample = like.new_empty(2, most, dtype=torch.int32).unbind(0)
        return cls(like.new_zeros(n_lists, dtype=torch.int32), source, sample, like.new_empty(most))


class Sites(NamedTuple):
    """Sites of short-term plasticity, sorted by their source unit."""

    unit: Tensor  # [s] int32
    first: Tensor  # [units + 1] int32, first site of every unit
    U: Tensor  # [s]
    P_rec: Tensor  # [s]
    P_fac: Tensor  # [s]


class Steps(NamedTuple):
    """A tensor [b or 1, t or 1, n]: its values, and how far apart samples and steps lie (0: repeated)."""

    value: Tensor
    by_sample: int
    by_step: int

    @classmethod
    def of(cls, tensor: Tensor | None, like: Tensor) -> Self:
        """Zeros for None; a dimension that only repeats is not copied. like [b, n]."""
        if tensor is None:
            return cls(torch.zeros_like(like[0]), 0, 0)
        tensor = tensor.detach()
        for dimension in (0, 1):
            if tensor.stride(dimension) == 0:
                tensor = tensor.narrow(dimension, 0, 1)
        tensor = tensor.contiguous()
        n_samples, n_steps, n = tensor.shape
        return cls(tensor, n_steps * n if n_samples > 1 else 0, n if n_steps > 1 else 0)


class CellArrays(NamedTuple):
    """Coefficients of all cells, or their gradients with a sample in front."""

    membrane: Tensor  # [4, n]
    adaptation: Tensor  # [4, a, n]
    synapse: Tensor  # [10, r, n]
    threshold: Tensor  # [7, n], or [0, n] where no threshold moves
    t_ref: Tensor  # [n] int32

    @classmethod
    def pack(
        cls, coefficients: Sequence[Tensor], threshold: Sequence[Tensor], t_ref: Tensor
    ) -> Self:
        """From tensors in the order of `COEFFICIENTS` and, or none, of `THRESHOLD_FIELDS`."""
        membrane = _own(torch.stack(tuple(coefficients[:_M])))
        return cls(
            membrane,
            _own(torch.stack(tuple(coefficients[_M:N_CELL])).transpose(1, 2)),
            _own(torch.stack(tuple(coefficients[N_CELL:])).transpose(1, 2)),
            _own(torch.stack(tuple(threshold))) if threshold else membrane[:0],
            t_ref.to(torch.int32).contiguous(),
        )

    def zeros(self, n_batch: int, with_membrane: bool, with_synapse: bool) -> "CellArrays":
        """Zeros like these for every sample; of length 0 where they are not wanted."""

        def of(field: Tensor, wanted: bool) -> Tensor:
            return field.new_zeros(n_batch if wanted else 0, *field.shape)

        return CellArrays(
            of(self.membrane, with_membrane),
            of(self.adaptation, with_membrane),
            of(self.synapse, with_synapse),
            of(self.threshold, with_membrane),
            self.t_ref,
        )

    def unpack(self) -> tuple[list[Tensor | None], list[Tensor]]:
        """Gradients, summed over samples: in the order of `COEFFICIENTS`; and of the threshold."""
        out: list[Tensor | None] = [None] * len(COEFFICIENTS)
        if len(self.membrane):
            out[:_M] = self.membrane.sum(0).unbind(0)
            out[_M:N_CELL] = self.adaptation.sum(0).transpose(1, 2).unbind(0)
        if len(self.synapse):
            out[N_CELL:] = self.synapse.sum(0).transpose(1, 2).unbind(0)
        return out, list(self.threshold.sum(0).unbind(0))


class Dynamics(NamedTuple):
    """The state of a rollout in the kernels' layout, changed in place; or its adjoint."""

    U: Tensor  # [b, n]
    asc: Tensor  # [b, a, n]
    refractory: Tensor  # [b, n] int32; of no meaning in an adjoint
    current: Tensor  # [b, n]
    y: Tensor  # [b, 4, r, n]
    ring: Tensor  # [b, D+1, r, n]; of an adjoint [D+1, r, n, b]
    u: Tensor  # [b, s] in the order of `Sites`
    x: Tensor  # [b, s]
    moving: Tensor  # [b, 2, n] th_spike, th_voltage, or [b, 0, n]

    @classmethod
    def pack(
        cls,
        state: Sequence[Tensor],
        moving: Sequence[Tensor],
        sites: Sequence[Tensor],
        refractory: Tensor,
        site_order: Tensor,
    ) -> Self:
        """From tensors in the order of `STATE`, `MOVING` (or none) and `SITES`, before step 0."""
        U, asc, *y, current, pending = state
        u, x = (field.detach()[:, site_order] for field in sites)
        return cls(
            _own(U),
            _own(asc.transpose(1, 2)),
            refractory.to(torch.int32).contiguous().clone(),
            _own(current),
            _own(torch.stack(y, 1).transpose(2, 3)),
            pad(pending.detach().permute(1, 0, 3, 2), (0, 0, 0, 0, 0, 1)).contiguous(),
            _own(u),
            _own(x),
            _own(torch.stack(tuple(moving), 1)) if moving else U.detach()[:, None][:, :0],
        )

    def copy(self, with_synapses: bool) -> "Dynamics":
        """A copy; y and ring are of length 0 unless wanted."""
        shortened = self
        if not with_synapses:
            shortened = self._replace(y=self.y[:0], ring=self.ring[:0])
        return Dynamics(*(field.clone() for field in shortened))

    def unpack(self, n_steps: int) -> list[Tensor]:
        """Tensors in the order of `STATE`, before step `n_steps`."""
        ring = self.ring[:, ring_positions(n_steps, self.ring.shape[1] - 1, self.ring.device)]
        return self._unpack(ring.permute(1, 0, 3, 2).contiguous())

    def unpack_adjoint(self) -> list[Tensor]:
        """An adjoint's tensors in the order of `STATE`, before step 0."""
        return self._unpack(self.ring[:-1].permute(0, 3, 2, 1))

    def _unpack(self, pending: Tensor) -> list[Tensor]:
        return [
            self.U,
            self.asc.transpose(1, 2).contiguous(),
            *(field.contiguous() for field in self.y.transpose(2, 3).unbind(1)),
            self.current,
            pending,
        ]

    def unpack_sites(self, site_order: Tensor) -> list[Tensor]:
        """U and x in the order in which the contract has the sites."""
        back = torch.argsort(site_order)
        return [self.u[:, back], self.x[:, back]]


def samples_last(pending: Tensor, n_steps: int) -> Tensor:
    """The adjoint's ring [D+1, r, n, b] that holds dL/d pending [D, b, n, r] before `n_steps`."""
    d, b, n, r = pending.shape
    ring = pending.new_zeros(d + 1, r, n, b)
    ring[ring_positions(n_steps, d, pending.device)] = pending.permute(0, 3, 2, 1)
    return ring


def ring_positions(first_step: int, n_delays: int, device: torch.device) -> Tensor:
    """Where the D steps from `first_step` on lie in a ring of D+1 positions."""
    return (first_step + torch.arange(n_delays, device=device)) % (n_delays + 1)


def _own(tensor: Tensor) -> Tensor:
    """Contiguous, in memory of its own."""
    return tensor.detach().contiguous().clone()


def _power_of_two(n: int) -> int:
    """The smallest that is at least n."""
    return 1 << max(n - 1, 0).bit_length()
