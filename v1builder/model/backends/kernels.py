"""What a compiled backend gives the driver: its passes and layouts; and what these are given."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from math import isqrt
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from v1builder.model.backends import fields
from v1builder.model.backends.layout import (
    CellArrays,
    Dynamics,
    Graph,
    Losses,
    RecordedSteps,
    Sites,
    Sizes,
)
from v1builder.model.backends.plan import EdgePlan, Ring, SortedEdges
from v1builder.model.rollout import Projection
from v1builder.model.surrogate import Surrogate

#: Differentiable tensors, or what there is one of for each, by what they are.
Groups = dict[str, list[Any]]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a rollout is given besides the tensors that may need a gradient."""

    plan: EdgePlan
    size: Sizes
    counts: Mapping[str, int]  # how many of the differentiable tensors are what
    state_names: Sequence[str]  # of those that are the state
    current_shape: tuple[
        int, ...
    ]  # [b or 1, t or 1, n] of the injected current; of length 0 without
    input_slices: tuple[slice, ...]  # units, among all input units, of inputs that need a gradient
    surrogate: Surrogate
    detach_reset: bool
    record_voltage: bool

    @property
    def segment(self) -> int:
        """Steps between two snapshots."""
        return isqrt(self.size.n_steps) + 1

    def grouped(self, flat: Sequence[Any]) -> Groups:
        """One entry per differentiable tensor, by what the tensors are."""
        entries = iter(flat)
        return {name: list(islice(entries, count)) for name, count in self.counts.items()}

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Of a field of the state."""
        b, n, r = self.size.n_batch, self.size.n_cells, self.size.n_receptors
        shapes = dict.fromkeys(fields.CURRENTS, (b, n, r))
        shapes |= dict.fromkeys(fields.SITES, (b, self.size.n_sites))
        shapes |= {"asc": (b, n, self.size.n_asc), "pending": (self.size.n_slots - 1, b, n, r)}
        return shapes.get(name, (b, n))


class Operands(NamedTuple):
    """What the kernels read and never change."""

    cells: CellArrays
    graph: Graph
    sites: Sites
    current: Tensor  # [b or 1, t or 1, n]


class Wanted(NamedTuple):
    """Which gradients are wanted."""

    membrane: bool
    synapse: bool
    current: bool
    weights: bool
    inputs: bool
    plasticity: bool
    sites: bool

    @classmethod
    def of(cls, needs: Mapping[str, Sequence[bool]]) -> "Wanted":
        """From one flag per differentiable tensor."""
        return cls(
            membrane=any(any(needs[name]) for name in ("membrane", "adaptation", "threshold")),
            sites=any(needs["sites"]),
            **{name: any(needs[name]) for name in cls._fields[1:-1]},
        )


class Gradients(NamedTuple):
    """What a backward pass has added up, besides the adjoint; of length 0 where nobody wants it."""

    cells: CellArrays
    weight: Tensor  # [e] in the plan's order
    input: Tensor  # [b, t, input unit]
    current: Tensor  # of `Request.current_shape`
    sites: Tensor  # [3, s] in the plan's order


class ForwardPass(ABC):
    """A forward pass in hand.

    Attributes:
        recorded: what it fills.
        kept: a named tuple of tensors, further things that the backward pass needs.
    """

    recorded: RecordedSteps
    kept: Any

    @abstractmethod
    def __init__(
        self, request: Request, operands: Operands, inputs: Any, state: Dynamics, keep_drive: bool
    ):
        """Begin at `state`, which the pass changes; inputs as `Kernels.list_spikes` gave them."""

    @abstractmethod
    def advance(self, begin: int, end: int) -> None:
        """Do the steps begin..end, in place."""


class BackwardPass(ABC):
    """A backward pass in hand."""

    @abstractmethod
    def __init__(
        self,
        request: Request,
        operands: Operands,
        kept: Any,
        drive: Tensor,
        before: Dynamics,
        losses: Losses,
        adjoint: Dynamics,
        wanted: Wanted,
    ):
        """Begin at the adjoint of the last state, which the pass changes.

        Args:
            request: of the rollout.
            operands: as in the forward pass.
            kept: what that kept.
            drive: [b, t, n] what it recorded.
            before: the states before every segment, [segment, ...]; never changed. Their y and ring are of
                length 0 unless the synapses' coefficients need a gradient.
            losses: gradients of the outputs.
            adjoint: of the state after the last step.
            wanted: which gradients.
        """

    @abstractmethod
    def replay(self, begin: int, end: int, k: int) -> None:
        """Recompute the steps begin..end, the k-th segment, from the state before them."""

    @abstractmethod
    def retreat(self, begin: int, end: int) -> None:
        """Do the adjoint of the steps end-1 down to begin, which were replayed, in place."""

    @abstractmethod
    def gradients(self) -> Gradients:
        """All that was added up, summed over samples."""


class Kernels(ABC):
    """A compiled backend's own part of a rollout; see also `plan.Sorting` and `layout.Ports`."""

    name: ClassVar[str]
    tile: ClassVar[int] = 1
    index: ClassVar[torch.dtype]
    forward: ClassVar[type[ForwardPass]]
    backward: ClassVar[type[BackwardPass]]

    @abstractmethod
    def check(self, tensors: Sequence[Tensor]) -> None:
        """Raise a ConfigError unless all are of one type, on one device, which it can compute with."""

    def running(self, like: Tensor) -> AbstractContextManager[Any]:
        """Within which it runs, for tensors as this one."""
        del like
        return nullcontext()

    @abstractmethod
    def sort_edges(
        self,
        projections: Sequence[Projection],
        numbers: Sequence[Tensor],
        n_sources: int,
        ring: Ring,
    ) -> SortedEdges:
        """See `plan.Sorting`."""

    def gather(self, values: Tensor, order: Tensor) -> Tensor:
        """values[order]."""
        return values[order]

    def scatter(self, values: Tensor, order: Tensor) -> Tensor:
        """The inverse of `gather`."""
        merged = torch.empty_like(values)
        merged[order] = values
        return merged

    @abstractmethod
    def pack_ports(self, values: Tensor) -> Tensor:
        """See `layout.Ports`."""

    @abstractmethod
    def unpack_ports(self, packed: Tensor, n_cells: int) -> Tensor:
        """See `layout.Ports`."""

    @abstractmethod
    def list_spikes(
        self, inputs: Mapping[str, Tensor], plan: EdgePlan, like: Tensor, n_steps: int
    ) -> Any:
        """The spikes of all inputs as the kernels read them."""
