"""GLIFR: the GLIF neuron of level 3 as a smooth rate neuron, differentiable without a surrogate.

In place of a spike a cell sends s in (0, 1), a sigmoid of its voltage, and after-spike currents and
reset act in proportion to s (V relative to E_L; j after-spike current, k_m = g/C_m, R = 1/g):

    I_j <- (I_j r_j + a_j) s_old dt/tau + (1 - dt k_j) I_j
    V   <- I_syn + dt k_m R (sum_j I_j + I0) + (1 - dt k_m) V - (dt/tau) s_old (V - V_reset)
    s   <- sigmoid((V - V_th)/sigma_V)

in this order: I_j with the s of the step before, V with the new I_j and the old s, then s. s is a
function of V, so the state needs no s of its own: a step recomputes the old one. s/tau is a firing rate
and s dt/tau the number of spikes expected in a step, which is what a rollout reports as `spikes` and what
the edges carry. tau = dt unless given: then s is the chance to spike in this step, and for
sigma_V -> 0 the cell is a GLIF cell in forward Euler without refractory period whose reset and
after-spike currents come one step after the spike. tau > dt limits the rate to 1/tau; tau < dt would
throw V past V_reset and is refused.

Parameters mean what they mean in `model.neurons.glif`: a_j = asc_amps, k_j = asc_decay. GLIF keeps the
fraction asc_r of I_j at a spike while GLIFR adds r_j I_j to it, so that r_j = asc_r - 1: asc_r = 1 of
the published GLIF models is r_j = 0, and the interval (0, 2) of asc_r is the (-1, 1) in which GLIFR
trains r_j (as 1 - 2 sigmoid). There is no refractory period (t_ref is not used), and no moving threshold
or reset rule of levels 2, 4 and 5. I_syn is the voltage that the synaptic currents add in this step, I0
the injected current; both keep the timing of GLIF, and so do delays.

Short-term plasticity takes s dt/tau as the chance of a spike: release, u and x move to their means over
spiking and not spiking (`v1builder.model.plasticity`). So u, and x where nothing facilitates, are the exact
means over random spikes of that rate; with facilitation the correlation of u and x is neglected.

Integration is the published forward Euler. It needs dt k <= 1 for k_m and every k_j: a dt that breaks
this is refused, and asc_decay is trained within (0, 1/dt), in the published coordinate k = sigmoid(raw)/dt.

sigma_V is 1 mV in the published networks, where V_th - V_reset is about 1 mV too. It says how far below
threshold a cell still sends and learns: d mV below it ds/dV is about e^(-d/sigma_V)/sigma_V. And it must not
be small against the reset: at threshold the derivative of V after a step with respect to V before it is

    1 - dt k_m - (dt/tau) (1/2 + (V_th - V_reset)/(4 sigma_V))

and below -1 a step amplifies differences there; rates can then be chaotic and gradients explode. With 25 mV
from reset to threshold that is sigma_V < 4 mV at tau = dt, or < 0.7 mV at tau = 5 dt; a model with
such cells says so in the log. Likewise, with asc_r above 1 + tau k_j the I_j of an active cell can grow
without bound.

Sources: Winston, Mastrovito, Shea-Brown & Mihalas 2023, Neural Comput. 35:555; their published code
(AllenInstitute/GLIFS_ASC) for the order of the updates, tau = dt, sigma_V = 1 and the coordinates.
It starts with s = 0, here s starts at its value at rest.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from v1builder.load.network import Network
from v1builder.model.neurons import glif
from v1builder.model.neurons.glif import Glif, GlifParameters, GlifState, Propagators
from v1builder.model.parameters import Bounds
from v1builder.model.rollout import State
from v1builder.model.surrogate import Surrogate
from v1builder.model.synapses import synapses_after
from v1builder.schema.errors import ConfigError, Problem, raise_if_any
from v1builder.schema.parameters import Parameter

SIGMA_V: Final = 1.0  # mV, the published value

_WHERE = "V1Network, neuron 'glifr'"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SmoothSpike:
    """The graded signal of a cell."""

    sigma_V: float  # mV  # noqa: N815
    per_step: float  # dt/tau, in (0, 1]

    def expected(self, U: Tensor, V_th: Tensor) -> Tensor:
        """Spikes expected in the step that ended at U [b, n]: s dt/tau, in (0, 1)."""
        return self.per_step * torch.sigmoid((U - V_th) / self.sigma_V)


@dataclass(frozen=True, kw_only=True)
class SmoothPropagators(Propagators):
    """Coefficients of one step: those of the cell by forward Euler, those of its synapses exact."""

    smooth: SmoothSpike

    @property
    def graded(self) -> bool:
        """Cells send in every step."""
        return True

    @property
    def uncompiled(self) -> str:
        """Why the compiled backends cannot compute these cells."""
        return "GLIFR cells send a graded signal in every step"

    def step(
        self,
        state: State,
        arriving: Tensor,
        current: Tensor,
        surrogate: Surrogate,  # noqa: ARG002  (the signal has a derivative of its own)
        detach_reset: bool = False,
    ) -> tuple[Tensor, Tensor, State]:
        """One step of every cell, see `step`."""
        assert isinstance(state, GlifState)
        return step(state, arriving, current, self, detach_reset)


def smooth_spike(dt: float, sigma_V: float | None, tau: float | None) -> SmoothSpike:
    """The spike of these settings, in steps of dt.

    Args:
        dt: ms.
        sigma_V: mV, positive; None for the published 1 mV.
        tau: ms, at least dt; None for dt.

    Raises:
        ConfigError: one of them is out of range.
    """
    sigma_V = SIGMA_V if sigma_V is None else sigma_V
    tau = dt if tau is None else tau
    problems = []
    if not 0 < sigma_V < float("inf"):
        problems.append(Problem("sigma_V must be positive", _WHERE, f"{sigma_V} mV"))
    if not dt <= tau < float("inf"):
        fix = "leave tau out for tau = dt, or make dt smaller"
        problems.append(Problem("tau must not be shorter than dt", _WHERE, f"{tau} ms", fix))
    raise_if_any(problems, ConfigError)
    return SmoothSpike(sigma_V=sigma_V, per_step=dt / tau)


def decay_bounds(dt: float) -> Bounds:
    """Range of asc_decay in 1/ms, the one in which 1 - dt k lies in (0, 1)."""
    return Bounds("interval", 0, 1 / dt)


def check_step(parameters: GlifParameters, dt: float) -> None:
    """Refuse what forward Euler or GLIFR cannot do.

    Raises:
        ConfigError: dt is longer than a membrane or after-spike time constant, or the threshold
            or the reset of a cell is that of levels 2, 4 or 5.
    """
    p = parameters
    rates = {
        "g/C_m": p.g / p.C_m,
        # A current without amplitude stays 0, whatever rate its place is filled with.
        "asc_decay": torch.where(p.asc_amps != 0, p.asc_decay, 0.0),
    }
    problems = [
        Problem(
            f"dt is too long for forward Euler: 1 - dt {name} is negative",
            _WHERE,
            f"dt {dt:g} ms, {name} up to {fastest:g} /ms",
            f"make dt at most {1 / fastest:.3g} ms",
        )
        for name, rate in rates.items()
        if rate.numel() and (fastest := rate.max().item()) * dt > 1 + 1e-6
    ]
    moving = [] if p.threshold is None else list(vars(p.threshold).items())
    # A decay of what is not there does nothing, but has no gradient either.
    if any(value.requires_grad or (value.any() and "decay" not in name) for name, value in moving):
        problems.append(
            Problem(
                "GLIFR has after-spike currents but no moving threshold or voltage-dependent reset",
                _WHERE,
                "cells of GLIF level 2, 4 or 5, or their parameters among those trained",
                "use neuron 'glif', or cell models of level 1 or 3",
            )
        )
    raise_if_any(problems, ConfigError)


def warn_if_sharp(parameters: GlifParameters, dt: float, smooth: SmoothSpike) -> None:
    """Say in the log when a step amplifies differences of the voltage around threshold."""
    p = parameters
    slope = 0.5 + (p.V_th - p.V_reset) / (4 * smooth.sigma_V)
    sharp = (1 - dt * p.g / p.C_m - smooth.per_step * slope) < -1
    if sharp.any():
        _log.warning(
            "GLIFR: with sigma_V = %g mV and tau = %g ms the reset of %d of %d cells amplifies small "
            "differences, so that rates can be chaotic and gradients explode; increase sigma_V or tau",
            smooth.sigma_V,
            dt / smooth.per_step,
            int(sharp.sum()),
            len(sharp),
        )


def propagators(parameters: GlifParameters, dt: float, smooth: SmoothSpike) -> SmoothPropagators:
    """Coefficients of one step: those of the cell by forward Euler, those of its synapses exact.

    Args:
        parameters: of every cell.
        dt: step in ms.
        smooth: of `smooth_spike`.

    Raises:
        ConfigError: see `check_step`.
    """
    p = parameters
    check_step(p, dt)
    exact = glif.propagators(p, dt)
    euler = {
        "P33": 1 - dt * p.g / p.C_m,
        "P30": dt / p.C_m,
        "asc_mean": torch.ones_like(exact.asc_mean),
        "asc_decay": 1 - dt * p.asc_decay,
        "asc_refractory": p.asc_r,
        "threshold": None,
        "t_ref_steps": torch.zeros_like(exact.t_ref_steps),
    }
    return SmoothPropagators(**{**vars(exact), **euler}, smooth=smooth)


def step(
    state: GlifState,
    arriving: Tensor,
    current: Tensor,
    propagators: SmoothPropagators,
    detach_reset: bool = False,
) -> tuple[Tensor, Tensor, GlifState]:
    """One step of every cell.

    Args:
        state: before the step; `refractory` and the threshold's parts are passed on as they are.
        arriving: [b, n, r] pA, sum of weight times expected spikes that arrive in this step.
        current: [b or 1, n] pA injected, acts in the next step.
        propagators: coefficients.
        detach_reset: cut the gradient through s in reset and after-spike currents.

    Returns:
        Expected spikes s dt/tau [b, n]; voltage after the step [b, n]; the new state.
    """
    p, smooth = propagators, propagators.smooth
    spiked = smooth.expected(state.U, p.V_th)
    if detach_reset:
        spiked = spiked.detach()
    after_spike = p.asc_amps + state.asc * (p.asc_refractory - 1)
    asc = state.asc * p.asc_decay + spiked[..., None] * after_spike
    constant = state.current + asc.sum(-1)
    U = state.U * p.P33 + constant * p.P30 + glif.synaptic_voltage(state, p)
    if p.U_jump is not None:
        U = U + (p.U_jump * arriving).sum(-1)
    U = U - spiked * (state.U - p.V_reset)
    after = replace(synapses_after(state, arriving, p), U=U, asc=asc, current=current.expand_as(U))
    return smooth.expected(U, p.V_th), U, after


class Glifr(Glif):
    """The smooth neuron of GLIF cells of level 1 or 3.

    Attributes:
        smooth: its settings; they may be replaced between steps of an optimiser, to sharpen the neuron as
            training goes on.
    """

    name = "glifr"
    about = "GLIF level 1 and 3 as a smooth rate neuron, with exact gradients"
    by_name_only = True
    spikes = False
    smooth: SmoothSpike

    def __init__(
        self,
        network: Network,
        dt: float,
        learned: Collection[str],
        *,
        sigma_V: float | None = None,
        tau: float | None = None,
    ):
        """Take the settings.

        Args:
            network: as of every neuron.
            dt: ms.
            learned: as of every neuron.
            sigma_V: mV, smoothness; 1 unless given.
            tau: ms, shortest interval between spikes; dt unless given.
        """
        super().__init__(network, dt, learned)
        self.smooth = smooth_spike(dt, sigma_V, tau)

    def trained_within(self, parameter: Parameter) -> Bounds:
        """Rates of after-spike currents that forward Euler can compute."""
        if parameter.name == "asc_decay":
            return decay_bounds(self.dt)
        return super().trained_within(parameter)

    def inspect(self, values: Mapping[str, Tensor]) -> None:
        """Refuse a dt too long for forward Euler; say in the log which cells are sharp."""
        parameters = self.gathered(values)
        check_step(parameters, self.dt)
        warn_if_sharp(parameters, self.dt, self.smooth)

    def coefficients(self, values: Mapping[str, Tensor]) -> SmoothPropagators:
        """Coefficients of one step."""
        return propagators(self.gathered(values), self.dt, self.smooth)
