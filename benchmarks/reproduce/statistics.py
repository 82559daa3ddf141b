"""Means over seeds with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

#: From so many values on the bias-corrected and accelerated bootstrap is used: with fewer its intervals are
#: too short (with 5 values it resamples 126 different means), and the t interval is.
BCA_FROM = 8


@dataclass(frozen=True)
class Estimate:
    """A mean.

    Attributes:
        n: number of values.
        low, high: 95 % interval; None for a single value.
        kind: of the interval, "BCa" or "t"; "" where there is none.
    """

    mean: float
    n: int
    low: float | None = None
    high: float | None = None
    kind: str = ""


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of values with its 95 % interval; NaN of nothing."""
    x = np.asarray(values, dtype=float)
    n = len(x)
    if n == 0:
        return Estimate(float("nan"), 0)
    mean = float(x.mean())
    if n == 1:
        return Estimate(mean, 1)
    if np.ptp(x) == 0:
        return Estimate(mean, n, mean, mean, "t")
    if n >= BCA_FROM:
        found = stats.bootstrap(
            (x,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng(0)
        ).confidence_interval
        return Estimate(mean, n, float(found.low), float(found.high), "BCa")
    half = stats.t.ppf(0.975, n - 1) * x.std(ddof=1) / n**0.5
    return Estimate(mean, n, mean - half, mean + half, "t")


def paired(mode: Mapping[int, float], base: Mapping[int, float]) -> list[float]:
    """Differences of the seeds that both have."""
    return [mode[seed] - base[seed] for seed in sorted(mode.keys() & base.keys())]


def longest_delay(accuracy: Mapping[float, float], level: float = 0.75) -> float:
    """ms up to which recall is above a level, between the tested delays linear; 0 where it never is.

    Args:
        accuracy: by delay in ms.
        level: that is asked for.
    """
    delays = sorted(accuracy)
    before = None
    for delay in delays:
        here = accuracy[delay]
        if here < level:
            if before is None:
                return 0.0
            above = accuracy[before]
            return before + (above - level) / (above - here) * (delay - before)
        before = delay
    return float(delays[-1])
