"""Synaptic weights: from measured PSP amplitudes (mV) to currents (pA), cell model by cell model.

Synapses are double alphas. A weight w (pA) is the current

    I(t) = w [ (t/tf) e^(1 - t/tf) + a_s (t/ts) e^(1 - t/ts) ]

and A is the peak of the PSP (mV) that w = 1 pA evokes in the passive membrane C_m dV/dt = -g V + I.
NEST's glif_psc_double_alpha has the same current.

Recurrent weights. With the PSP lognormal (shape s_p, scale m_p mV; Campagnola et al. 2022, 90th
percentile responses) of the pair of populations and the synapse-number lognormal (shape s_n) of the
target population:

    s_w = sqrt(s_p^2 - s_n^2), or 0.001 where s_p < s_n;  m_w = m_p nsyn_scale / mean_size
    w = m_w exp(sqrt(2) s_w erfinv(2u - 1)) mean_size / (A target_size)

negative for inhibitory sources. The spread of synapse numbers, which the division by target_size
brings back, is taken out of s_w, so that the PSPs keep the measured spread.

u is U(0, 1), independent of tuning, unless the recipe says "like_to_like": then u falls with the
difference of the preferred directions. E->E: u = 1 - CDF(d), d in [0, 180] deg, CDF being the
distribution of d among pairs connected by the E->E orientation rule, so that u is again uniform.
E->I and I->E: u = 1 - (d + N(0, 5 deg))/180; I->I the same with N(0, 10 deg). There u is held
within [0.001, 0.999], because d itself reaches 0 and 180.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from v1builder.build.cells import PlacedCells, mean_size
from v1builder.build.connectivity import PairRule, SampledEdges
from v1builder.schema.errors import DataError, Problem, raise_if_any
from v1builder.schema.names import SYNAPSE_CLASSES
from v1builder.schema.psp import unit_psp_peak

_SHAPE_MIN = 0.001
_QUANTILE_LIMITS = (0.001, 0.999)
_JITTER_MIXED_DEG = 5.0
_JITTER_INHIBITORY_DEG = 10.0


@dataclass(frozen=True)
class Receptors:
    """Kinetics of the ports of every cell model.

    Attributes:
        tau_fast: [m, 10] ms, by cell model and port (`schema.names.SYNAPSE_CLASSES`).
        tau_slow: [m, 10] ms.
        amp_slow: [m, 10] relative amplitude of the slow component.
        delay: [m, 10] ms; NaN where the source is outside V1 and its delay is in the recipe.
        unit_psp: [m, 10] mV/pA, A of the module docstring.
    """

    tau_fast: NDArray[np.float64]
    tau_slow: NDArray[np.float64]
    amp_slow: NDArray[np.float64]
    delay: NDArray[np.float64]
    unit_psp: NDArray[np.float64]


def receptors(synapse_kinetics: pd.DataFrame, models: pd.DataFrame) -> Receptors:
    """Look up the kinetics of every port of every cell model.

    Args:
        synapse_kinetics: by pre_synapse_class and post_synapse_class.
        models: [m] rows with columns synapse_class, C_m and g.

    Raises:
        DataError: the kinetics of a pair of classes are missing.
    """
    table = synapse_kinetics.set_index(["pre_synapse_class", "post_synapse_class"])
    post = sorted(set(models["synapse_class"]))
    raise_if_any(
        [
            Problem(
                "the kinetics of a synapse are missing", "table synapse_kinetics", f"{a} -> {b}"
            )
            for a in SYNAPSE_CLASSES
            for b in post
            if (a, b) not in table.index
        ],
        DataError,
    )
    rows = [(a, b) for b in models["synapse_class"] for a in SYNAPSE_CLASSES]
    found = table.loc[rows]
    names = ("tau_fast_ms", "tau_slow_ms", "amp_slow_rel", "delay_ms")
    fast, slow, amp, delay = (
        found[name].to_numpy(dtype=np.float64).reshape(len(models), -1) for name in names
    )
    C_m = models["C_m"].to_numpy(dtype=np.float64)[:, None]
    g = models["g"].to_numpy(dtype=np.float64)[:, None]
    return Receptors(fast, slow, amp, delay, unit_psp_peak(fast, slow, amp, C_m, g))


@dataclass(frozen=True)
class WeightRule:
    """Recurrent weights by (source population, target cell model).

    Attributes:
        scale: [p, m] pA; a typical weight times the target's relative size, negative if inhibitory.
        shape: [p, m] s_w.
    """

    scale: NDArray[np.float64]
    shape: NDArray[np.float64]


def weight_rule(
    populations: pd.DataFrame,
    models: pd.DataFrame,
    psp_lookup: pd.DataFrame,
    psp_amplitude: pd.DataFrame,
    ports: Receptors,
) -> WeightRule:
    """Join the PSP tables into one rule per (source population, target cell model).

    Args:
        populations: the populations table, [p] rows.
        models: [m] rows with column population_index.
        psp_lookup: columns pre_population, post_population, connection.
        psp_amplitude: columns connection, logn_shape_90th, logn_scale_90th.
        ports: of `models`.

    Raises:
        DataError: a pair of populations has no PSP lognormal.
    """
    names = populations["population"].to_numpy()
    lookup = psp_lookup.set_index(["pre_population", "post_population"])["connection"]
    table = psp_amplitude.set_index("connection")
    pairs = [(a, b) for a in names for b in names]
    fits = table.reindex(lookup.reindex(pd.MultiIndex.from_tuples(pairs)).to_numpy())
    n = len(names)
    s_p, m_p = (
        np.asarray(pd.to_numeric(fits[name], errors="coerce"), dtype=np.float64).reshape(n, n)
        for name in ("logn_shape_90th", "logn_scale_90th")
    )
    raise_if_any(
        [
            Problem("a PSP amplitude is missing", "tables psp_lookup, psp_amplitude", f"{a} -> {b}")
            for (a, b), missing in zip(pairs, np.isnan(s_p * m_p).ravel(), strict=True)
            if missing
        ],
        DataError,
    )
    s_n = populations["nsyn_lognorm_shape"].to_numpy(dtype=np.float64)[None, :]
    s_w = np.where(s_p >= s_n, np.sqrt(np.maximum(s_p**2 - s_n**2, 0)), _SHAPE_MIN)
    m_w = (
        m_p * populations["nsyn_lognorm_scale"].to_numpy(dtype=np.float64) / mean_size(populations)
    )
    target = models["population_index"].to_numpy()
    port = [SYNAPSE_CLASSES.index(name) for name in populations["synapse_class"]]
    sign = np.where(populations["ei"] == "e", 1.0, -1.0)
    unit_psp = ports.unit_psp[:, port].T
    return WeightRule(sign[:, None] * m_w[:, target] / unit_psp, s_w[:, target])


def direction_difference(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Difference in [0, 180] of two directions (deg)."""
    return np.abs((np.asarray(a) - np.asarray(b) + 180) % 360 - 180)


