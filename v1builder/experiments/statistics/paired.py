"""Paired seeds: how large a difference is, how sure we are of it, and when it does not matter.

A seed is the unit of replication: network, initial state, data order and noise are shared by the
conditions of a seed, so conditions are compared by their differences within seeds. Trials of one
network are no replicates of a comparison. With few seeds little can be shown, and the results say so: the
interval's method, the smallest p value the design can give, and notes are part of them.
"""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from v1builder.schema.errors import ConfigError

Array = NDArray[np.float64]

_RESAMPLES: Final = 9999
_EXACT_MAX: Final = 14  # 2^14 sign patterns are enumerated, more are sampled
_FEW: Final = 10  # below this a bootstrap interval tends to be too narrow


@dataclass(frozen=True)
class MeanEstimate:
    """A mean and its confidence interval.

    Attributes:
        mean: arithmetic mean of the values.
        low: lower end of the interval, NaN when there is none.
        high: upper end of it.
        method: how the interval was made: "BCa bootstrap", "percentile bootstrap" (where BCa does
            not exist), "all values equal" or "none" (fewer than two values).
        n: number of values.
        confidence: level of the interval.
        note: what a reader must know about the interval, or "".
    """

    mean: float
    low: float
    high: float
    method: str
    n: int
    confidence: float
    note: str = ""


def mean_interval(
    values: Sequence[float] | Array, *, seed: int, confidence: float = 0.95
) -> MeanEstimate:
    """The mean of `values` ([n]) with a BCa bootstrap interval (Efron 1987).

    Where BCa is undefined the percentile interval is returned and named. The resampling is seeded.

    Raises:
        ConfigError: no values, values not finite, or confidence not between 0 and 1.
    """
    x = _finite(values, "values")
    if not 0 < confidence < 1:
        raise ConfigError.of("confidence is out of range", "mean_interval", confidence, "use 0.95")
    mean = float(x.mean())
    if len(x) < 2:
        return MeanEstimate(mean, np.nan, np.nan, "none", len(x), confidence, "a single value")
    if np.ptp(x) == 0:
        note = "all values are equal, which says nothing about their spread"
        return MeanEstimate(mean, mean, mean, "all values equal", len(x), confidence, note)
    note = ""
    if len(x) < _FEW:
        note = (
            f"only {len(x)} values: bootstrap intervals tend to be too narrow; see the t interval"
        )
    for method, label in (("BCa", "BCa bootstrap"), ("percentile", "percentile bootstrap")):
        low, high = _bootstrap(x, method, confidence, seed)
        if np.isfinite([low, high]).all():
            return MeanEstimate(mean, low, high, label, len(x), confidence, note)
    raise AssertionError("the percentile interval of finite values is finite")


def _bootstrap(x: Array, method: str, confidence: float, seed: int) -> tuple[float, float]:
    with warnings.catch_warnings():
        # scipy warns and returns NaN where BCa is undefined; the caller then takes the next method.
        warnings.simplefilter("ignore")
        result = stats.bootstrap(
            (x,),
            np.mean,
            n_resamples=_RESAMPLES,
            confidence_level=confidence,
            method=method,
            random_state=np.random.default_rng(seed),  # pyright: ignore[reportCallIssue]
        )
    interval = result.confidence_interval
    return float(interval.low), float(interval.high)


