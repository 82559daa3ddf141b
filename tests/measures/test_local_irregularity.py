"""CV2, LvR, Fano factors of several windows, correlation, synchrony: Poisson cells, and elephant."""

import neo
import numpy as np
import pytest
import quantities as pq
from elephant.conversion import BinnedSpikeTrain
from elephant.spike_train_correlation import (
    correlation_coefficient,
    spike_time_tiling_coefficient,
)
from elephant.statistics import cv2, lvr
from recorded import design_of, parts, whole

from v1builder.measures.count_correlation import CountCorrelation
from v1builder.measures.cv2 import CV2
from v1builder.measures.fano_by_window import FanoByWindow
from v1builder.measures.groups import measured_groups
from v1builder.measures.lvr import REFRACTORY_MS, LvR
from v1builder.measures.sttc import PAIRS_MAX, STTC, sampled_pairs

pytestmark = pytest.mark.filterwarnings("ignore:The 'copy' argument in Quantity")


def measured(kind, spikes, condition=None, dt=1.0):
    measure = kind(design_of(spikes, dt=dt))
    measure.see(whole(spikes, condition=condition))
    return measure


def value(measure):
    found = measure.values(measured_groups(measure.design.cells, "network"))
    return found.value[0], found.reason[0]


def poisson(p, n_trials, n_steps, n_cells, seed=0):
    return np.random.default_rng(seed).random((n_trials, n_steps, n_cells)) < p


def train_of(steps, n_steps, dt=1.0):
    return neo.SpikeTrain((steps + 0.5) * dt * pq.ms, t_stop=n_steps * dt * pq.ms)


def test_local_irregularity_is_elephants():
    spikes = poisson(np.array([0.05, 0.2]), 1, 2000, 2)
    for dt in (0.5, 1.0):
        for kind, theirs in ((CV2, cv2), (LvR, lambda i: lvr(i * pq.ms, R=REFRACTORY_MS * pq.ms))):
            found, _ = measured(kind, spikes, dt=dt).of_cells()
            intervals = [dt * np.diff(np.flatnonzero(train)) for train in spikes[0].T]
            assert found == pytest.approx([float(theirs(each)) for each in intervals], rel=1e-6)


def test_local_irregularity_of_clocks_and_poisson_cells_in_short_trials():
    """300 trials of 250 ms at 20 Hz in steps of .1 ms: 5 spikes each, whatever the window cuts away."""
    spikes = poisson(0.002, 300, 2500, 4)
    found, _ = measured(CV2, spikes, dt=0.1).of_cells()
    assert found == pytest.approx(1, abs=0.05)
    assert found.mean() == pytest.approx(1, abs=0.02)
    found, _ = measured(LvR, spikes, dt=0.1).of_cells()
    # Pairs that fit into the window have a larger 1 / (I1 + I2) than all pairs.
    assert 1 + 4 * REFRACTORY_MS * 0.02 < found.mean() < 1 + 8 * REFRACTORY_MS * 0.02
    clock = np.zeros((3, 200, 1), bool)
    clock[:, 4::10] = True
    for kind in (CV2, LvR):
        assert measured(kind, clock).of_cells()[0] == pytest.approx([0.0])


def test_a_slow_change_of_the_rate_is_not_local():
    """Intervals of 5 ms in one half and of 50 ms in the other: their CV is 1.2."""
    spikes = np.zeros((1, 2000, 1), bool)
    spikes[0, :1000:5] = spikes[0, 1000::50] = True
    assert measured(CV2, spikes).of_cells()[0] < 0.02


def test_pairs_of_intervals_lie_within_trials():
    spikes = np.zeros((20, 30, 1), bool)
    spikes[:, [3, 9]] = True
    found, reason = measured(CV2, spikes).of_cells()
    assert np.isnan(found).all()
    assert reason == "no cell with 10 pairs of intervals that follow each other"


def test_fano_of_poisson_is_1_at_every_window_and_that_of_a_gain_grows():
    """A gain of variance c^2 that lasts a trial: 1 + c^2 r T; the course of the rate is in all trials."""
    rng = np.random.default_rng(1)
    course = 0.01 * (1 + np.cos(np.linspace(0, 6, 400)))
    gain = rng.gamma(4.0, 0.25, (400, 1, 30))  # variance .25
    condition = np.repeat([0, 3], 200)
    for own, slope in ((np.ones_like(gain), 0.0), (gain, 0.25)):
        counts = rng.random((400, 400, 30)) < 1 - np.exp(-course[:, None] * own)
        measure = measured(FanoByWindow, counts, condition)
        groups = measured_groups(measure.design.cells, "network")
        curve = {ms: found.value[0] for ms, found in measure.curve(groups).items()}
        assert list(curve) == [10, 20, 50, 100, 200]
        for ms, factor in curve.items():
            # Pooled over windows with the weight of their mean; coins have 1 - p.
            means = course.reshape(-1, int(ms)).sum(axis=1) if 400 % ms == 0 else course
            expected = 1 + slope * (means**2).sum() / means.sum() - course.mean()
            assert factor == pytest.approx(expected, rel=0.06)
        assert measure.values(groups).value[0] == curve[100]