def _tuned_quantile(edges: SampledEdges, cells: PlacedCells, rule: PairRule) -> NDArray[np.float64]:
    """The quantile of "like_to_like": [e], high for similarly tuned pairs."""
    pre, post = cells.population_index[edges.source], cells.population_index[edges.target]
    d = direction_difference(cells.tuning_angle[edges.source], cells.tuning_angle[edges.target])
    near, far = rule.orientation_near[pre, post], rule.orientation_far[pre, post]
    slope, x = (far - near) / 90, d - 90
    area = np.where(x < 0, slope, -slope) * x**2 / 2 + far * x
    both_excitatory = rule.excitatory[pre] * rule.excitatory[post] == 1
    both_inhibitory = rule.excitatory[pre] + rule.excitatory[post] == 0
    jitter = np.where(both_inhibitory, _JITTER_INHIBITORY_DEG, _JITTER_MIXED_DEG)
    noisy = (d + jitter * ndtri(edges.quantile)) / 180
    cdf = np.where(both_excitatory, area / (90 * (near + far)) + 0.5, noisy)
    return np.clip(1 - cdf, *_QUANTILE_LIMITS)


def recurrent_weights(
    edges: SampledEdges, cells: PlacedCells, rule: PairRule, weights: WeightRule, weight_tuning: str
) -> NDArray[np.float32]:
    """Weight of every edge: [e], pA, negative for inhibitory sources."""
    tuned = weight_tuning == "like_to_like"
    u = _tuned_quantile(edges, cells, rule) if tuned else edges.quantile
    pair = cells.population_index[edges.source], cells.type_index[edges.target]
    spread = np.exp(weights.shape[pair] * ndtri(u))  # ndtri(u) = sqrt(2) erfinv(2u - 1)
    return (weights.scale[pair] * spread / cells.size_ratio[edges.target]).astype(np.float32)
