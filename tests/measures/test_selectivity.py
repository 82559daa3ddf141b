"""Tuning indices of spikes: those of `analysis.tuning` of their rates, and of known curves."""

import numpy as np
import pytest
from recorded import design_of, whole

from v1builder.analysis import tuning
from v1builder.measures import MEASURES

NAMES = ("osi_vector", "osi_pref_orth", "dsi_vector", "dsi_pref_null")
EIGHT = np.arange(8) * 45.0


def index(name, spikes, condition, directions=EIGHT):
    measure = MEASURES[name](design_of(spikes, directions=directions))
    measure.see(whole(spikes, condition=condition))
    return measure.of_cells()


def spikes_of(counts, n_steps=40):
    """[trial, step, cell] with these counts [trial, cell]."""
    return np.arange(n_steps)[None, :, None] < np.asarray(counts)[:, None]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_index_of_the_mean_rates(name):
    """Whatever the order of trials, with trials of a still condition and unequal numbers between."""
    rng = np.random.default_rng(0)
    condition = np.concatenate([np.arange(8), np.arange(8), [8, 8, -1], [3, 3, 5]])
    rng.shuffle(condition)
    counts = rng.integers(0, 30, (len(condition), 5))
    value, _ = index(name, spikes_of(counts), condition, np.append(EIGHT, np.nan))
    rates = np.stack([counts[condition == k].mean(axis=0) for k in range(8)])
    np.testing.assert_allclose(value, getattr(tuning, name)(rates, EIGHT))


def test_a_cosine():
    """10 + 10 cos 2 (theta - 90): half by the vector, 1 by preferred and orthogonal; no direction."""
    counts = np.round(10 + 10 * np.cos(np.deg2rad(2 * (EIGHT - 90)))).astype(int)
    spikes = spikes_of(counts[:, None])
    found = [index(name, spikes, np.arange(8))[0][0] for name in NAMES]
    assert found == pytest.approx([0.5, 1.0, 0.0, 0.0], abs=1e-12)


def test_stimuli_of_one_direction_count_together():
    counts = np.array([[20], [0], [10], [0], [0], [0], [0], [0], [0]])
    directions = np.append(EIGHT, 0.0)  # the last moves as the first does
    value, _ = index("dsi_vector", spikes_of(counts), np.arange(9), directions)
    expected = tuning.dsi_vector(np.array([10, 0, 10, 0, 0, 0, 0, 0.0])[:, None], EIGHT)
    assert value == pytest.approx(expected)


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_said_has_a_reason(name):
    counts = np.full((8, 2), 9)
    counts[:, 1] = [9, 0, 0, 0, 0, 0, 0, 0]
    value, reason = index(name, spikes_of(counts), np.arange(8))
    assert np.isnan(value).tolist() == [False, True]
    assert reason == "no cell with 10 spikes"
    for condition, directions, said in (
        (np.arange(8), None, "nothing that was shown has a direction"),
        (np.append(np.arange(7), 6), EIGHT, "no trial with direction 315 degrees"),
        (np.arange(8), np.arange(8) * 10.0, "the tuning index is not defined for these data"),
    ):
        value, reason = index(name, spikes_of(counts), condition, directions)
        assert np.isnan(value).all()
        assert said in reason
