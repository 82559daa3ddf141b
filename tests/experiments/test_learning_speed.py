"""Cox's model over paired seeds: partial likelihood by hand, exact tests, what cannot be estimated."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from v1builder.experiments.statistics.survival import Runs, compare_speed, martingale_residuals
from v1builder.schema.errors import ConfigError


def runs(steps, last=100):
    """None never reached the criterion and was trained for `last` steps."""
    return Runs(
        np.arange(len(steps)),
        np.array([last if step is None else step for step in steps], float),
        np.array([step is not None for step in steps]),
    )


def test_the_hazard_ratio_by_hand():
    """Events at 1 (intact), 2 (ablated), 3 (intact); the other ablated run is censored at 4.

    L(r) = 1 / (2 + 2 r) * r / (1 + 2 r) * 1 / (1 + r), whose derivative vanishes at 4 r^2 + r - 1 = 0.
    """
    found = compare_speed("x", runs([1, 3]), runs([2, None], last=4), seed=0)
    assert found.hazard_ratio == pytest.approx((math.sqrt(17) - 1) / 8, rel=1e-6)
    assert (found.reached, found.reached_baseline, found.runs, found.n) == (1, 2, 2, 2)
    assert math.isnan(found.step_ratio)


def partial_likelihood(log_ratio, steps, reached, x):
    """Efron's log partial likelihood of one covariate, written from its definition."""
    risk = np.exp(log_ratio * x)
    total = 0.0
    for time in np.unique(steps[reached]):
        dying = reached & (steps == time)
        at_risk, events = risk[steps >= time].sum(), risk[dying]
        total += log_ratio * x[dying].sum()
        for k in range(len(events)):
            total -= np.log(at_risk - k / len(events) * events.sum())
    return total


def many(n=20, factor=1.6, seed=3):
    rng = np.random.default_rng(seed)
    base = 40 * np.exp(rng.normal(0, 0.4, n))

    def trained(factor):
        steps = np.ceil(factor * base * np.exp(rng.normal(0, 0.4, n)) / 10) * 10
        return Runs(np.arange(n), np.minimum(steps, 80), steps <= 80)

    return trained(1.0), trained(factor)


def test_tied_and_censored_steps():
    """Validations at every tenth step, some runs never there: the maximum found by another way."""
    intact, ablated = many()
    found = compare_speed("x", intact, ablated, seed=0)
    steps = np.concatenate([intact.steps, ablated.steps])
    reached = np.concatenate([intact.reached, ablated.reached])
    x = np.repeat([0.0, 1.0], 20)
    best = minimize_scalar(lambda b: -partial_likelihood(b, steps, reached, x), bounds=(-5, 5))
    assert math.log(found.hazard_ratio) == pytest.approx(best.x, abs=1e-4)
    assert found.low < found.hazard_ratio < found.high < 1
    assert found.p < 0.05
    assert found.score < 0


def test_the_interval_is_the_sandwich_over_seeds():
    """Lin and Wei's residuals summed by seed, with n / (n - 1) and Student's t; no ties."""
    rng = np.random.default_rng(1)
    n = 15
    intact, ablated = (
        Runs(np.arange(n), mean * rng.exponential(size=n), np.ones(n, bool)) for mean in (1.0, 2.0)
    )
    found = compare_speed("x", intact, ablated, seed=0)
    beta = math.log(found.hazard_ratio)
    t = np.concatenate([intact.steps, ablated.steps])
    x = np.repeat([0.0, 1.0], n)
    risk = np.exp(beta * x)
    mean_x = np.array([(risk * x)[t >= u].sum() / risk[t >= u].sum() for u in t])
    steps_of_hazard = np.array([1 / risk[t >= u].sum() for u in t])
    residual = (x - mean_x) - risk * np.array(
        [sum(steps_of_hazard[t <= u] * (xi - mean_x[t <= u])) for u, xi in zip(t, x, strict=True)]
    )
    information = sum(mean_x * (1 - mean_x))
    by_seed = residual[:n] + residual[n:]
    error = math.sqrt((by_seed**2).sum() * n / (n - 1)) / information
    half = stats.t.ppf(0.975, n - 1) * error
    assert (math.log(found.low), math.log(found.high)) == pytest.approx(
        (beta - half, beta + half), rel=1e-5
    )
    assert found.p_cox == pytest.approx(2 * stats.t.sf(abs(beta) / error, n - 1), rel=1e-4)


