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
exact. One step, in NEST's order (U relative to E_L; b sample, n cell, r receptor, a after-spike current):

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

threshold is V_th, and moves where `ThresholdDynamics` are given (see there). Three conventions follow
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

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.load.coordinates import group_means
from v1builder.load.groups import Groups
from v1builder.load.network import GroupedValues, Network
from v1builder.model.exact import integral_exp, membrane_response
from v1builder.model.neurons.neuron import Neuron, refractory_steps
from v1builder.model.parameters import Bounds
from v1builder.model.recordables import GLIF_RECORDABLES, Recordable, Step, port_names
from v1builder.model.rollout import Coefficients, State
from v1builder.model.surrogate import Surrogate, spike
from v1builder.model.synapses import (
    SynapticCoefficients,
    SynapticState,
    silent,
    synapses_after,
    synaptic_coefficients,
)
from v1builder.schema.errors import Problem
from v1builder.schema.names import PSC_DELTA
from v1builder.schema.parameters import GLIF_UNITS, PARAMETERS, THRESHOLD_PARAMETERS, Parameter
from v1builder.sonata.point_neuron import TEMPLATES, chooses_by_sign


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


@dataclass(frozen=True, kw_only=True)
class Propagators(SynapticCoefficients):
    """Exact one-step coefficients of every cell, differentiable unless noted; n cell, r port.

    `threshold`, `y2_init_fast` and `U_jump` are None when no cell has what they describe, as in a
    network of GLIF levels 1 and 3. A spike that arrives adds y2_init_fast to y2_fast (exponential
    currents), or U_jump to U in the step of its arrival (delta synapses; lost while the cell is
    refractory).
    """

    P33: Tensor  # [n] membrane decay exp(-dt g/C_m)
    P30: Tensor  # [n] mV/pA, constant current to voltage
    V_th: Tensor  # [n] mV above E_L
    V_reset: Tensor  # [n] mV above E_L
    asc_mean: Tensor  # [n, a] mean over the step per initial value
    asc_decay: Tensor  # [n, a] factor per step
    asc_amps: Tensor  # [n, a] pA
    asc_refractory: Tensor  # [n, a] r * exp(-k t_ref)
    P31_fast: Tensor  # [n, r] mV per (pA/ms)
    P32_fast: Tensor  # [n, r] mV per pA
    P31_slow: Tensor  # [n, r]
    P32_slow: Tensor  # [n, r]
    t_ref_steps: Tensor  # [n] int32, not differentiable
    threshold: ThresholdDynamics | None = None
    U_jump: Tensor | None = None  # [n, r] mV

    @property
    def uncompiled(self) -> str | None:
        """Why the compiled backends cannot compute these cells, or None."""
        return None

    def step(
        self,
        state: State,
        arriving: Tensor,
        current: Tensor,
        surrogate: Surrogate,
        detach_reset: bool = False,
    ) -> tuple[Tensor, Tensor, State]:
        """One step of every cell, see `step`."""
        assert isinstance(state, GlifState)
        return step(state, arriving, current, self, surrogate, detach_reset)


@dataclass(frozen=True)
class GlifState(SynapticState):
    """State of GLIF cells.

    Attributes:
        asc: [b, n, a] pA.
        refractory: [b, n] int32 steps left.
        th_spike, th_voltage: [b, n] mV, moving parts of the threshold.
    """

    asc: Tensor
    refractory: Tensor
    th_spike: Tensor
    th_voltage: Tensor


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
    from_U = p.th_voltage_index * dt * decay * integral_exp((b - 1 / tau_m) * dt)
    from_beta = p.th_voltage_index * dt * integral_exp(-b * dt)
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
    P31_fast, P32_fast = membrane_response(p.tau_syn_fast, p.C_m, tau_m, dt)
    P31_slow, P32_slow = membrane_response(p.tau_syn_slow, p.C_m, tau_m, dt)
    U_jump = None
    if p.psc_shape is not None and (p.psc_shape == PSC_DELTA).any():
        U_jump = (p.psc_shape == PSC_DELTA).to(p.tau_syn_fast.dtype)
    threshold = None
    if p.threshold is not None:
        threshold = _threshold_dynamics(p.threshold, p.g, tau_m, p.t_ref, dt)
    return Propagators(
        **synaptic_coefficients(p.tau_syn_fast, p.tau_syn_slow, p.amp_slow, p.psc_shape, dt),  # pyright: ignore[reportArgumentType]
        P33=torch.exp(-dt / tau_m),
        P30=-torch.expm1(-dt / tau_m) / p.g,
        V_th=p.V_th,
        V_reset=p.V_reset,
        asc_mean=-torch.expm1(-decay_per_step) / decay_per_step,
        asc_decay=torch.exp(-decay_per_step),
        asc_amps=p.asc_amps,
        asc_refractory=p.asc_r * torch.exp(-p.asc_decay * p.t_ref[:, None]),
        P31_fast=P31_fast,
        P32_fast=P32_fast,
        P31_slow=P31_slow,
        P32_slow=P32_slow,
        t_ref_steps=refractory_steps(p.t_ref, dt),
        threshold=threshold,
        U_jump=U_jump,
    )


