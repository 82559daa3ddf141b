"""The GLIF3 neuron with double-alpha synapses: exact integration over one step, as NEST does it.

Between spikes a cell obeys (V relative to E_L; a after-spike current, r receptor)

    C_m dV/dt   = -g V + I + sum_a I_a + sum_r I_r
    dI_a/dt     = -asc_decay_a I_a
    I_r(t)      = w [ (t/tau_fast) e^(1 - t/tau_fast) + amp_slow (t/tau_slow) e^(1 - t/tau_slow) ]

for each arriving spike of weight w (pA: the peak of the fast component). When V > V_th it spikes:
V <- V_reset, I_a <- asc_amps_a + asc_r_a e^(-asc_decay_a t_ref) I_a, and for t_ref V and I_a stand
still while the synaptic currents go on.

NEST's `glif_psc_double_alpha` (3.10) fixes the discretisation: within a step the sum of the I_a
and the injected current are constant (the I_a at their mean over the step), everything else is
exact. The order of the updates is written in `v1builder.model.rollout`. Three conventions follow
from it: an injected current acts one step after it was set, a spike reaches another cell delay
steps later and moves its voltage one step after that, and t_ref counts in whole steps, rounded up.

Sources: Teeter et al. 2018, Nat. Commun. 9:709 (GLIF3); Rotter & Diesmann 1999, Biol. Cybern.
81:381 (exact integration); the behaviour of NEST 3.10, which tests/model compare step by step.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from v1builder.model.rollout import Propagators, State
from v1builder.model.surrogate import Surrogate

_SERIES_TERMS = 18  # 1/(18! * 20) < 1e-17: exact in float64 for |x| < 1


@dataclass(frozen=True)
class GlifParameters:
    """Parameters of every cell. n cell, a after-spike current, r receptor.

    V_th and V_reset are relative to E_L, which shifts the voltage and changes nothing else.
    """

    C_m: Tensor  # [n] pF
    g: Tensor  # [n] nS
    V_th: Tensor  # [n] mV above E_L
    V_reset: Tensor  # [n] mV above E_L
    t_ref: Tensor  # [n] ms
    asc_amps: Tensor  # [n, a] pA
    asc_decay: Tensor  # [n, a] 1/ms
    asc_r: Tensor  # [n, a]
    tau_syn_fast: Tensor  # [n, r] ms
    tau_syn_slow: Tensor  # [n, r] ms
    amp_slow: Tensor  # [n, r]


def _integral_exp(x: Tensor) -> Tensor:
    """Integral of e^(x u) over u in [0, 1], (e^x - 1)/x, accurate with its derivatives at x = 0."""
    series = torch.zeros_like(x)
    for k in reversed(range(_SERIES_TERMS)):
        series = series * x + 1 / math.factorial(k + 1)
    small = x.abs() < 1
    safe = torch.where(small, torch.ones_like(x), x)
    return torch.where(small, series, torch.expm1(safe) / safe)


def _integral_u_exp(x: Tensor) -> Tensor:
    """Integral of u e^(x u) over u in [0, 1], accurate with its derivatives at x = 0."""
    series = torch.zeros_like(x)
    for k in reversed(range(_SERIES_TERMS)):
        series = series * x + 1 / (math.factorial(k) * (k + 2))
    small = x.abs() < 1
    safe = torch.where(small, torch.ones_like(x), x)
    return torch.where(small, series, (torch.exp(safe) * (safe - 1) + 1) / safe**2)


def refractory_steps(t_ref: Tensor, dt: float) -> Tensor:
    """Number of steps a spike silences a cell: t_ref in ticks of 1 us, then up to whole steps.

    NEST's `Time(Time::ms(t_ref)).get_steps()`.

    Args:
        t_ref: [n] ms.
        dt: ms.

    Returns:
        [n] int32.
    """
    ticks = torch.floor(t_ref.detach().to(torch.float64) * 1000 + 0.5).to(torch.int64)
    ticks_per_step = round(dt * 1000)
    return ((ticks + ticks_per_step - 1) // ticks_per_step).to(torch.int32)


def _synapse(tau: Tensor, amplitude: Tensor, C_m: Tensor, tau_m: Tensor, dt: float) -> list[Tensor]:
    """P11, P21, P31, P32 and the initial y1 of one alpha component, each [n, r]."""
    P11 = torch.exp(-dt / tau)
    # The convolution of e^(-s/tau) and s e^(-s/tau) with the membrane. x -> 0 as tau -> tau_m,
    # where both integrals stay smooth (NEST switches to the limit below |x| = 1e-7).
    x = dt / tau_m[:, None] - dt / tau
    decay = torch.exp(-dt / tau_m)[:, None]
    P32 = dt / C_m[:, None] * decay * _integral_exp(x)
    P31 = dt**2 / C_m[:, None] * decay * _integral_u_exp(x)
    return [P11, dt * P11, P31, P32, amplitude * math.e / tau]


def propagators(parameters: GlifParameters, dt: float) -> Propagators:
    """Exact one-step coefficients, differentiable in every parameter (t_ref's steps excepted).

    Args:
        parameters: of every cell; time constants and C_m, g positive.
        dt: step in ms.
    """
    p = parameters
    tau_m = p.C_m / p.g
    decay_per_step = p.asc_decay * dt
    fast = _synapse(p.tau_syn_fast, torch.ones_like(p.tau_syn_fast), p.C_m, tau_m, dt)
    slow = _synapse(p.tau_syn_slow, p.amp_slow, p.C_m, tau_m, dt)
    return Propagators(
        P33=torch.exp(-dt / tau_m),
        P30=-torch.expm1(-dt / tau_m) / p.g,
        V_th=p.V_th,
        V_reset=p.V_reset,
        asc_mean=-torch.expm1(-decay_per_step) / decay_per_step,
        asc_decay=torch.exp(-decay_per_step),
        asc_amps=p.asc_amps,
        asc_refractory=p.asc_r * torch.exp(-p.asc_decay * p.t_ref[:, None]),
        P11_fast=fast[0],
        P21_fast=fast[1],
        P31_fast=fast[2],
        P32_fast=fast[3],
        y1_init_fast=fast[4],
        P11_slow=slow[0],
        P21_slow=slow[1],
        P31_slow=slow[2],
        P32_slow=slow[3],
        y1_init_slow=slow[4],
        t_ref_steps=refractory_steps(p.t_ref, dt),
    )


class _Spike(torch.autograd.Function):
    """1 where x > 0, with the surrogate as its derivative."""

    @staticmethod
    def forward(ctx, x: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(x)
        ctx.surrogate = surrogate
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad_outputs[0] * ctx.surrogate.derivative(x), None


def step(
    state: State,
    arriving: Tensor,
    current: Tensor,
    propagators: Propagators,
    surrogate: Surrogate,
    detach_reset: bool = False,
) -> tuple[Tensor, Tensor, State]:
    """One step of every cell: the order of `v1builder.model.rollout`, written out.

    The derivative of a spike is that of the surrogate at x = (U - V_th)/V_th, so it reaches U and
    V_th; a refractory cell has none. The jumps of U and asc are linear in the spike, so the
    gradient flows through them unless `detach_reset`, which takes the spike as a constant there
    (asc_amps, asc_refractory and V_reset have their gradient either way).

    Args:
        state: before the step. `pending` is passed on as it is.
        arriving: [b, n, r] pA, sum of the weights of the spikes that arrive in this step.
        current: [b or 1, n] pA injected, acts in the next step.
        propagators: coefficients.
        surrogate: derivative of the spike.
        detach_reset: cut the gradient of the jumps with respect to the spike.

    Returns:
        spikes [b, n]; voltage before the spike test [b, n] (held while refractory); the new state.
    """
    p = propagators
    active = state.refractory == 0

    asc_sum = (p.asc_mean * state.asc).sum(-1)
    synaptic = (
        p.P31_fast * state.y1_fast
        + p.P32_fast * state.y2_fast
        + p.P31_slow * state.y1_slow
        + p.P32_slow * state.y2_slow
    ).sum(-1)
    U_free = state.U * p.P33 + (state.current + asc_sum) * p.P30 + synaptic
    drive = torch.where(active, U_free, state.U)

    x = (U_free - p.V_th) / p.V_th
    spikes = torch.where(active, _Spike.apply(x, surrogate), 0.0)  # pyright: ignore[reportArgumentType]
    jump = spikes.detach() if detach_reset else spikes

    # (1 - z) a + z b gives exactly a or b, and its derivative with respect to z is b - a.
    U = (1 - jump) * drive + jump * p.V_reset
    asc_free = torch.where(active[..., None], state.asc * p.asc_decay, state.asc)
    asc_jumped = p.asc_amps + asc_free * p.asc_refractory
    asc = (1 - jump[..., None]) * asc_free + jump[..., None] * asc_jumped

    refractory = torch.where(
        spikes.detach() > 0, p.t_ref_steps, (state.refractory - 1).clamp(min=0)
    )
    return (
        spikes,
        drive,
        replace(
            state,
            U=U,
            asc=asc,
            refractory=refractory,
            y2_fast=p.P21_fast * state.y1_fast + p.P11_fast * state.y2_fast,
            y1_fast=p.P11_fast * state.y1_fast + p.y1_init_fast * arriving,
            y2_slow=p.P21_slow * state.y1_slow + p.P11_slow * state.y2_slow,
            y1_slow=p.P11_slow * state.y1_slow + p.y1_init_slow * arriving,
            current=current.expand_as(U),
        ),
    )
