"""The level of heterogeneity at which networks do best: a quadratic over doses within seeds, its peak.

`dose(alpha, level)` scales deviations from the mean: 0 is mean(level), 1 the observed network. Every seed
is a block: its own intercept takes out how good that network is. With the same doses in every seed the
quadratic of all is the mean of the quadratics of the seeds, so resampling seeds resamples coefficients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from v1builder.schema.errors import ConfigError

_RESAMPLES: Final = 9999


@dataclass(frozen=True)
class DoseCurve:
    """A quadratic over doses and where it is highest.

    Attributes:
        doses: [n_doses], ascending.
        values: [n_seeds, n_doses] outcome.
        coefficients: of value = c0 + c1 dose + c2 dose^2, mean over seeds.
        peak: dose of the maximum, NaN when the curvature is not negative.
        low: lower end of the 95 % interval of the peak; -inf when it has no bound.
        high: upper end of it; inf when it has no bound.
        undefined: share of resamples of the seeds that have no peak.
        near_optimal: whether the observed level is near optimal: the interval holds 1, excludes .5 and
            1.5, and doses on both sides of 1 were tested.
        note: what a reader must know, or "".
    """

    doses: tuple[float, ...]
    values: NDArray[np.float64]
    coefficients: tuple[float, float, float]
    peak: float
    low: float
    high: float
    undefined: float
    near_optimal: bool
    note: str


def dose_curve(
    by_dose: Mapping[float, Sequence[float] | NDArray[np.float64]],
    *,
    seed: int,
    confidence: float = 0.95,
) -> DoseCurve:
    """Fit the quadratic, and bootstrap its peak over seeds.

    A resample without a peak counts as a peak below all and above all others, so that an interval is
    bounded only if nearly all resamples have a peak.

    Args:
        by_dose: [n_seeds] values by dose, the same seeds in the same order; at least three doses.
        seed: of the bootstrap.
        confidence: of the interval.

    Raises:
        ConfigError: fewer than three doses, or unequal numbers of seeds.
    """
    doses = np.array(sorted(by_dose))
    if len(doses) < 3 or len({len(by_dose[dose]) for dose in doses}) != 1:
        raise ConfigError.of(
            "a dose curve needs three doses with the same seeds",
            "dose_curve",
            {dose: len(by_dose[dose]) for dose in doses.tolist()},
            "add doses",
        )
    values = np.array([by_dose[dose] for dose in doses], np.float64).T
    # Orders of the design as rows: 1, dose, dose^2; [n_seeds, 3] one quadratic per seed.
    design = np.vander(doses, 3, increasing=True)
    per_seed = np.linalg.lstsq(design, values.T, rcond=None)[0].T
    mean = per_seed.mean(axis=0)
    n = len(values)
    picks = np.random.default_rng(seed).integers(n, size=(_RESAMPLES, n))
    resampled = _peak(per_seed[picks].mean(axis=1))
    undefined = np.isnan(resampled)
    tail = (1 - confidence) / 2
    peak = float(_peak(mean))
    low, high = -np.inf, np.inf
    if n > 1 and np.isfinite(peak):
        low = float(np.quantile(np.where(undefined, -np.inf, resampled), tail, method="lower"))
        high = float(np.quantile(np.where(undefined, np.inf, resampled), 1 - tail, method="higher"))
    both_sides = bool(doses[0] < 1 < doses[-1])
    return DoseCurve(
        doses=tuple(doses.tolist()),
        values=values,
        coefficients=(float(mean[0]), float(mean[1]), float(mean[2])),
        peak=peak,
        low=low,
        high=high,
        undefined=float(undefined.mean()),
        near_optimal=bool(both_sides and 0.5 < low <= 1 <= high < 1.5),
        note="; ".join(_remarks(peak, low, high, doses, n)),
    )


def _peak(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """[...] dose of the maximum of [..., 3] coefficients, NaN where the curve is not concave.

    Curvature within rounding of the coefficients is none.
    """
    slope, curvature = coefficients[..., 1], coefficients[..., 2]
    concave = curvature < -1e-12 * (1 + np.abs(coefficients).sum(axis=-1))
    return np.where(concave, -slope / (2 * np.where(concave, curvature, -1.0)), np.nan)


def _remarks(peak: float, low: float, high: float, doses: NDArray[np.float64], n: int) -> list[str]:
    if np.isnan(peak):
        return ["the curve is not concave, so it has no peak"]
    remarks = []
    if not np.isfinite([low, high]).all():
        remarks.append("the peak is not bounded by these seeds")
    if not doses[0] <= peak <= doses[-1]:
        remarks.append("the peak lies outside the tested doses")
    if not doses[0] < 1 < doses[-1]:
        remarks.append("doses on one side of the observed level only")
    if n < 10:
        remarks.append(f"only {n} seeds: a bootstrap interval tends to be too narrow")
    return remarks
