"""Intrinsic timescales: exponentials, and spikes whose rate is an Ornstein-Uhlenbeck process."""

import numpy as np
import pytest

from v1builder.analysis.timescale import fitted_timescale, lagged_covariance

LAGS = 50.0 * np.arange(1, 11)


@pytest.mark.parametrize("tau", [30.0, 80.0, 250.0])
def test_an_exponential_with_an_offset_gives_its_time_constant(tau):
    found, reason = fitted_timescale(0.3 * (np.exp(-LAGS / tau) + 0.4), 50.0)
    assert (found, reason) == (pytest.approx(tau, rel=1e-3), "")


@pytest.mark.parametrize(
    ("course", "reason"),
    [
        (0.01 * np.random.default_rng(0).normal(size=10), "no decay"),
        (0.2 + 0.001 * LAGS, "no decay"),
        (np.full(10, 0.3), "no decay"),
        (np.exp(-LAGS[:4] / 80), "4 lags of 50 ms"),
    ],
)
def test_what_does_not_decay_has_none(course, reason):
    found, why = fitted_timescale(course, 50.0)
    assert np.isnan(found)
    assert reason in why


def test_ou_poisson_counts_have_the_time_constant_of_their_rate():
    """Doubly stochastic, tau 80 ms: 300 trials of 600 ms, 60 cells of about 20 Hz."""
    rng = np.random.default_rng(1)
    n_trials, dt, tau = 300, 5.0, 80.0
    keep = np.exp(-dt / tau)
    x = np.zeros((n_trials, 120, 60))
    noise = rng.normal(size=x.shape)
    x[:, 0] = noise[:, 0]
    for step in range(1, 120):
        x[:, step] = keep * x[:, step - 1] + np.sqrt(1 - keep**2) * noise[:, step]
    spikes = rng.poisson(np.maximum(20 * (1 + 0.4 * x), 0) * dt / 1000)
    counts = spikes.reshape(n_trials, 12, 10, 60).sum(axis=2)
    covariance, scale = lagged_covariance(counts - counts.mean(axis=0), 10)
    autocorrelation = covariance.sum(axis=1) / scale.sum(axis=1)
    assert autocorrelation[0] == pytest.approx(1)
    # Variance of a count: mean m, and m^2 c^2 times what averaging over the bin leaves.
    a = 50 / tau
    within, between = 2 * (a - 1 + np.exp(-a)) / a**2, (1 - np.exp(-a)) ** 2 / a**2
    expected = 0.16 * between / (1 / 1.0 + 0.16 * within)
    assert autocorrelation[1] == pytest.approx(expected, rel=0.1)
    found, _ = fitted_timescale(autocorrelation[1:], 50.0)
    assert found == pytest.approx(tau, rel=0.15)
