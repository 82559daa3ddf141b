"""Rheobase and f-I curves of GLIF cells, in closed form.

U is relative to E_L, tau = C_m/g, dt the step, s the time between two spikes in which the cell is not
refractory, K = s/dt. Within such an interval everything is a sum of exponentials, in the discrete time of
NEST's glif_psc (`v1builder.model.rollout`) as well: there the mean of an after-spike current over a step
acts as a constant, so that

    U(K)    = U_r P^K + (I/g)(1 - P^K) + sum_a I_a c_a (d_a^K - P^K),     P = e^(-dt/tau)
    d_a     = e^(-k_a dt),  c_a = (1 - d_a)/(k_a dt) (1 - P)/g / (d_a - P)

with I_a the after-spike currents at its beginning and k_a = asc_decay_a.

Rheobase of a step of length T. Before the first spike there is no after-spike current, so the cell fires
when I (1 - e^(-T/tau))/g > V_th - E_L. An adapting threshold (level 5) follows U, so there it is the
largest value of U - th_voltage per pA on the grid of steps that counts.

Steady firing. A spike sets I_a <- asc_amps + asc_r e^(-k t_ref) I_a, th_spike <- th_spike_add +
e^(-b t_ref) th_spike, U <- voltage_reset_fraction U + (V_reset - E_L), and all are held for t_ref. If every
interval is alike their values at its beginning are known functions of s, and what is left is one equation

    F(s) = U(s) - (V_th - E_L) - th_spike(s) - th_voltage(s) = 0;   rate = 1/(n_ref dt + s)

For level 1 it is the textbook s = tau ln((I/g - V_reset)/(I/g - V_th)). In discrete time a cell fires at the
first step after the root, so a simulated interval is longer, by less than a step.

Sources: Teeter et al. 2018, Nat. Commun. 9:709 (the models); the order of a step is NEST 3.10's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Values = Mapping[str, NDArray[np.float64]]

_BLOCK: Final = 64  # steps looked at together
_GRID: Final = 600  # points between the shortest and the longest interval that is looked for
_LONGEST_MS: Final = 3e4
_BISECTIONS: Final = 60
_IS_ROOT_mV: Final = 1e-6
_CHECKED: Final = 200  # points of an orbit
_NO_RATE: Final = 0.123456789  # 1/ms, of a threshold that does not adapt: multiplied by 0
#: Fewest specimens of a group for which a correlation is given.
MIN_SPECIMENS: Final = 5


@dataclass(frozen=True)
class _Cells:
    """Parameters of n cells as columns: [n, 1], and [n, 1, a] for after-spike currents."""

    tau: NDArray[np.float64]
    g: NDArray[np.float64]
    V_th: NDArray[np.float64]
    V_reset: NDArray[np.float64]
    fraction: NDArray[np.float64]
    n_ref: NDArray[np.int64]
    k: NDArray[np.float64]
    amps: NDArray[np.float64]
    held: NDArray[np.float64]
    c: NDArray[np.float64]
    th_add: NDArray[np.float64]
    th_decay: NDArray[np.float64]
    th_held: NDArray[np.float64]
    a_v: NDArray[np.float64]
    b_v: NDArray[np.float64]
    dt: float

    @classmethod
    def of(cls, values: Values, dt: float) -> "_Cells":
        column = {name: value[:, None] for name, value in values.items()}
        g, E_L, t_ref = column["g"], column["E_L"], column["t_ref"]
        tau, k = column["C_m"] / g, column["asc_decay"]
        P = np.exp(-dt / tau)[..., None]
        mean = -np.expm1(-k * dt) / (k * dt)
        return cls(
            tau=tau,
            g=g,
            V_th=column["V_th"] - E_L,
            V_reset=column["V_reset"] - E_L,
            fraction=column["voltage_reset_fraction"],
            n_ref=np.ceil(np.round(t_ref * 1000) / round(dt * 1000)).astype(np.int64),
            k=k,
            amps=column["asc_amps"],
            held=column["asc_r"] * np.exp(-k * t_ref[..., None]),
            c=mean * (1 - P) / g[..., None] / (np.exp(-k * dt) - P),
            th_add=column["th_spike_add"],
            th_decay=column["th_spike_decay"],
            th_held=np.exp(-column["th_spike_decay"] * t_ref),
            a_v=column["th_voltage_index"],
            b_v=column["th_voltage_decay"],
            dt=dt,
        )

    def take(self, rows: NDArray[np.int64]) -> "_Cells":
        """The same for some rows, repeated as given."""
        kept = {name: value[rows] for name, value in vars(self).items() if name != "dt"}
        return _Cells(**kept, dt=self.dt)


def rheobase(values: Values, duration: float = 1000.0, dt: float = 1.0) -> NDArray[np.float64]:
    """Largest constant current that does not make a resting cell fire; any larger one does.

    Args:
        values: membrane parameters by name (`schema.parameters.GLIF_UNITS`), [n] or [n, a].
        duration: of the current, ms.
        dt: ms; it matters for level 5 only.

    Returns:
        [n] pA.
    """
    cells = _Cells.of(values, dt)
    best = -np.expm1(-duration / cells.tau) / cells.g
    adapting = np.flatnonzero(cells.a_v[:, 0] != 0)
    if len(adapting):
        some = cells.take(adapting)
        t = dt * np.arange(1, round(duration / dt) + 1)
        # th_voltage' = a U - b th_voltage with U = (1 - e^(-t/tau))/g
        lag = some.b_v - 1 / some.tau
        constant = -np.expm1(-some.b_v * t) / some.b_v
        falling = (np.exp(-t / some.tau) - np.exp(-some.b_v * t)) / lag
        over = (-np.expm1(-t / some.tau) - some.a_v * (constant - falling)) / some.g
        best[adapting] = over.max(axis=1, keepdims=True)
    return (cells.V_th / best)[:, 0]


def spikes_of_steps(
    values: Values, current: NDArray[np.float64], n_steps: int, dt: float
) -> NDArray[np.bool_]:
    """Spikes of resting cells under constant currents, from spike to spike, step for step NEST's.

    Args:
        values: as `rheobase`, without an adapting threshold.
        current: [n, m] pA, acting from the first step.
        n_steps: number of steps.
        dt: ms.

    Returns:
        [n, m, n_steps].

    Raises:
        ValueError: a cell has an adapting threshold.
    """
    if np.any(values["th_voltage_index"] != 0):
        raise ValueError("there is no closed form for an adapting threshold outside steady firing")
    n, m = current.shape
    cells = _Cells.of(values, dt).take(np.repeat(np.arange(n), m))
    drive = current.reshape(-1, 1) / cells.g
    spikes = np.zeros((n * m, n_steps), dtype=np.bool_)
    U, th = np.zeros((n * m, 1)), np.zeros((n * m, 1))
    asc = np.zeros((n * m, 1, cells.amps.shape[-1]))
    begin, done = np.zeros(n * m, np.int64), np.zeros(n * m, np.int64)
    live = np.arange(n * m)
    while len(live):
        some = cells.take(live)
        K = done[live, None] + np.arange(_BLOCK + 1)  # the first is the step before the block
        decay = np.exp(-K * dt / some.tau)
        fading = np.exp(-K[..., None] * some.k * dt)
        V = drive[live] + (U[live] - drive[live]) * decay
        V += (asc[live] * some.c * (fading - decay[..., None])).sum(-1)
        above = V - some.V_th - th[live] * np.exp(-some.th_decay * K * dt)
        over = above > 0
        over[:, 0] = False
        at, fires = over.argmax(axis=1), over.any(axis=1)
        step = begin[live] + K[np.arange(len(live)), at] - 1
        hit = np.flatnonzero(fires & (step < n_steps))
        who, which = live[hit], at[hit]
        spikes[who, step[hit]] = True
        one = some.take(hit)
        elapsed = K[hit, which][:, None] * dt
        faded = asc[who] * np.exp(-elapsed[..., None] * one.k)
        asc[who] = one.amps + faded * one.held
        th[who] = one.th_add + th[who] * np.exp(-one.th_decay * elapsed) * one.th_held
        U[who] = one.fraction * V[hit, which - 1][:, None] + one.V_reset
        begin[who] = step[hit] + one.n_ref[:, 0] + 1
        done[live] = np.where(fires, 0, done[live] + _BLOCK)
        ended = (fires & (step >= n_steps)) | (begin[live] + done[live] >= n_steps)
        live = live[~ended]
    return spikes.reshape(n, m, n_steps)


@dataclass(frozen=True)
class SteadyFiring:
    """The state at the beginning of every interval of steady firing, [n, m]; NaN where there is none.

    Attributes:
        interval: ms from spike to spike.
        U: mV above E_L, after the reset.
        asc: [n, m, a] pA.
        th_spike, th_voltage: mV.
    """

    interval: NDArray[np.float64]
    U: NDArray[np.float64]
    asc: NDArray[np.float64]
    th_spike: NDArray[np.float64]
    th_voltage: NDArray[np.float64]


def steady_firing(values: Values, current: NDArray[np.float64], dt: float) -> SteadyFiring:
    """Solve F(s) = 0 of the module docstring; the shortest interval where there are several.

    Args:
        values: as `rheobase`, any level.
        current: [n, m] pA.
        dt: ms.
    """
    n, m = current.shape
    cells = _Cells.of(values, dt).take(np.repeat(np.arange(n), m))
    drive = current.reshape(-1, 1) / cells.g
    s = dt * np.geomspace(0.5, _LONGEST_MS / dt, _GRID)
    F = np.concatenate(
        [_orbit(cells, drive, np.full_like(drive, s[k])) for k in range(_GRID)], axis=1
    )
    rising = (F[:, :-1] <= 0) & (F[:, 1:] > 0)
    found = rising.any(axis=1)
    first = rising.argmax(axis=1)
    low, high = s[first][:, None], s[first + 1][:, None]
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        above = _orbit(cells, drive, middle) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    # A reset that keeps all of U (fraction 1 and more) has poles, where F changes sign as well.
    found &= np.abs(_orbit(cells, drive, high))[:, 0] < _IS_ROOT_mV
    s_root = np.where(found[:, None], high, np.nan)
    start = _start(cells, drive, s_root)
    # An orbit is one only if the cell does not fire before its end.
    t = dt + (s_root - 2 * dt).clip(0) * np.linspace(0, 1, _CHECKED)
    crossed = np.asarray((_above_threshold(cells, drive, start, t) > 0) & (t < s_root - dt))
    early = crossed.any(axis=1, keepdims=True)
    start = tuple(
        np.where(early.reshape(-1, *[1] * (part.ndim - 1)), np.nan, part) for part in start
    )
    U, asc, th_spike, th_voltage = start
    s_root = np.where(early, np.nan, s_root)
    return SteadyFiring(
        interval=(cells.n_ref * dt + s_root).astype(np.float64).reshape(n, m),
        U=U.reshape(n, m),
        asc=asc.reshape(n, m, -1),
        th_spike=th_spike.reshape(n, m),
        th_voltage=th_voltage.reshape(n, m),
    )


def _voltage(
    cells: _Cells,
    drive: NDArray[np.float64],
    U: NDArray[np.float64],
    amount: NDArray[np.float64],
    t: NDArray[np.float64],
) -> NDArray[np.float64]:
    """U a time t after the beginning of an interval; `amount` is asc times c."""
    decay = np.exp(-t / cells.tau)
    fade = np.exp(-t[..., None] * cells.k)
    return drive + (U - drive) * decay + (amount * (fade - decay[..., None])).sum(-1)


def _adaptation(
    cells: _Cells,
    drive: NDArray[np.float64],
    U: NDArray[np.float64],
    amount: NDArray[np.float64],
    t: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What th_voltage gains until t, a times the integral of U e^(-b (t - u)), and what it keeps.

    U is taken between the steps as the exponentials it is at them, an error of second order in dt.
    """
    adapting = cells.a_v != 0
    b = np.where(adapting, cells.b_v, _NO_RATE)
    kept, decay = np.exp(-b * t), np.exp(-t / cells.tau)
    fade = np.exp(-t[..., None] * cells.k)
    gain = drive * (1 - kept) / b
    gain += (U - drive - amount.sum(-1)) * (decay - kept) / (b - 1 / cells.tau)
    gain += (amount * (fade - kept[..., None]) / (b[..., None] - cells.k)).sum(-1)
    return cells.a_v * gain, kept


