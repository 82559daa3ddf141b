"""CV of intervals and Fano factor: clocks, coins, and the values of numpy."""

import numpy as np
import pytest
from recorded import design_of, parts, whole

from v1builder.measures.cv_isi import CVOfISI
from v1builder.measures.fano_factor import FanoFactor


def cells_of(kind, spikes, **more):
    measure = kind(design_of(spikes))
    measure.see(whole(spikes, **more))
    return measure.of_cells()


def coins(p, shape, seed=0):
    return np.random.default_rng(seed).random(shape) < p


def test_cv_of_a_clock_is_0_and_that_of_coins_is_known():
    """Spikes that fall with p in every step have geometric intervals: CV sqrt(1 - p)."""
    p = np.array([0.05, 0.3, 0.7])
    spikes = np.concatenate([coins(p, (1, 200_000, 3)), np.zeros((1, 200_000, 1), bool)], axis=2)
    spikes[0, 3::7, 3] = True
    value, _ = cells_of(CVOfISI, spikes)
    assert value[:3] == pytest.approx(np.sqrt(1 - p), abs=0.012)
    assert value[3] == 0


def test_cv_is_numpys_of_the_intervals_within_trials():
    spikes = coins(np.array([0.2, 0.05, 0.01]), (5, 60, 3), seed=3)
    value, reason = cells_of(CVOfISI, spikes)
    for cell in range(2):
        intervals = np.concatenate([np.diff(np.flatnonzero(trial)) for trial in spikes[..., cell]])
        assert len(intervals) >= 10
        assert value[cell] == pytest.approx(intervals.std() / intervals.mean())
    assert np.isnan(value[2])  # too few
    assert reason == "no cell with 10 intervals between spikes"


def test_fano_is_numpys_for_one_condition():
    spikes = coins(np.array([0.2, 0.5, 0.0]), (12, 40, 3))
    value, _ = cells_of(FanoFactor, spikes, condition=np.zeros(12, int))
    counts = spikes.sum(axis=1)[:, :2]
    assert value[:2] == pytest.approx(counts.var(axis=0, ddof=1) / counts.mean(axis=0))
    assert np.isnan(value[2])


def test_fano_of_coins_does_not_see_what_stimuli_do_to_rates():
    """n coins of p: variance over mean 1 - p, within stimuli. Pooled over stimuli it would be larger."""
    p = np.repeat([0.02, 0.2], 300)
    spikes = coins(p[:, None, None], (600, 50, 8))
    value, _ = cells_of(FanoFactor, spikes, condition=np.repeat([0, 4], 300))
    expected = np.average([0.98, 0.8], weights=[0.02, 0.2])
    assert value == pytest.approx(expected, abs=0.15)
    assert value.mean() == pytest.approx(expected, abs=0.04)
    together, _ = cells_of(FanoFactor, spikes, condition=np.zeros(600, int))
    assert together.mean() > 3


def test_fano_needs_repeats():
    spikes = coins(0.3, (10, 20, 2))
    value, reason = cells_of(FanoFactor, spikes, condition=np.arange(10))
    assert np.isnan(value).all()
    assert reason == "0 repeats of a condition, fewer than 9"
    enough, _ = cells_of(FanoFactor, spikes)  # nothing shown ten times
    assert np.isfinite(enough).all()


def test_fano_of_poisson_counts_is_1():
    counts = np.random.default_rng(1).poisson(6.0, (400, 20))
    spikes = np.arange(40)[None, :, None] < counts[:, None]
    measure = FanoFactor(design_of(spikes))
    for activity in parts(spikes, 64, 40):
        measure.see(activity)
    value, _ = measure.of_cells()
    assert value.mean() == pytest.approx(1.0, abs=0.05)
    assert value == pytest.approx(1.0, abs=0.3)
