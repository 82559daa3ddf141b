import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from v1builder.experiments.statistics.mixed import crossed, mixed_model
from v1builder.experiments.statistics.power import (
    detectable_difference,
    trial_noise,
    trial_noise_of_d_prime,
)


@pytest.mark.parametrize("n", [5, 20, 100])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 6])
def test_the_detectable_difference_has_the_power(n, alpha):
    """Power of a two-sided t test from the noncentral t distribution."""
    difference = detectable_difference(2.0, n, alpha=alpha)
    shift, limit = difference / 2.0 * math.sqrt(n), stats.t.ppf(1 - alpha / 2, n - 1)
    power = stats.nct.sf(limit, n - 1, shift) + stats.nct.cdf(-limit, n - 1, shift)
    assert power == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize(("n", "alpha"), [(2, 0.05), (3, 0.05 / 6), (3, 0.05)])
def test_the_detectable_difference_of_few_seeds(n, alpha):
    """Simulated, since scipy's noncentral t fails there."""
    x = np.random.default_rng(0).normal(detectable_difference(2.0, n, alpha=alpha), 2.0, (40000, n))
    found = stats.ttest_1samp(x, 0, axis=1).pvalue < alpha
    assert found.mean() == pytest.approx(0.8, abs=0.008)


def test_power_published_for_two_points():
    """With a standard deviation of 2 points, 20 seeds find 2 points with power .99, 3 with .18."""
    assert detectable_difference(2.0, 20, alpha=0.05, power=0.99) == pytest.approx(2.0, abs=0.05)
    assert detectable_difference(2.0, 3, alpha=0.05, power=0.18) == pytest.approx(2.0, abs=0.05)


def test_power_is_unknown_without_spread():
    assert math.isnan(detectable_difference(0.02, 1, alpha=0.05))
    assert math.isnan(detectable_difference(0.0, 20, alpha=0.05))
    assert math.isnan(detectable_difference(math.nan, 20, alpha=0.05))


def test_noise_by_trials_alone():
    """Of two simulated networks; published: 2.5 to 3.5 points at 256 trials, .9 to 1.25 at 2 048."""
    for accuracy, points_256, points_2048 in ((0.8, 3.5, 1.25), (0.9, 2.65, 0.94)):
        assert 100 * trial_noise(accuracy, 256) == pytest.approx(points_256, abs=0.05)
        assert 100 * trial_noise(accuracy, 2048) == pytest.approx(points_2048, abs=0.01)
    a, b = np.random.default_rng(0).binomial(256, 0.8, (2, 20000)) / 256
    assert (a - b).std() == pytest.approx(trial_noise(0.8, 256), rel=0.03)


def test_noise_of_d_prime_by_simulation():
    """d' = 2 Phi^-1(accuracy) of an unbiased observer."""
    accuracy = stats.norm.cdf(0.8)
    a, b = np.random.default_rng(0).binomial(2048, accuracy, (2, 20000)) / 2048
    difference = 2 * stats.norm.ppf(a) - 2 * stats.norm.ppf(b)
    assert difference.std() == pytest.approx(trial_noise_of_d_prime(1.6, 2048), rel=0.03)


def runs(network_sd, seed_sd, noise=0.02, n_networks=8, n_seeds=6):
    rng = np.random.default_rng(7)
    networks, seeds = rng.normal(0, network_sd, n_networks), rng.normal(0, seed_sd, n_seeds)
    effects = {"intact": 0.0, "mean(ei)": -0.03, "dose(1.5, ei) | no_asc": 0.0}
    return pd.DataFrame(
        [
            {
                "value": 0.8 + effect + networks[i] + seeds[j] + rng.normal(0, noise),
                "condition": name,
                "network": f"network {i}",
                "seed": j,
            }
            for name, effect in effects.items()
            for i in range(n_networks)
            for j in range(n_seeds)
        ]
    )


def test_the_mixed_model_of_a_balanced_design_is_its_analysis_of_variance():
    """Restricted maximum likelihood then equals the mean squares, as long as these are positive."""
    table = runs(0.05, 0.04)
    found = mixed_model(table, "intact")
    assert found.converged
    assert [effect.name for effect in found.effects] == ["mean(ei)", "dose(1.5, ei) | no_asc"]
    y = table["value"].to_numpy().reshape(3, 8, 6)
    means = [y.mean(axis=axes) for axes in ((1, 2), (0, 2), (0, 1))]
    fitted = means[0][:, None, None] + means[1][None, :, None] + means[2][None, None] - 2 * y.mean()
    residual = ((y - fitted) ** 2).sum() / (144 - 1 - 2 - 7 - 5)
    error = math.sqrt(2 * residual / 48)
    for effect, mean in zip(found.effects, means[0][1:] - means[0][0], strict=True):
        assert effect.mean == pytest.approx(mean)
        half = stats.norm.ppf(0.975) * error
        assert (effect.low, effect.high) == pytest.approx((mean - half, mean + half), rel=1e-2)
        assert effect.p == pytest.approx(2 * stats.norm.sf(abs(mean) / error), rel=0.1)
    network_variance = (18 * means[1].var(ddof=1) - residual) / 18
    seed_variance = (24 * means[2].var(ddof=1) - residual) / 24
    assert found.residual_sd == pytest.approx(math.sqrt(residual), rel=1e-2)
    assert found.network_sd == pytest.approx(math.sqrt(network_variance), rel=2e-2)
    assert found.seed_sd == pytest.approx(math.sqrt(seed_variance), rel=2e-2)


def test_spread_that_is_not_there():
    found = mixed_model(runs(0.0, 0.0), "intact")
    assert found.network_sd < 0.01
    assert found.seed_sd < 0.01
    assert found.effects[0].p < 1e-6


def test_when_networks_are_crossed_with_seeds():
    assert crossed(["a", "a", "b", "b"], [1, 2, 1, 2])
    assert not crossed([1, 2, 3], [1, 2, 3])
    assert not crossed(["a", "a", "b"], [1, 2, 1])
    assert not crossed(["a", "a"], [1, 2])
