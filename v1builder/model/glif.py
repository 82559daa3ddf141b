"""The GLIF neuron, levels 1 to 5, with its synaptic currents: exact integration over one step, as NEST.

Between spikes a cell obeys (V relative to E_L; a after-spike current, r receptor)

    C_m dV/dt   = -g V + I + sum_a I_a + sum_r I_r
    dI_a/dt     = -asc_decay_a I_a
    I_r(t)      = w [ (t/tau_fast) e^(1 - t/tau_fast) + amp_slow (t/tau_slow) e^(1 - t/tau_slow) ]

for each arriving spike of weight w (pA: the peak of the fast component). When V > V_th it spikes:
V <- V_reset, I_a <- asc_amps_a + asc_r_a e^(-asc_decay_a t_ref) I_a, and for t_ref V and I_a stand
still while the synaptic currents go on. Level 1 has no after-spike currents. Levels 2, 4 and 5 add

    reset        V <- E_L + voltage_reset_fraction (V - E_L) + voltage_reset_add
    threshold    V_th + th_spike + th_voltage
                 d th_spike/dt   = -th_spike_decay th_spike;  at a spike th_spike grows by th_spike_add
                 d th_voltage/dt = th_voltage_index (V - E_L) - th_voltage_decay th_voltage    (level 5)

(2 has no after-spike currents, 4 and 5 have). voltage_reset_add is V_reset - E_L here, so that levels 1
and 3 are fraction 0.

NEST's `glif_psc_double_alpha` (3.10) fixes the discretisation: within a step the sum of the I_a
and the injected current are constant (the I_a at their mean over the step), everything else is
exact. The order of the updates is written in `v1builder.model.rollout`. Three conventions follow
from it: an injected current acts one step after it was set, a spike reaches another cell delay
steps later and moves its voltage one step after that, and t_ref counts in whole steps, rounded up.
Of the reset rules: V in the reset is that at the begin of the step; th_voltage follows the membrane under
injected and after-spike currents but not under synaptic ones; th_spike decays over t_ref at the spike
and both stand still while the cell is refractory. (allensdk integrates by forward Euler at 50 us, lets V in
the reset be that at the crossing, and interpolates spike times.)

Other current shapes of NEST's point neurons: an exponential current (iaf_psc_exp) jumps by w when a spike
arrives; a delta synapse (iaf_psc_delta) moves V by w mV in that very step, and is lost on a refractory cell.

Sources: Teeter et al. 2018, Nat. Commun. 9:709 (GLIF levels); Rotter & Diesmann 1999, Biol. Cybern.
81:381 (exact integration); the behaviour of NEST 3.10, which tests/model compare step by step.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from v1builder.model.rollout import Propagators, State, ThresholdDynamics
from v1builder.model.surrogate import Surrogate
from v1builder.schema.names import PSC_ALPHA, PSC_DELTA, PSC_EXPONENTIAL

_SERIES_TERMS = 18  # 1/(18! * 20) < 1e-17: exact in float64 for |x| < 1


@dataclass(frozen=True)
class ThresholdParameters:
    """What levels 2, 4 and 5 add, of every cell; zeros where a cell lacks it. NEST's names."""

    th_spike_add: Tensor  # [n] mV
    th_spike_decay: Tensor  # [n] 1/ms
    voltage_reset_fraction: Tensor  # [n]
    th_voltage_index: Tensor  # [n] 1/ms
    th_voltage_decay: Tensor  # [n] 1/ms