def synaptic_voltage(state: SynapticState, propagators: Propagators) -> Tensor:
    """[b, n] mV that the synaptic currents add to the voltage in a step."""
    p = propagators
    return (
        p.P31_fast * state.y1_fast
        + p.P32_fast * state.y2_fast
        + p.P31_slow * state.y1_slow
        + p.P32_slow * state.y2_slow
    ).sum(-1)


def step(
    state: GlifState,
    arriving: Tensor,
    current: Tensor,
    propagators: Propagators,
    surrogate: Surrogate,
    detach_reset: bool = False,
) -> tuple[Tensor, Tensor, GlifState]:
    """One step of every cell: the order of NEST, as above.

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
    spikes = torch.where(active, spike(x, surrogate), 0.0)  # pyright: ignore[reportArgumentType]
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


def _threshold(step: Step) -> Tensor:
    """V_th with its moving parts, after what a spike adds."""
    moving = step.after.th_spike + step.after.th_voltage
    return step.E_L + step.propagators.V_th + moving


def _asc_sum(step: Step) -> Tensor:
    """Sum of the after-spike currents, their mean over the step."""
    return (step.propagators.asc_mean * step.before.asc).sum(-1)


class Glif(Neuron):
    """Generalised leaky integrate-and-fire, levels 1 to 5; iaf_psc_* cells are level 1."""

    name = "glif"
    about = "GLIF levels 1 to 5 and integrate-and-fire cells, exact integration"
    templates = TEMPLATES
    table = tuple(PARAMETERS[name] for name in GLIF_UNITS)
    state = GlifState
    recordables = {  # noqa: RUF012
        "threshold": Recordable("mV", _threshold),
        "threshold_spike": Recordable("mV", lambda step: step.after.th_spike),
        "threshold_voltage": Recordable("mV", lambda step: step.after.th_voltage),
        "ASCurrents_sum": Recordable("pA", _asc_sum, held=True),
    }

    def __init__(self, network: Network, dt: float, learned: Collection[str]):
        super().__init__(network, dt, learned)
        self._threshold_moves = any(
            name in learned or np.any(network.membrane.values[name])
            for name in THRESHOLD_PARAMETERS
        )

    @classmethod
    def recorded(cls, template: str, n_ports: int) -> tuple[str, ...]:
        """Of integrate-and-fire cells less than of GLIF cells."""
        names = super().recorded(template, n_ports)
        if chooses_by_sign(template):
            return tuple(name for name in names if name not in cls.recordables)
        return (*GLIF_RECORDABLES, *port_names(n_ports))

    @classmethod
    def range_of(cls, parameter: Parameter) -> Bounds:
        """Range of a parameter."""
        if parameter.name == "asc_r":
            # 1 in every published GLIF model: the middle of this interval, so that it can move both ways. As
            # asc_r - 1 it is the r_j of GLIFR, which is trained in (-1, 1): see `glifr`.
            return Bounds("interval", 0, 2)
        return super().range_of(parameter)

    @classmethod
    def complete(cls, network: Network) -> Network:
        """The network: its reader knows the defaults of such cells (`sonata.glif_cells`)."""
        return network

    @classmethod
    def row_problems(cls, table: GroupedValues) -> list[Problem]:
        """Cells that would never stop spiking."""
        values = table.values
        too_high = values["V_reset"] - values["E_L"] >= values["V_th"] - values["E_L"]
        # Levels 2, 4 and 5 raise the threshold with the spike and scale the voltage.
        too_high &= (values["voltage_reset_fraction"] == 0) & (values["th_spike_add"] == 0)
        return [
            Problem(
                "V_reset must lie below V_th",
                f"cell model {table.labels[row]}",
                f"V_reset {values['V_reset'][row]:g} mV, V_th {values['V_th'][row]:g} mV",
                "a cell reset above its threshold never stops spiking",
            )
            for row in np.flatnonzero(too_high)
        ]

    @classmethod
    def means(cls, network: Network, groups: Groups) -> dict[str, NDArray[np.float64]]:
        """Of the mean cells, in the coordinates of `load.coordinates`."""
        means = group_means(network.membrane, groups)
        for name in ("V_th", "V_reset"):
            means[name] = means[name] - means["E_L"]
        return super().means(network, groups) | means

    def gathered(self, values: Mapping[str, Tensor]) -> GlifParameters:
        """The parameters of every cell; without what moves the threshold where nothing does."""
        threshold = None
        if self._threshold_moves:
            threshold = ThresholdParameters(**{name: values[name] for name in THRESHOLD_PARAMETERS})
        names = [field.name for field in fields(GlifParameters)]
        given = {name: values[name] for name in names if name in values}
        return GlifParameters(**given, threshold=threshold)

    def coefficients(self, values: Mapping[str, Tensor]) -> Coefficients:
        """Exact coefficients of one step."""
        return propagators(self.gathered(values), self.dt)

    def at_rest(self, state: State, values: Mapping[str, Tensor]) -> GlifState:
        """Cells at E_L without currents."""
        n_currents = values["asc_amps"].shape[1]
        return GlifState(
            **vars(state),
            **silent(state),
            asc=state.U.new_zeros(*state.U.shape, n_currents),
            refractory=torch.zeros_like(state.U, dtype=torch.int32),
            th_spike=torch.zeros_like(state.U),
            th_voltage=torch.zeros_like(state.U),
        )