def test_fano_in_one_window_is_that_of_numpy():
    spikes = poisson(0.1, 12, 100, 3)
    measure = measured(FanoByWindow, spikes)
    counts = spikes.sum(axis=1)
    assert measure.of_cells(100.0) == pytest.approx(
        counts.var(axis=0, ddof=1) / counts.mean(axis=0)
    )
    assert value(measured(FanoByWindow, spikes[:9]))[1] == "8 repeats of a condition, fewer than 9"
    assert value(measured(FanoByWindow, spikes[:, :60]))[1] == "the window is shorter than 100 ms"


def test_count_correlation_is_elephants():
    """One bin per trial, and all pairs."""
    spikes = poisson(np.linspace(0.02, 0.2, 6), 40, 50, 6)
    trains = [train_of(np.flatnonzero(spikes[..., cell].reshape(-1)), 2000) for cell in range(6)]
    theirs = correlation_coefficient(BinnedSpikeTrain(trains, bin_size=50 * pq.ms))
    found, _ = value(measured(CountCorrelation, spikes))
    assert found == pytest.approx(theirs[np.triu_indices(6, 1)].mean())


def test_count_correlation_of_independent_cells_and_of_a_shared_gain():
    """c^2 m / (1 + c^2 m) for a gain of variance c^2 and counts of m; stimuli correlate nothing."""
    rng = np.random.default_rng(2)
    drive = np.repeat([4.0, 12.0], 300)[:, None]
    condition = np.repeat([0, 1], 300)
    alone = rng.poisson(drive, (600, 40))
    shared = rng.poisson(8.0 * rng.gamma(10.0, 0.1, (600, 1)), (600, 40))
    for counts, expected in ((alone, 0.0), (shared, 0.8 / 1.8)):
        spikes = np.arange(60)[None, :, None] < counts[:, None]
        found, _ = value(measured(CountCorrelation, spikes, condition))
        assert found == pytest.approx(expected, abs=0.01 if expected == 0 else 0.05)


def test_correlation_needs_repeats_and_cells_that_vary():
    spikes = poisson(0.1, 12, 30, 3)
    assert value(measured(CountCorrelation, spikes, np.arange(12)))[1].startswith("0 repeats")
    spikes[:, :, :2] = False
    reason = "fewer than 2 cells whose counts vary"
    assert value(measured(CountCorrelation, spikes))[1] == reason


@pytest.mark.parametrize("dt", [0.5, 1.0])
def test_sttc_is_elephants(dt):
    spikes = poisson(np.array([0.01, 0.03]), 1, 1500, 2, seed=4)
    spikes[0, :-2, 1] |= spikes[0, 2:, 0] & (np.arange(1498) < 700)
    a, b = (train_of(np.flatnonzero(train), 1500, dt) for train in spikes[0].T)
    theirs = spike_time_tiling_coefficient(a, b, dt=(5 + dt / 2) * pq.ms)
    assert theirs > 0.2
    assert value(measured(STTC, spikes, dt=dt))[0] == pytest.approx(theirs)


def test_sttc_of_independent_and_of_equal_cells():
    spikes = poisson(0.02, 40, 500, 12)
    assert value(measured(STTC, spikes))[0] == pytest.approx(0, abs=0.01)
    assert value(measured(STTC, np.repeat(spikes[..., :1], 3, axis=2)))[0] == pytest.approx(1)


def test_sttc_does_not_look_into_other_trials():
    """Spikes at the end of a trial of one cell, and at the begin of the next of the other: never together."""
    spikes = np.zeros((20, 100, 2), bool)
    spikes[:, -1, 0] = spikes[:, 0, 1] = True
    # Nothing near, and 6 of 100 ms tiled, of both cells.
    assert value(measured(STTC, spikes))[0] == pytest.approx(-0.06)


def test_pairs_are_different_and_bounded():
    assert sorted(map(tuple, sampled_pairs(4).tolist())) == [
        (1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2),
    ]  # fmt: skip
    pairs = sampled_pairs(4000)
    assert pairs.shape == (PAIRS_MAX, 2)
    assert (pairs[:, 0] > pairs[:, 1]).all()
    assert len(np.unique(pairs, axis=0)) == PAIRS_MAX


def test_trials_that_were_not_seen_to_their_end_do_not_count():
    spikes = poisson(0.1, 24, 100, 3)
    some = CountCorrelation(design_of(spikes))
    for activity in parts(spikes, 12, 60):
        if not (activity.trials[0] == 12 and activity.start == 60):
            some.see(activity)
    assert value(some) == value(measured(CountCorrelation, spikes[:12]))