def t_interval(values: Sequence[float] | Array, *, confidence: float = 0.95) -> tuple[float, float]:
    """Student's interval of the mean; (NaN, NaN) for fewer than two values."""
    x = _finite(values, "values")
    if len(x) < 2:
        return np.nan, np.nan
    half = _t_quantile((1 + confidence) / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return float(x.mean() - half), float(x.mean() + half)


@cache  # of thousands of measures every one has an interval, and all have as many seeds
def _t_quantile(probability: float, degrees_of_freedom: int) -> float:
    return float(stats.t.ppf(probability, degrees_of_freedom))


@dataclass(frozen=True)
class PairedComparison:
    """A condition against the baseline, seed by seed. Differences are condition - baseline.

    Attributes:
        name: of the condition.
        differences: one per seed.
        difference: mean difference with its bootstrap interval.
        t_low: lower end of Student's interval of the mean difference.
        t_high: upper end of it.
        d_z: mean difference / standard deviation of the differences; NaN when that is 0.
        p_sign_flip: two-sided sign-flip permutation test of a zero mean; exact up to 14 seeds.
        p_smallest: the smallest p a sign-flip test of so many seeds can give.
        p_t: two-sided paired t test; NaN when the differences do not vary.
        p_tost: larger p of the two one-sided t tests against -margin and +margin.
        margin: declared before the comparison: differences within it do not matter.
        p_holm: p_t adjusted for the family by Holm's method (`family`); NaN outside a family.
        p_tost_holm: p_tost adjusted likewise.
        equivalent: the family's verdict on p_tost_holm; False outside a family.
    """

    name: str
    differences: tuple[float, ...]
    difference: MeanEstimate
    t_low: float
    t_high: float
    d_z: float
    p_sign_flip: float
    p_smallest: float
    p_t: float
    p_tost: float
    margin: float
    p_holm: float = np.nan
    p_tost_holm: float = np.nan
    equivalent: bool = False


def compare_paired(
    name: str,
    baseline: Sequence[float] | Array,
    condition: Sequence[float] | Array,
    *,
    margin: float,
    seed: int,
    confidence: float = 0.95,
) -> PairedComparison:
    """Compare two conditions measured on the same seeds, in the same order.

    Args:
        name: of the condition.
        baseline: [n_seeds] values of the baseline.
        condition: [n_seeds] values of the condition.
        margin: smallest difference that would matter, in the unit of the values; declare it before.
        seed: of bootstrap and permutation.
        confidence: of the intervals.

    Raises:
        ConfigError: unequal lengths, no values, values not finite, or margin not positive.
    """
    before, after = _finite(baseline, "baseline"), _finite(condition, name)
    if len(before) != len(after):
        raise ConfigError.of(
            "paired values must have the same seeds",
            f"comparison of {name}",
            f"{len(before)} and {len(after)} values",
            "give one value per seed for both, in the same order",
        )
    if not margin > 0:
        raise ConfigError.of(
            "the margin must be positive", f"comparison of {name}", margin, "raise it"
        )
    d = after - before
    t_low, t_high = t_interval(d, confidence=confidence)
    varies = len(d) > 1 and np.ptp(d) > 0
    return PairedComparison(
        name=name,
        differences=tuple(d.tolist()),
        difference=mean_interval(d, seed=seed, confidence=confidence),
        t_low=t_low,
        t_high=t_high,
        d_z=float(d.mean() / d.std(ddof=1)) if varies else np.nan,
        p_sign_flip=sign_flip_p(d, seed=seed),
        p_smallest=smallest_p(len(d)),
        p_t=float(2 * stats.t.sf(abs(_t(d, 0.0)), len(d) - 1)) if varies else np.nan,
        p_tost=equivalence_p(d, margin),
        margin=margin,
    )


def sign_flip_p(differences: Sequence[float] | Array, *, seed: int) -> float:
    """Two-sided p of a zero mean if each difference could as well have the other sign.

    All 2^n sign patterns up to n = 14; above that 9 999 random ones plus the observed one.
    """
    d = _finite(differences, "differences")
    if len(d) <= _EXACT_MAX:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(d))))
        extra = 0
    else:
        signs = np.random.default_rng(seed).choice((1.0, -1.0), size=(_RESAMPLES, len(d)))
        extra = 1
    observed = abs(d.sum())
    # Patterns that tie with the observed one must count in spite of rounding.
    reached = np.abs(signs @ d) >= observed - 1e-12 * np.abs(d).sum()
    return float((reached.sum() + extra) / (len(signs) + extra))


def smallest_p(n: int) -> float:
    """The smallest p that `sign_flip_p` can give with `n` differences."""
    return min(1.0, 2.0 ** (1 - n)) if n <= _EXACT_MAX else 1 / (_RESAMPLES + 1)


def equivalence_p(differences: Sequence[float] | Array, margin: float) -> float:
    """TOST (Schuirmann 1987): larger p of the t tests of mean > -margin and mean < margin.

    NaN for fewer than two values, and when all are equal, since the t test then has no spread.
    """
    d = _finite(differences, "differences")
    if len(d) < 2 or np.ptp(d) == 0:
        return np.nan
    above = stats.t.sf(_t(d, -margin), len(d) - 1)
    below = stats.t.cdf(_t(d, margin), len(d) - 1)
    return float(max(above, below))


def _t(d: Array, mean: float) -> float:
    """Student's t of the differences `d` against a given mean."""
    return float((d.mean() - mean) / (d.std(ddof=1) / np.sqrt(len(d))))


def _finite(values: Sequence[float] | Array, where: str) -> Array:
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise ConfigError.of(
            "statistics need finite numbers", where, np.array2string(x, threshold=8), "one per seed"
        )
    return x