def test_p_exchanges_conditions_within_seeds():
    """All 2^6 exchanges, the log-rank numerator of each computed from its definition."""
    intact, ablated = many(n=6, factor=3.0)
    found = compare_speed("x", intact, ablated, seed=0)

    def log_rank(swap):
        a = (
            np.where(swap, intact.steps, ablated.steps),
            np.where(swap, intact.reached, ablated.reached),
        )
        b = (
            np.where(swap, ablated.steps, intact.steps),
            np.where(swap, ablated.reached, intact.reached),
        )
        total = 0.0
        for time in np.unique(np.concatenate([a[0][a[1]], b[0][b[1]]])):
            events_a, events_b = (((s == time) & r).sum() for s, r in (a, b))
            at_risk_a, at_risk_b = ((s >= time).sum() for s, _ in (a, b))
            total += events_a - (events_a + events_b) * at_risk_a / (at_risk_a + at_risk_b)
        return total

    observed = log_rank(np.zeros(6, bool))
    assert found.score == pytest.approx(observed)
    every = [log_rank(np.array(swap)) for swap in itertools.product((False, True), repeat=6)]
    assert found.p == pytest.approx(np.mean(np.abs(every) >= abs(observed) - 1e-9))
    assert found.p_smallest == 2 / 64


def test_martingale_residuals_sum_to_zero():
    intact, _ = many()
    assert martingale_residuals(intact.steps, intact.reached).sum() == pytest.approx(0, abs=1e-12)


def test_what_says_nothing_about_speed():
    nobody = compare_speed("x", runs([None] * 5), runs([None] * 5), seed=0)
    assert "no run reached the criterion" in nobody.note
    at_once = compare_speed("x", runs([10] * 5), runs([10] * 5), seed=0)
    assert "at the same validation" in at_once.note
    for found in (nobody, at_once):
        assert math.isnan(found.p)
        assert math.isnan(found.hazard_ratio)


def test_all_one_way_has_a_p_value_but_no_ratio():
    """No ablated run reaches the criterion, every intact one does: the likelihood grows without end."""
    found = compare_speed("x", runs([10, 20, 30, 20, 10, 10]), runs([None] * 6), seed=0)
    assert math.isnan(found.hazard_ratio)
    assert "slower throughout" in found.note
    assert found.p == 2 / 64
    reverse = compare_speed("x", runs([None] * 6), runs([10, 20, 30, 20, 10, 10]), seed=0)
    assert "faster throughout" in reverse.note


def test_without_censoring_the_ratio_of_steps_is_known_too():
    found = compare_speed("x", runs([10, 20, 40]), runs([20, 10, 160]), seed=0)
    assert found.step_ratio == pytest.approx(4 ** (1 / 3))
    assert "no run is censored" in found.note
    from_the_start = compare_speed("x", runs([0, 20, 40]), runs([20, 10, 160]), seed=0)
    assert math.isnan(from_the_start.step_ratio)
    assert 0 < from_the_start.p <= 1


def test_wrong_verdicts_of_speed_are_rare():
    """Equal conditions, 150 experiments of 12 seeds: at most 5 % and three standard errors."""
    p = np.array([compare_speed("x", *many(12, 1.0, seed), seed=0).p for seed in range(150)])
    assert np.mean(p < 0.05) <= 0.05 + 0.053


def test_other_seeds_are_refused():
    with pytest.raises(ConfigError, match="same seeds"):
        compare_speed("x", runs([1, 2]), runs([1, 2, 3]), seed=0)