def _start(
    cells: _Cells, drive: NDArray[np.float64], s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """U, asc, th_spike and th_voltage at the beginning of intervals of s, if all are alike."""
    asc = cells.amps / (1 - cells.held * np.exp(-s[..., None] * cells.k))
    per_period = cells.th_held * np.exp(-cells.th_decay * s)
    th_spike = np.where(
        cells.th_add == 0, 0.0, cells.th_add / (1 - per_period + (cells.th_add == 0))
    )
    # The reset takes U of the step before the spike: U = fraction U(s - dt) + V_reset.
    amount, old = asc * cells.c, s - cells.dt
    forced = _voltage(cells, drive, np.zeros_like(drive), amount, old)
    kept_U = cells.fraction * np.exp(-old / cells.tau)
    U = (cells.fraction * forced + cells.V_reset) / np.where(kept_U == 1, np.nan, 1 - kept_U)
    gain, kept = _adaptation(
        cells, drive, U, amount, s
    )  # held while refractory, no spike changes it
    return U, asc, th_spike, gain / (1 - kept)


def _above_threshold(
    cells: _Cells,
    drive: NDArray[np.float64],
    start: tuple[NDArray[np.float64], ...],
    t: NDArray[np.float64],
) -> NDArray[np.float64]:
    """mV, U minus the threshold a time t after the beginning of an interval."""
    U, asc, th_spike, th_voltage = start
    amount = asc * cells.c
    gain, kept = _adaptation(cells, drive, U, amount, t)
    threshold = cells.V_th + th_spike * np.exp(-cells.th_decay * t) + th_voltage * kept + gain
    return _voltage(cells, drive, U, amount, t) - threshold


def _orbit(
    cells: _Cells, drive: NDArray[np.float64], s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """F(s) of the module docstring."""
    return _above_threshold(cells, drive, _start(cells, drive, s), s)


def slope_of(current: NDArray[np.float64], rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slope of the regression of rate on current over the currents at which a cell fires.

    The Allen Cell Types features fit the same line to the sweeps with spikes.

    Args:
        current: [n, m] pA.
        rate: [n, m] Hz.

    Returns:
        [n] Hz/pA; NaN with fewer than two firing currents.
    """
    fires = rate > 0
    count = fires.sum(axis=1)
    mean = [(x * fires).sum(axis=1) / np.maximum(count, 1) for x in (current, rate)]
    x, y = ((v - m[:, None]) * fires for v, m in zip((current, rate), mean, strict=True))
    spread = (x * x).sum(axis=1)
    enough = (count >= 2) & (spread > 0)
    return np.where(enough, (x * y).sum(axis=1) / np.where(enough, spread, 1.0), math.nan)


def compare_with_measured(
    model: NDArray[np.float64], measured: NDArray[np.float64], group: NDArray[np.str_]
) -> pd.DataFrame:
    """Correlation of a model's and the measured quantity over specimens, for all and by group.

    Args:
        model: [n] of the model, one value per specimen; pairs with a NaN are left out.
        measured: [n] of the cell.
        group: [n] name of each specimen's group.

    Returns:
        One row per group, "all" first: group, n, pearson, spearman, median_model, median_measured,
        median_ratio (of model to measured). Correlations are NaN below `MIN_SPECIMENS`.
    """
    rows = []
    known = np.isfinite(model) & np.isfinite(measured)
    for name in ("all", *sorted(set(group))):
        of = known & ((group == name) | (name == "all"))
        x, y = model[of], measured[of]
        enough = len(x) >= MIN_SPECIMENS
        rows.append(
            {
                "group": name,
                "n": len(x),
                "pearson": float(np.corrcoef(x, y)[0, 1]) if enough else math.nan,
                "spearman": float(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])
                if enough
                else math.nan,
                "median_model": float(np.median(x)) if len(x) else math.nan,
                "median_measured": float(np.median(y)) if len(x) else math.nan,
                "median_ratio": float(np.median(x / y)) if len(x) else math.nan,
            }
        )
    return pd.DataFrame(rows)
