"""What the compiled backends tell autograd: the differentiable tensors of a rollout and their gradients.

A compiled backend is one autograd function, which is given a flat list of tensors and has to return one
gradient each. Here the list is made, named and taken apart again, alike for every such backend.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from torch import Tensor

from v1builder.model.backends._kernels_layout import (
    COEFFICIENTS,
    MOVING,
    N_CELL,
    PLASTICITY,
    SITES,
    STATE,
)
from v1builder.model.backends._kernels_threshold import THRESHOLD_FIELDS
from v1builder.model.neurons.glif import GlifState, Propagators
from v1builder.model.rollout import Plasticity, Rollout
from v1builder.model.surrogate import Surrogate

Groups = dict[str, list[Any]]
_Dynamics = TypeVar("_Dynamics")


def collect(
    propagators: Propagators,
    weights: Sequence[Tensor],
    current: Tensor | None,
    state: GlifState,
    plasticity: Plasticity | None,
) -> Groups:
    """The tensors, besides inputs, that may need a gradient, by what they are."""
    threshold = propagators.threshold
    return {
        "coefficients": [getattr(propagators, name) for name in COEFFICIENTS],
        "threshold": [getattr(threshold, name) for name in THRESHOLD_FIELDS if threshold],
        "state": [getattr(state, name) for name in STATE],
        "moving": [getattr(state, name) for name in MOVING if threshold],
        "plasticity": [getattr(plasticity, name) for name in PLASTICITY if plasticity is not None],
        "sites": [getattr(state, name) for name in SITES if plasticity is not None],
        "current": [] if current is None else [current],
        "weights": list(weights),
    }


def add_inputs(
    tensors: Groups, inputs: Mapping[str, Tensor], first_source: Mapping[str, int], n_cells: int
) -> tuple[slice, ...]:
    """Adds the inputs that need a gradient; returns their units, among all input units."""
    found = {first - n_cells: inputs[name] for name, first in first_source.items()}
    found = {first: tensor for first, tensor in found.items() if tensor.requires_grad}
    tensors["inputs"] = list(found.values())
    return tuple(slice(first, first + tensor.shape[2]) for first, tensor in found.items())


def to_rollout(outputs: Sequence[Any], state: GlifState, tensors: Groups) -> Rollout:
    """A backend's answer from what its autograd function returned: the state's tensors come last."""
    spikes, voltage, drive, refractory, *end = outputs
    names = (*STATE, *MOVING[: len(tensors["moving"])], *SITES[: len(tensors["sites"])])
    end_state = replace(state, refractory=refractory, **dict(zip(names, end, strict=True)))
    return Rollout(spikes=spikes, voltage=voltage, drive=drive, state=end_state)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a rollout is given besides the tensors that may need a gradient."""

    counts: Mapping[str, int]  # how many of the differentiable tensors are what
    input_slices: tuple[slice, ...]  # units, among all input units, of inputs that need a gradient
    surrogate: Surrogate
    detach_reset: bool
    record_voltage: bool

    def grouped(self, flat: Sequence[Any]) -> Groups:
        """One entry per differentiable tensor, by what the tensors are."""
        entries = iter(flat)
        return {name: list(islice(entries, count)) for name, count in self.counts.items()}

    def end_gradients(
        self, grads: Sequence[Tensor | None], zeros: Callable[..., Tensor], shape: tuple[int, ...]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Of the state after the last step: its fields, the moving thresholds, the sites.

        Args:
            grads: of all that, None for zeros.
            zeros: makes a tensor of a shape.
            shape: samples, cells, after-spike currents, receptors, delays, sites.
        """
        b, n, n_asc, r, n_delays, n_sites = shape
        shapes: list[tuple[int, ...]] = [(b, n)] * len(STATE)
        shapes[1] = (b, n, n_asc)
        shapes[2:6] = [(b, n, r)] * 4
        shapes[7] = (n_delays, b, n, r)
        shapes += [(b, n)] * self.counts["moving"]
        shapes += [(b, n_sites)] * self.counts["sites"]
        end = [zeros(s) if g is None else g for g, s in zip(grads, shapes, strict=True)]
        first = len(STATE) + self.counts["moving"]
        return (
            end[: len(STATE)],
            end[len(STATE) : first],
            end[first:] or [end[0][:, :0]] * len(SITES),
        )


class Snapshot(NamedTuple, Generic[_Dynamics]):
    """State before step `begin`, from which the steps up to `end` are recomputed.

    y and ring are of length 0 unless the synapses' coefficients need a gradient.
    """

    begin: int
    end: int
    state: _Dynamics


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
            membrane=any(needs["coefficients"][:N_CELL]) or any(needs["threshold"]),
            synapse=any(needs["coefficients"][N_CELL:]),
            **{name: any(needs[name]) for name in cls._fields[2:]},
        )


def in_order(
    found: Mapping[str, Sequence[Tensor | None]], needs: Mapping[str, Sequence[bool]]
) -> list[Tensor | None]:
    """One gradient per differentiable tensor: None where it is not needed; `found` may lack such groups."""
    nothing = [None] * max(len(wanted) for wanted in needs.values())
    return [
        gradient if needed else None
        for name, wanted in needs.items()
        for gradient, needed in zip(found.get(name, nothing)[: len(wanted)], wanted, strict=True)
    ]
