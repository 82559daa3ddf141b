"""What a backend computes: a rollout of a GLIF network over many steps, forward and backward.

Semantics of one step t (the interval from t*dt to (t+1)*dt), the order of NEST's
`glif_psc_double_alpha` (voltages U are relative to E_L; b sample, n cell, r receptor, a after-spike
current):

    if refractory[b,n] == 0:
        I_asc  = sum_a asc_mean[n,a] * asc[b,n,a]
        asc   <- asc * asc_decay
        U     <- U * P33 + (I + I_asc) * P30
                 + sum_r P31_fast*y1_fast + P32_fast*y2_fast + P31_slow*y1_slow + P32_slow*y2_slow
        z      = 1 if U > threshold else 0               # surrogate derivative in the backward pass
        where z: asc <- asc_amps + asc * asc_refractory;  U <- V_reset;  refractory <- t_ref_steps
    else:
        z = 0;  refractory <- refractory - 1              # U and asc are held
    y2 <- P21*y1 + P11*y2;  y1 <- P11*y1 + y1_init * arriving[b,n,r]      # for fast and slow
    I  <- current[b,n,t]                                  # acts from the next step on

threshold is V_th, and moves where `ThresholdDynamics` are given (see there). `arriving` at step t is
the sum of weight over every spike emitted in step t - delay_steps (delay_steps >= 1), of recurrent and
input sources alike. A spike emitted in step t carries the time stamp (t+1)*dt; an input spike with time
stamp s is therefore in row round(s/dt) - 1 of an input.

An edge with short-term plasticity delivers weight * release instead of weight; `release` belongs to a
site, that is a source with all its edges of one synapse model (see `v1builder.model.plasticity`).

Where the propagators have a `SmoothSpike` the cells are rate neurons: see `v1builder.model.glifr` for the
step. What they send, and what stands for z everywhere else, is the number of spikes expected in a step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from v1builder.model.surrogate import Surrogate


@dataclass(frozen=True)
class ThresholdDynamics:
    """What GLIF levels 2, 4 and 5 add: a reset that depends on the voltage, a threshold that moves.

    In a step in which the cell is not refractory, with U and I + I_asc as before the step,

        th_spike   <- th_spike * th_spike_decay
        th_voltage <- th_voltage * th_voltage_decay + U * th_voltage_per_mV + (I + I_asc) * th_voltage_per_pA
        threshold   = V_th + th_spike + th_voltage
        where z: U <- U before the step * voltage_reset_fraction + V_reset
                 th_spike <- th_spike * th_spike_refractory + th_spike_add
    """

    voltage_reset_fraction: Tensor  # [n]
    th_spike_add: Tensor  # [n] mV
    th_spike_decay: Tensor  # [n] factor per step
    th_spike_refractory: Tensor  # [n] factor per refractory period
    th_voltage_decay: Tensor  # [n] factor per step
    th_voltage_per_mV: Tensor  # noqa: N815  [n]
    th_voltage_per_pA: Tensor  # noqa: N815  [n] mV/pA


@dataclass(frozen=True)
class SmoothSpike:
    """The graded signal of a GLIFR cell, see `v1builder.model.glifr`."""

    sigma_V: float  # mV  # noqa: N815
    per_step: float  # dt/tau, in (0, 1]

    def expected(self, U: Tensor, V_th: Tensor) -> Tensor:
        """Spikes expected in the step that ended at U [b, n]: s dt/tau, in (0, 1)."""
        return self.per_step * torch.sigmoid((U - V_th) / self.sigma_V)


@dataclass(frozen=True)
class Propagators:
    """Exact one-step coefficients of every cell, differentiable unless noted; n cell, r port.

    `threshold`, `y2_init_fast` and `U_jump` are None when no cell has what they describe, as in a
    network of GLIF levels 1 and 3, and `smooth` unless the neuron is GLIFR. A spike that arrives adds
    y2_init_fast to y2_fast (exponential currents), or U_jump to U in the step of its arrival (delta
    synapses; lost while the cell is refractory).
    """

    P33: Tensor  # [n] membrane decay exp(-dt g/C_m)
    P30: Tensor  # [n] mV/pA, constant current to voltage
    V_th: Tensor  # [n] mV above E_L
    V_reset: Tensor  # [n] mV above E_L
    asc_mean: Tensor  # [n, a] mean over the step per initial value
    asc_decay: Tensor  # [n, a] factor per step
    asc_amps: Tensor  # [n, a] pA
    asc_refractory: Tensor  # [n, a] r * exp(-k t_ref)
    P11_fast: Tensor  # [n, r] exp(-dt/tau_fast)
    P21_fast: Tensor  # [n, r] dt*P11 (ms)
    P31_fast: Tensor  # [n, r] mV per (pA/ms)
    P32_fast: Tensor  # [n, r] mV per pA
    y1_init_fast: Tensor  # [n, r] e/tau_fast (1/ms)
    P11_slow: Tensor  # [n, r]
    P21_slow: Tensor  # [n, r]
    P31_slow: Tensor  # [n, r]
    P32_slow: Tensor  # [n, r]
    y1_init_slow: Tensor  # [n, r] amp_slow*e/tau_slow (1/ms)
    t_ref_steps: Tensor  # [n] int32, not differentiable
    threshold: ThresholdDynamics | None = None
    y2_init_fast: Tensor | None = None  # [n, r]
    U_jump: Tensor | None = None  # [n, r] mV
    smooth: SmoothSpike | None = None


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
class State:
    """Everything a rollout needs to go on where another stopped. b sample, n cell.

    Attributes:
        U: [b, n] mV above E_L.
        asc: [b, n, a] pA.
        refractory: [b, n] int32 steps left.
        y1_fast, y1_slow: [b, n, r] pA/ms.
        y2_fast, y2_slow: [b, n, r] pA.
        current: [b, n] pA, injected current that acts in the next step.
        pending: [d, b, n, r] pA; pending[k] arrives k steps from now (d = longest delay).
        th_spike, th_voltage: [b, n] mV, moving parts of the threshold.
        u, x: [b, s] utilisation and resources of every site of short-term plasticity.
    """

    U: Tensor
    asc: Tensor
    refractory: Tensor
    y1_fast: Tensor
    y2_fast: Tensor
    y1_slow: Tensor
    y2_slow: Tensor
    current: Tensor
    pending: Tensor
    th_spike: Tensor
    th_voltage: Tensor
    u: Tensor
    x: Tensor


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


class Backend(Protocol):
    """Computes a rollout. Every backend gives the reference's numbers, forward and gradient."""

    def __call__(
        self,
        propagators: Propagators,
        projections: Sequence[Projection],
        weights: Sequence[Tensor],
        inputs: Mapping[str, Tensor],
        current: Tensor | None,
        state: State,
        n_steps: int,
        *,
        plasticity: Plasticity | None = None,
        surrogate: Surrogate,
        detach_reset: bool,
        record_voltage: bool,
    ) -> Rollout:
        """Run `n_steps` steps.

        Args:
            propagators: coefficients of the cells.
            projections: edges, grouped by source.
            weights: one [e] tensor in pA per projection, signed.
            inputs: by projection source name, spikes [b, t, n_source]: bool or uint8, or floating
                point when the gradient with respect to the input is wanted.
            current: [b or 1, t or 1, n] pA injected, or None.
            state: state before the first step.
            n_steps: number of steps.
            plasticity: coefficients of the sites; None when there are none.
            surrogate: derivative of the spike with respect to (U - threshold)/V_th.
            detach_reset: when True, no gradient flows through reset and after-spike jumps.
            record_voltage: keep `voltage` and `drive`.
        """
        ...
