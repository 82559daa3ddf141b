"""AdEx: the adaptive exponential integrate-and-fire neuron, NEST's `aeif_psc_alpha` and `aeif_psc_exp`.

    C_m dV/dt   = -g_L (V - E_L) + g_L Delta_T e^((V - V_th)/Delta_T) + I_syn + I - w
    tau_w dw/dt = a (V - E_L) - w

Where V reaches V_peak the cell spikes: V <- V_reset and w <- w + b. For t_ref (whole steps, from the end of
the step of the spike) V stays at V_reset while w and the synaptic currents go on; with t_ref = 0 V goes on
at once. I, injected, is constant over a step and acts one step after it was set, and so does what arrives.

Above V_th the voltage runs to infinity in finite time: the last ten millivolts before V_peak pass in less
than a nanosecond. NEST follows that with an adaptive solver (Runge-Kutta-Fehlberg, 1e-6 per step). Here V is
exchanged for a coordinate in which the run is a straight line through 0,

    z = -Delta_T ln(1 + e^(-(V - V_th)/Delta_T))          about V - V_th below V_th, about 0 above
    C_m dz/dt = (I_syn + I - w - g_L (V - E_L)) sigma + g_L Delta_T (1 - sigma)
    sigma = 1 - e^(z/Delta_T)

so that Runge-Kutta steps of fourth order and fixed length (`substep`) are enough. V still enters dw/dt, as
-Delta_T ln sigma; its integral over the run is taken out of w in closed form,

    y = w + kappa Delta_T sigma (1 - ln sigma),     kappa = a C_m/(g_L tau_w)

I_syn is exact. In the step that crosses z_peak the time of the spike is the integral of dt/dz up to there. At
that time the rest begins anew at V_reset, as in NEST. One spike is sent per step: a cell that would spike
again before the step ends does so at the begin of the next (NEST sends both; with t_ref >= dt there is none).

The spike test is z > z_peak, the z of V_peak (within 1e-10 mV of 0 for published cells), and the surrogate's
x is (z - z_peak)/(V_th - E_L) with the z that the end of the step would have had without the reset: smooth
in everything, as (V - V_th)/(V_th - E_L) of GLIF below threshold, and positive where there is a spike. The
time of the spike, reset and adaptation have their own exact derivatives; the jumps by a spike have the
surrogate's.
`drive` of a rollout is V_th - E_L + z - z_peak.

Delta_T must be positive (NEST's 0 is an integrate-and-fire cell). Defaults are NEST's (GetDefaults of 3.10).
For a gradient every Runge-Kutta step is kept: a larger `substep` needs less memory. How far NEST and this
are apart is measured in `v1builder.verify.adex`.

Sources: Brette & Gerstner 2005, J. Neurophysiol. 94:3637; the behaviour of NEST 3.10.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from v1builder.load.network import GroupedValues, Network
from v1builder.model.neurons.neuron import Neuron, refractory_steps
from v1builder.model.recordables import Recordable
from v1builder.model.rollout import State
from v1builder.model.surrogate import Surrogate, spike
from v1builder.model.synapses import (
    SynapticCoefficients,
    SynapticState,
    silent,
    synapses_after,
    synaptic_coefficients,
)
from v1builder.schema.errors import ConfigError, Problem
from v1builder.schema.parameters import Parameter

SUBSTEP: Final = 0.05  # ms
#: (V_peak - V_th)/Delta_T counts up to here: what is left of the run, e^-60 C_m/g_L, takes no time.
_LONGEST_RUN: Final = 60.0
#: Nodes in (0, 1) and weights of Gauss and Legendre.
_NODES, _WEIGHTS = (array.tolist() for array in np.polynomial.legendre.leggauss(4))
_QUADRATURE: Final = [(0.5 + 0.5 * x, 0.5 * w) for x, w in zip(_NODES, _WEIGHTS, strict=True)]


@dataclass(frozen=True)
class AdexState(SynapticState):
    """State of AdEx cells.

    Attributes:
        w: [b, n] pA, adaptation current.
        refractory: [b, n] int32 steps left.
    """

    w: Tensor
    refractory: Tensor


@dataclass(frozen=True, kw_only=True)
class AdexCoefficients(SynapticCoefficients):
    """What a step is computed with; n cell, r port. Voltages above E_L. t_ref_steps is not differentiable."""

    C_m: Tensor  # [n] pF
    g_L: Tensor  # noqa: N815  [n] nS
    V_th: Tensor  # [n] mV
    V_reset: Tensor  # [n] mV
    Delta_T: Tensor  # [n] mV
    a: Tensor  # [n] nS
    b: Tensor  # [n] pA
    tau_w: Tensor  # [n] ms
    upward: Tensor  # [n] pA, g_L Delta_T
    kappa: Tensor  # [n] pA/mV
    z_peak: Tensor  # [n] mV
    z_reset: Tensor  # [n] mV
    tau_fast: Tensor  # [n, r] ms
    tau_slow: Tensor | None  # [n, r] ms; None where no current has a slow part
    t_ref_steps: Tensor  # [n] int32
    goes_on: bool  # whether some cell has no refractory period
    dt: float  # ms
    n_substeps: int

    @property
    def uncompiled(self) -> str:
        """Why the compiled backends cannot compute these cells."""
        return "AdEx cells are integrated by Runge-Kutta steps"

    def coordinate(self, U: Tensor) -> Tensor:
        """[b, n] z at U mV above E_L."""
        return -self.Delta_T * _softplus((self.V_th - U) / self.Delta_T)

    def point(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """At z up to the peak, [b, n] each: sigma, ln sigma, U, and y - w."""
        sigma = -torch.expm1(z / self.Delta_T)
        log = torch.log(sigma)
        shift = self.Delta_T * log
        # kappa Delta_T sigma (1 - ln sigma)
        return sigma, log, self.V_th + z - shift, self.kappa * sigma * (self.Delta_T - shift)

    def current(self, state: AdexState, t: float | Tensor) -> Tensor:
        """[b, n] pA, synaptic currents t ms (a number, or [b, n]) after the begin of a step."""
        t = t[..., None] if isinstance(t, Tensor) else t
        total = torch.exp(-t / self.tau_fast) * (state.y2_fast + t * state.y1_fast)
        if self.tau_slow is not None:
            total = total + torch.exp(-t / self.tau_slow) * (state.y2_slow + t * state.y1_slow)
        return total.sum(-1)

    def rate(self, sigma: Tensor, U: Tensor, current: Tensor) -> Tensor:
        """dz/dt with a current (pA) that has w in it."""
        pulled = (current - self.g_L * U) * sigma
        return (pulled + self.upward * (1 - sigma)) / self.C_m

    def slopes(self, z: Tensor, y: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
        """dz/dt and dy/dt; beyond the peak those at the peak, as in NEST."""
        sigma, log, U, above = self.point(torch.minimum(z, self.z_peak))
        w = y - above
        rate = self.rate(sigma, U, current - w)
        return rate, (self.a * U - w) / self.tau_w + self.kappa * (1 - sigma) * log * rate

    def runge_kutta(
        self, z: Tensor, y: Tensor, h: float | Tensor, currents: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Z and y after a step of length h, with the currents at its begin, middle and end."""
        begin, middle, end = currents
        half = h / 2
        z1, y1 = self.slopes(z, y, begin)
        z2, y2 = self.slopes(z + half * z1, y + half * y1, middle)
        z3, y3 = self.slopes(z + half * z2, y + half * y2, middle)
        z4, y4 = self.slopes(z + h * z3, y + h * y3, end)
        sixth = h / 6
        return z + sixth * (z1 + 2 * (z2 + z3) + z4), y + sixth * (y1 + 2 * (y2 + y3) + y4)

    def relaxed(self, w: Tensor, U: Tensor, t: float | Tensor) -> Tensor:
        """W after t ms at the voltage U [b, n] (or its mean)."""
        final = self.a * U
        return final + (w - final) * torch.exp(-t / self.tau_w)

    def step(
        self,
        state: State,
        arriving: Tensor,
        current: Tensor,
        surrogate: Surrogate,
        detach_reset: bool = False,
    ) -> tuple[Tensor, Tensor, State]:
        """One step of every cell, see `Coefficients.step`."""
        assert isinstance(state, AdexState)
        active = state.refractory == 0
        h = self.dt / self.n_substeps
        currents = [
            state.current + self.current(state, k * h / 2) for k in range(2 * self.n_substeps + 1)
        ]
        z = self.coordinate(state.U)
        y = state.w + self.point(torch.minimum(z, self.z_peak))[3]
        spiked = torch.zeros_like(active)
        crossing = _Crossing(z, y, z, currents[0], currents[1], currents[2], torch.zeros_like(z))
        for k in range(self.n_substeps):
            here = currents[2 * k], currents[2 * k + 1], currents[2 * k + 2]
            z_after, y_after = self.runge_kutta(z, y, h, here)
            crosses = (z_after > self.z_peak) & ~spiked
            found = _Crossing(z, y, z_after, *here, torch.full_like(z, k * h))
            crossing = crossing.where(crosses, found)
            spiked = spiked | crosses
            # What has spiked stays above, for the surrogate.
            z, y = torch.where(spiked, torch.maximum(z_after, z), z_after), y_after
        spiked = spiked & active

        above_peak = z - self.z_peak
        _, _, U, above = self.point(torch.minimum(z, self.z_peak))
        w = y - above
        spikes = torch.where(active, spike(above_peak / self.V_th, surrogate), 0.0)  # pyright: ignore[reportArgumentType]
        drive = torch.where(active, self.V_th + above_peak, state.U)
        # With gradients always, so that every step keeps the same and `model.memory` can count on it.
        if torch.is_grad_enabled() or spiked.any():
            jump = spikes.detach() if detach_reset else spikes
            w_before, U_after, w_after = self.after_spike(state, crossing, h)
            # What a spike in the last moment would do to cells that did not spike.
            U_jumped = torch.where(spiked, U_after, self.V_reset)
            w_jumped = torch.where(spiked, w_after, w + self.b)
            # And of cells that did, what they left: near threshold.
            U = (1 - jump) * torch.where(spiked, self.V_th, U) + jump * U_jumped
            w = (1 - jump) * torch.where(spiked, w_before, w) + jump * w_jumped
        after = replace(
            synapses_after(state, arriving, self),
            U=torch.where(active, U, state.U),
            w=torch.where(active, w, self.relaxed(state.w, state.U, self.dt)),
            refractory=torch.where(spiked, self.t_ref_steps, (state.refractory - 1).clamp(min=0)),
            current=current.expand_as(U),
        )
        return spikes, drive, after

    def time_to_peak(self, crossing: "_Crossing", h: float) -> tuple[Tensor, Tensor, Tensor]:
        """W where a crossing begins, ms from there to z_peak, and the mean U on the way.

        Time and mean are integrals over z. U and dz/dt have a logarithm at the peak: with the distance from
        it as the third power of a variable they are smooth.
        """
        mean_rate = (crossing.z_after - crossing.z) / h
        # A current that rises within h must not make the rate at its begin, 0 or less, count.
        least = torch.where(mean_rate > 0, 0.05 * mean_rate, 1.0)
        way = (self.z_peak - crossing.z).clamp(min=0)
        sigma, _, U, above = self.point(torch.minimum(crossing.z, self.z_peak))
        w = crossing.y - above
        first = torch.maximum(self.rate(sigma, U, crossing.current - w), least)
        time, sum_U = torch.zeros_like(way), torch.zeros_like(way)
        for s, weight in _QUADRATURE:
            sigma, _, U, _ = self.point(self.z_peak - way * s**3)
            early = torch.maximum(self.rate(sigma, U, crossing.current - w), least)
            part = (way * (1 - s**3) * (1 / first + 1 / early) / (2 * h)).clamp(max=1)
            rate = torch.maximum(self.rate(sigma, U, crossing.current_at(part) - w), least)
            share = 3 * s**2 * weight * way / rate
            time, sum_U = time + share, sum_U + share * U
        mean = sum_U / torch.where(time > 0, time, 1.0)
        return w, time.clamp(max=h), mean

    def after_spike(
        self, state: AdexState, crossing: "_Crossing", h: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What follows a spike until the end of the step; means something only for cells that crossed.

        Returns:
            w at the spike, before it grew; U and w at the end of the step.
        """
        w, time, mean_U = self.time_to_peak(crossing, h)
        w = self.relaxed(w, mean_U, time)
        begin = crossing.begin + time
        rest = self.dt - begin
        U_held, w_held = self.V_reset.expand_as(w), self.relaxed(w + self.b, self.V_reset, rest)
        if not self.goes_on:
            return w, U_held, w_held
        z, short = self.z_reset.expand_as(w), rest / self.n_substeps
        y = w + self.b + self.point(z)[3]
        before = state.current + self.current(state, begin)
        for k in range(self.n_substeps):
            middle, end = (
                state.current + self.current(state, begin + (k + part) * short)
                for part in (0.5, 1.0)
            )
            z, y = self.runge_kutta(z, y, short, (before, middle, end))
            before = end
        # A second spike comes at the begin of the next step.
        _, _, U, above = self.point(torch.minimum(z, self.z_peak))
        waits = self.t_ref_steps > 0
        return w, torch.where(waits, U_held, U), torch.where(waits, w_held, y - above)


@dataclass(frozen=True)
class _Crossing:
    """The Runge-Kutta step in which every cell crossed its peak, [b, n] each.

    Of cells that did not cross it is any of their steps.

    Attributes:
        z, y: at its begin.
        z_after: at its end.
        current, current_middle, current_end: pA, at its begin, middle and end.
        begin: ms since the begin of the step.
    """

    z: Tensor
    y: Tensor
    z_after: Tensor
    current: Tensor
    current_middle: Tensor
    current_end: Tensor
    begin: Tensor

    def where(self, crosses: Tensor, found: "_Crossing") -> "_Crossing":
        """`found` for the cells that cross."""
        names = [field.name for field in fields(self)]
        return _Crossing(
            *(torch.where(crosses, getattr(found, name), getattr(self, name)) for name in names)
        )

    def current_at(self, part: Tensor) -> Tensor:
        """[b, n] pA at a part of its length: the parabola through the three."""
        slope = 4 * self.current_middle - 3 * self.current - self.current_end
        curve = 2 * (self.current + self.current_end - 2 * self.current_middle)
        return self.current + part * (slope + part * curve)


def _softplus(x: Tensor) -> Tensor:
    """ln(1 + e^x), exact for all x."""
    return torch.logaddexp(x, torch.zeros_like(x))


def _cell(
    name: str, unit: str, range_: str, mean: str, default: float, about: str, **more: bool
) -> Parameter:
    return Parameter(name, unit, "cell", range_, mean, about, None, default, **more)  # pyright: ignore[reportArgumentType]


class Adex(Neuron):
    """Adaptive exponential integrate-and-fire cells."""

    name = "adex"
    about = "adaptive exponential integrate-and-fire, Runge-Kutta with the time of the spike"
    templates = ("nest:aeif_psc_alpha", "nest:aeif_psc_exp")
    table = (
        _cell("C_m", "pF", "positive", "log", 281.0, "capacitance"),
        _cell("g_L", "nS", "positive", "log", 30.0, "leak conductance"),
        _cell("E_L", "mV", "any", "linear", -70.6, "zero of the voltage", trainable=False),
        _cell("V_th", "mV", "positive", "log", -50.4, "where the spike sets on", relative=True),
        _cell("V_reset", "mV", "any", "linear", -60.0, "after a spike", relative=True),
        _cell(
            "V_peak", "mV", "any", "linear", 0.0, "end of the spike", relative=True, trainable=False
        ),
        _cell("Delta_T", "mV", "positive", "log", 2.0, "slope of the onset"),
        _cell("t_ref", "ms", "not negative", "linear", 0.0, "refractory period", trainable=False),
        _cell("a", "nS", "any", "linear", 4.0, "adaptation to the voltage"),
        _cell("b", "pA", "any", "linear", 80.5, "adaptation by a spike"),
        _cell("tau_w", "ms", "positive", "log", 144.0, "time constant of adaptation"),
    )
    tau_syn = (0.2, 2.0)
    V_m = -70.6
    without_effect = ("gsl_error_tol",)
    off = dict.fromkeys(("w", "I_syn_ex", "dI_syn_ex", "I_syn_in", "dI_syn_in"), 0.0)
    state = AdexState
    recordables = {  # noqa: RUF012
        "w": Recordable("pA", lambda step: step.after.w),
        # NEST subtracts the inhibitory current of these cells, so that there it is positive.
        "I_syn_in": Recordable(
            "pA", lambda step: -(step.after.y2_fast + step.after.y2_slow)[..., 1]
        ),
    }

    def __init__(
        self,
        network: Network,
        dt: float,
        learned: Collection[str],
        *,
        substep: float | None = None,
    ):
        """Take the settings.

        Args:
            network: as of every neuron.
            dt: ms.
            learned: as of every neuron.
            substep: ms, longest Runge-Kutta step; `SUBSTEP` unless given.

        Raises:
            ConfigError: substep is not positive.
        """
        super().__init__(network, dt, learned)
        substep = SUBSTEP if substep is None else substep
        if not substep > 0:
            raise ConfigError.of("substep must be positive", "V1Network, neuron 'adex'", substep)
        self._n_substeps = math.ceil(dt / substep - 1e-9)
        slow = network.receptors.values["amp_slow"]
        self._has_slow = bool(np.any(slow)) or "amp_slow" in learned

    @classmethod
    def row_problems(cls, table: GroupedValues) -> list[Problem]:
        """Cells that NEST refuses."""
        values = table.values
        peak = values["V_peak"]
        rules = (
            ("V_peak must lie above V_th", values["V_th"] >= peak, "V_th"),
            ("V_reset must lie below V_peak", values["V_reset"] >= peak, "V_reset"),
        )
        return [
            Problem(what, f"cell model {label}", f"V_peak {top:g} mV, {name} {value:g} mV")
            for what, wrong, name in rules
            for label, top, value, fails in zip(
                table.labels, peak, values[name], wrong, strict=True
            )
            if fails
        ]

    def coefficients(self, values: Mapping[str, Tensor]) -> AdexCoefficients:
        """Coefficients of one step."""
        v, D = values, values["Delta_T"]
        run = ((v["V_peak"] - v["V_th"]) / D).clamp(max=_LONGEST_RUN)
        kinetics = v["tau_syn_fast"], v["tau_syn_slow"], v["amp_slow"], v.get("psc_shape")
        steps = refractory_steps(v["t_ref"], self.dt)
        return AdexCoefficients(
            **synaptic_coefficients(*kinetics, self.dt),  # pyright: ignore[reportArgumentType]
            **{name: v[name] for name in ("C_m", "g_L", "V_th", "V_reset", "a", "b", "tau_w")},
            Delta_T=D,
            upward=v["g_L"] * D,
            kappa=v["a"] * v["C_m"] / (v["g_L"] * v["tau_w"]),
            z_peak=-D * _softplus(-run),
            z_reset=-D * _softplus((v["V_th"] - v["V_reset"]) / D),
            tau_fast=v["tau_syn_fast"],
            tau_slow=v["tau_syn_slow"] if self._has_slow else None,
            t_ref_steps=steps,
            goes_on=bool((steps == 0).any()),
            dt=self.dt,
            n_substeps=self._n_substeps,
        )

    def at_rest(self, state: State, values: Mapping[str, Tensor]) -> AdexState:
        """Cells at E_L without adaptation."""
        del values
        return AdexState(
            **vars(state),
            **silent(state),
            w=torch.zeros_like(state.U),
            refractory=torch.zeros_like(state.U, dtype=torch.int32),
        )
