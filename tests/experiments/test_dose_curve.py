"""The peak of a dose curve, planted and recovered, and the cases without one."""

import math

import numpy as np
import pytest

from v1builder.experiments.statistics.dose import dose_curve
from v1builder.schema.errors import ConfigError

DOSES = (0.0, 0.5, 1.0, 1.5, 2.0)


def planted(peak, curvature=0.1, noise=0.01, n=20, doses=DOSES, seed=0):
    """A parabola with this peak on networks of different quality."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(0.8, 0.1, n)
    return {
        dose: quality - curvature * (dose - peak) ** 2 + rng.normal(0, noise, n) for dose in doses
    }


def test_without_noise_the_peak_is_exact():
    curve = dose_curve(planted(0.7, noise=0.0), seed=0)
    assert curve.peak == pytest.approx(0.7)
    assert (curve.low, curve.high) == pytest.approx((0.7, 0.7))
    assert curve.coefficients[2] == pytest.approx(-0.1)
    assert not curve.near_optimal


def test_the_fit_is_least_squares_with_a_block_per_seed():
    values = planted(0.9)
    curve = dose_curve(values, seed=0)
    rows = [(s, dose, values[dose][s]) for s in range(20) for dose in DOSES]
    design = np.array([[*(s == np.arange(20)), dose, dose**2] for s, dose, _ in rows], float)
    slope, bend = np.linalg.lstsq(design, np.array([v for *_, v in rows]), rcond=None)[0][-2:]
    assert curve.coefficients[1:] == pytest.approx((slope, bend))
    assert curve.peak == pytest.approx(-slope / (2 * bend))


def test_a_peak_at_the_observed_level_is_near_optimal():
    curve = dose_curve(planted(1.0), seed=0)
    assert 0.9 < curve.low <= 1 <= curve.high < 1.1
    assert curve.near_optimal
    assert curve.undefined == 0
    assert curve.note == ""


def test_a_peak_elsewhere_is_not():
    curve = dose_curve(planted(0.4), seed=0)
    assert 0.3 < curve.low < 0.4 < curve.high < 0.5
    assert not curve.near_optimal


def test_a_peak_known_too_badly_is_not():
    """Its interval holds 1 but .5 or 1.5 as well."""
    curve = dose_curve(planted(1.0, curvature=0.02, noise=0.06), seed=0)
    assert curve.low <= 1 <= curve.high
    assert curve.low <= 0.5 or curve.high >= 1.5
    assert not curve.near_optimal


def test_a_flat_curve_has_no_bounded_peak():
    """Whatever the sign of the curvature that noise happens to give."""
    unbounded = 0
    for seed in range(10):
        curve = dose_curve(planted(1.0, curvature=0.0, seed=seed), seed=0)
        assert not curve.near_optimal
        unbounded += math.isinf(curve.low) and math.isinf(curve.high)
    assert unbounded >= 8


def test_a_convex_curve_has_no_peak():
    curve = dose_curve(planted(1.0, curvature=-0.1), seed=0)
    assert math.isnan(curve.peak)
    assert curve.undefined == 1
    assert "not concave" in curve.note
    straight = dose_curve({dose: [0.5 + dose / 8, 0.6 + dose / 8] for dose in DOSES}, seed=0)
    assert math.isnan(straight.peak)


def test_the_interval_covers_the_peak():
    """Nominally 95 %; of 60 draws at least 52 (a percentile interval of 20 seeds is a little narrow)."""
    hits = 0
    for seed in range(60):
        curve = dose_curve(planted(0.8, noise=0.03, seed=seed), seed=seed)
        hits += curve.low <= 0.8 <= curve.high
    assert 52 <= hits < 60


def test_a_peak_beyond_the_doses_is_extrapolated():
    curve = dose_curve(planted(1.0, doses=(0.0, 0.5, 1.0), noise=0.001), seed=0)
    assert not curve.near_optimal
    assert "one side" in curve.note
    outside = dose_curve(planted(2.5), seed=0)
    assert "outside the tested doses" in outside.note


def test_few_seeds():
    assert "only 3 seeds" in dose_curve(planted(1.0, n=3), seed=0).note
    single = dose_curve(planted(1.0, n=1), seed=0)
    assert math.isinf(single.low)
    assert not single.near_optimal


def test_too_few_doses():
    with pytest.raises(ConfigError, match="three doses"):
        dose_curve({0.0: [1.0, 2.0], 1.0: [1.0, 2.0]}, seed=0)
    with pytest.raises(ConfigError, match="same seeds"):
        dose_curve({0.0: [1.0, 2.0], 1.0: [1.0, 2.0], 2.0: [1.0]}, seed=0)