@dataclass(frozen=True)
class GlifParameters:
    """Parameters of every cell. n cell, a after-spike current, r receptor.

    V_th and V_reset are relative to E_L, which shifts the voltage and changes nothing else.
    `threshold` is None when all cells are of level 1 or 3, `psc_shape` when all currents are alpha.
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
    threshold: ThresholdParameters | None = None
    psc_shape: Tensor | None = None  # [n, r] code of schema.names.PSC_*


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


def _threshold_dynamics(
    p: ThresholdParameters, g: Tensor, tau_m: Tensor, t_ref: Tensor, dt: float
) -> ThresholdDynamics:
    """Coefficients of reset and threshold.

    With U(s) = beta + (U - beta) e^(-s/tau_m) within the step, beta = I/g, the exact solution is

        th_voltage(dt) = e^(-b dt) th_voltage + A (U - beta) + B beta
        A = a (e^(-dt/tau_m) - e^(-b dt)) / (b - 1/tau_m),   B = a (1 - e^(-b dt)) / b

    written with integrals that stay smooth at b = 1/tau_m and at b = 0.
    """
    b = p.th_voltage_decay
    decay = torch.exp(-b * dt)
    from_U = p.th_voltage_index * dt * decay * _integral_exp((b - 1 / tau_m) * dt)
    from_beta = p.th_voltage_index * dt * _integral_exp(-b * dt)
    return ThresholdDynamics(
        voltage_reset_fraction=p.voltage_reset_fraction,
        th_spike_add=p.th_spike_add,
        th_spike_decay=torch.exp(-p.th_spike_decay * dt),
        th_spike_refractory=torch.exp(-p.th_spike_decay * t_ref),
        th_voltage_decay=decay,
        th_voltage_per_mV=from_U,
        th_voltage_per_pA=(from_beta - from_U) / g,
    )


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
    y1_init_fast, y2_init_fast, U_jump = fast[4], None, None
    if p.psc_shape is not None:
        zero = torch.zeros_like(y1_init_fast)
        if (p.psc_shape == PSC_EXPONENTIAL).any():
            y2_init_fast = (p.psc_shape == PSC_EXPONENTIAL).to(zero.dtype)
        if (p.psc_shape == PSC_DELTA).any():
            U_jump = (p.psc_shape == PSC_DELTA).to(zero.dtype)
        y1_init_fast = torch.where(p.psc_shape == PSC_ALPHA, y1_init_fast, zero)
    threshold = None
    if p.threshold is not None:
        threshold = _threshold_dynamics(p.threshold, p.g, tau_m, p.t_ref, dt)
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
        y1_init_fast=y1_init_fast,
        P11_slow=slow[0],
        P21_slow=slow[1],
        P31_slow=slow[2],
        P32_slow=slow[3],
        y1_init_slow=slow[4],
        t_ref_steps=refractory_steps(p.t_ref, dt),
        threshold=threshold,
        y2_init_fast=y2_init_fast,
        U_jump=U_jump,
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


def synaptic_voltage(state: State, propagators: Propagators) -> Tensor:
    """[b, n] mV that the synaptic currents add to the voltage in a step."""
    p = propagators
    return (
        p.P31_fast * state.y1_fast
        + p.P32_fast * state.y2_fast
        + p.P31_slow * state.y1_slow
        + p.P32_slow * state.y2_slow
    ).sum(-1)


def synapses_after(state: State, arriving: Tensor, propagators: Propagators) -> State:
    """`state` with the synaptic currents after the step, in which `arriving` [b, n, r] pA arrived."""
    p = propagators
    y2_fast = p.P21_fast * state.y1_fast + p.P11_fast * state.y2_fast
    if p.y2_init_fast is not None:
        y2_fast = y2_fast + p.y2_init_fast * arriving
    return replace(
        state,
        y2_fast=y2_fast,
        y1_fast=p.P11_fast * state.y1_fast + p.y1_init_fast * arriving,
        y2_slow=p.P21_slow * state.y1_slow + p.P11_slow * state.y2_slow,
        y1_slow=p.P11_slow * state.y1_slow + p.y1_init_slow * arriving,
    )


def step(
    state: State,
    arriving: Tensor,
    current: Tensor,
    propagators: Propagators,
    surrogate: Surrogate,
    detach_reset: bool = False,
) -> tuple[Tensor, Tensor, State]:
    """One step of every cell: the order of `v1builder.model.rollout`, written out.

    The derivative of a spike is that of the surrogate at x = (U - threshold)/V_th, so it reaches U
    and the threshold; a refractory cell has none. The jumps at a spike are linear in the spike, so
    the gradient flows through them unless `detach_reset`, which takes the spike as a constant there
    (what the jumps add and scale has its gradient either way).

    Args:
        state: before the step. `pending`, `u` and `x` are passed on as they are.
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
    constant = state.current + asc_sum
    U_free = state.U * p.P33 + constant * p.P30 + synaptic_voltage(state, p)
    if p.U_jump is not None:
        U_free = U_free + (p.U_jump * arriving).sum(-1)
    drive = torch.where(active, U_free, state.U)

    threshold, U_reset, th = p.V_th, p.V_reset, p.threshold
    th_spike, th_voltage = state.th_spike, state.th_voltage
    if th is not None:
        th_spike = torch.where(active, th_spike * th.th_spike_decay, th_spike)
        followed = th.th_voltage_per_mV * state.U + th.th_voltage_per_pA * constant
        th_voltage = torch.where(active, th_voltage * th.th_voltage_decay + followed, th_voltage)
        threshold = p.V_th + th_spike + th_voltage
        U_reset = th.voltage_reset_fraction * state.U + p.V_reset

    x = (U_free - threshold) / p.V_th
    spikes = torch.where(active, _Spike.apply(x, surrogate), 0.0)  # pyright: ignore[reportArgumentType]
    jump = spikes.detach() if detach_reset else spikes

    # (1 - z) a + z b gives exactly a or b, and its derivative with respect to z is b - a.
    U = (1 - jump) * drive + jump * U_reset
    if th is not None:
        raised = th_spike * th.th_spike_refractory + th.th_spike_add
        th_spike = (1 - jump) * th_spike + jump * raised
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
            synapses_after(state, arriving, p),
            U=U,
            asc=asc,
            refractory=refractory,
            current=current.expand_as(U),
            th_spike=th_spike,
            th_voltage=th_voltage,
        ),
    )
