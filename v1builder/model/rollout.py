"""What a backend computes: a rollout of a network over many steps, forward and backward.

One step t (the interval from t*dt to (t+1)*dt), whatever the neuron; b sample, n cell, r receptor:

    z, state  <- step of the neuron (state, arriving[b,n,r], current[b,n,t])     see `model.neurons`
    release   <- short-term plasticity of every site whose source spiked         see `model.plasticity`
    arriving of step t + delay_steps grows by weight * z for every edge

z is 1 where a cell spikes (the surrogate's derivative in the backward pass), or the number of spikes
expected in the step of a smooth neuron. `arriving` at step t is the sum of weight over every spike emitted in
step t - delay_steps (delay_steps >= 1), of recurrent and input sources alike. A spike emitted in step t
carries the time stamp (t+1)*dt; an input spike with time stamp s is therefore in row round(s/dt) - 1 of an
input. What arrives and what is injected in a step acts from the next step on.

An edge with short-term plasticity delivers weight * release instead of weight; `release` belongs to a
site, that is a source with all its edges of one synapse model (see `v1builder.model.plasticity`).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import Self

import torch
from torch import Tensor

from v1builder.model.surrogate import Surrogate


@dataclass(frozen=True)
class State:
    """Everything a rollout needs to go on where another stopped. b sample, n cell.

    A neuron adds what else it remembers of its cells, in a subclass in its file.

    Attributes:
        U: [b, n] mV above E_L.
        current: [b, n] pA, injected current that acts in the next step.
        pending: [d, b, n, r] pA; pending[k] arrives k steps from now (d = longest delay).
        u, x: [b, s] utilisation and resources of every site of short-term plasticity.
    """

    U: Tensor
    current: Tensor
    pending: Tensor
    u: Tensor
    x: Tensor

    def detach(self) -> Self:
        """The state without its history: where a gradient shall end (truncated back-propagation)."""
        return replace(self, **{f.name: getattr(self, f.name).detach() for f in fields(self)})


@dataclass(frozen=True)
class Coefficients(ABC):
    """What a neuron computes a step of its cells with; n cell. Differentiable unless noted.

    A subclass in the neuron's file has the tensors and the step.
    """

    @property
    def graded(self) -> bool:
        """Whether cells send in every step; then `step` returns expected numbers of spikes."""
        return False

    @property
    @abstractmethod
    def uncompiled(self) -> str | None:
        """Why the compiled backends cannot compute these cells, or None."""

    @abstractmethod
    def step(
        self,
        state: State,
        arriving: Tensor,
        current: Tensor,
        surrogate: Surrogate,
        detach_reset: bool = False,
    ) -> tuple[Tensor, Tensor, State]:
        """One step of every cell.

        Args:
            state: before the step. `pending`, `u` and `x` are passed on as they are.
            arriving: [b, n, r] pA, sum of the weights of the spikes that arrive in this step.
            current: [b or 1, n] pA injected, acts in the next step.
            surrogate: derivative of the spike.
            detach_reset: cut the gradient of the jumps with respect to the spike.

        Returns:
            spikes [b, n]; mV above E_L that the spike test saw [b, n]; the new state.
        """

    @property
    def device(self) -> torch.device:
        """Of its tensors."""
        values = (getattr(self, one.name) for one in fields(self))
        return next(value.device for value in values if isinstance(value, Tensor))


@dataclass(frozen=True)
class Plasticity:
    """Short-term plasticity of every site of every projection; s site. Differentiable."""

    U: Tensor  # [s] release from rest, in (0, 1]
    P_rec: Tensor  # [s] exp(-dt/tau_rec)
    P_fac: Tensor  # [s] exp(-dt/tau_fac)


@dataclass(frozen=True, eq=False)
class Projection:
    """The fixed part of the edges of one source: who, where, when. Weights come separately.

    Attributes:
        source: name of the input, or None when the simulated cells themselves are the source.
        n_source: number of source units.
        source_index, target_index: [e] int32. The source of an edge with short-term plasticity is
            n_source + the position of its site in `site_source`.
        receptor: [e] integers, from 0.
        delay_steps: [e] integers, >= 1.
        site_source: [k] int32, source unit of each site.
        first_site: position of the first of them among the sites of all projections.
    """

    source: str | None
    n_source: int
    source_index: Tensor
    target_index: Tensor
    receptor: Tensor
    delay_steps: Tensor
    site_source: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int32))
    first_site: int = 0

    @property
    def sites(self) -> slice:
        """Where its sites lie among the sites of all projections."""
        return slice(self.first_site, self.first_site + len(self.site_source))


@dataclass(frozen=True)
class Rollout:
    """Result of a rollout.

    Attributes:
        spikes: [b, t, n] 0/1 in the model's dtype, differentiable through the surrogate; expected
            number of spikes of a smooth neuron, in (0, 1).
        voltage: [b, t, n] mV above E_L at the end of each step (after a reset), or None.
        drive: [b, t, n] mV above E_L before the spike test (what the surrogate sees), or None.
        state: state after the last step, differentiable.
    """

    spikes: Tensor
    voltage: Tensor | None
    drive: Tensor | None
    state: State
