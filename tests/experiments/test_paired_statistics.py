import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from v1builder.experiments.statistics.paired import (
    compare_paired,
    equivalence_p,
    mean_interval,
    sign_flip_p,
    smallest_p,
    t_interval,
)
from v1builder.schema.errors import ConfigError

#: Student's (1908) sleep data: extra hours of sleep of ten patients under two drugs.
DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_sleep_data():
    """Published: mean difference 1.58, t = 4.0621, p = 0.002833, 95 % interval 0.7001 to 2.4599."""
    result = compare_paired("drug 2", DRUG_1, DRUG_2, margin=0.5, seed=0)
    assert result.difference.mean == pytest.approx(1.58)
    assert result.p_t == pytest.approx(0.002833, abs=1e-6)
    assert (result.t_low, result.t_high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert result.d_z == pytest.approx(4.0621277 / math.sqrt(10), abs=1e-6)
    assert result.difference.method == "BCa bootstrap"
    assert 0.6 < result.difference.low < 1.2 < 1.58 < result.difference.high < 2.8
    assert not result.equivalent
    assert math.isnan(result.p_holm)


def test_bca_is_scipys():
    x = np.array(DRUG_2)
    estimate = mean_interval(x, seed=4, confidence=0.9)
    expected = stats.bootstrap(
        (x,),
        np.mean,
        n_resamples=9999,
        confidence_level=0.9,
        method="BCa",
        rng=np.random.default_rng(4),
    ).confidence_interval
    assert (estimate.low, estimate.high) == (expected.low, expected.high)
    assert estimate.note == ""
    assert mean_interval(x, seed=4) == mean_interval(x, seed=4)


def test_bca_of_skewed_data_is_not_symmetric_and_covers():
    """Coverage of the mean of 20 exponential values: nominal 95 %, BCa is known to reach about 91-95 %."""
    rng = np.random.default_rng(1)
    hits, above = 0, 0
    for draw in range(100):
        estimate = mean_interval(rng.exponential(1.0, 20), seed=draw)
        hits += estimate.low <= 1.0 <= estimate.high
        above += estimate.high - estimate.mean > estimate.mean - estimate.low
    assert 84 <= hits <= 99
    assert above > 90


def test_few_seeds_are_marked():
    estimate = mean_interval([0.1, 0.2, 0.4], seed=0)
    assert estimate.n == 3
    assert "only 3 values" in estimate.note
    assert 0.1 <= estimate.low < estimate.mean < estimate.high <= 0.4 + 1e-12
    result = compare_paired("a", [0, 0, 0], [0.1, 0.2, 0.4], margin=0.05, seed=0)
    assert result.p_smallest == result.p_sign_flip == 0.25


def test_degenerate_values():
    single = mean_interval([0.5], seed=0)
    assert single.method == "none"
    assert math.isnan(single.low)
    equal = mean_interval([0.5, 0.5, 0.5], seed=0)
    assert (equal.low, equal.high, equal.method) == (0.5, 0.5, "all values equal")
    result = compare_paired("same", [0.5, 0.6], [0.5, 0.6], margin=0.1, seed=0)
    assert math.isnan(result.d_z)
    assert math.isnan(result.p_t)
    assert math.isnan(result.p_tost)
    assert not result.equivalent
    assert result.p_sign_flip == 1.0


def test_where_bca_is_undefined_the_fallback_is_named():
    """The squares in BCa's acceleration underflow here: 0 / 0."""
    tiny = [1e-300, 2e-300, 4e-300]
    estimate = mean_interval(tiny, seed=0)
    assert estimate.method == "percentile bootstrap"
    assert 1e-300 <= estimate.low < estimate.high <= 4.1e-300


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8))
def test_sign_flip_counts_all_patterns(differences):
    d = np.array(differences)
    sums = [
        abs(sum(s * x for s, x in zip(signs, d, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(d))
    ]
    close = 1e-9 * np.abs(d).sum()
    least = np.mean(np.array(sums) >= abs(d.sum()) + close)
    most = np.mean(np.array(sums) >= abs(d.sum()) - close)
    assert least <= sign_flip_p(d, seed=0) <= most


def test_sign_flip_agrees_with_scipy_and_its_sampled_form_with_the_exact():
    d = np.subtract(DRUG_2, DRUG_1)
    expected = stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert sign_flip_p(d, seed=0) == pytest.approx(expected)
    many = np.random.default_rng(0).normal(0.5, 1, 16)
    exact = stats.permutation_test(
        (many,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert sign_flip_p(many, seed=0) == pytest.approx(exact, abs=0.01)


def test_the_smallest_p_is_that_of_differences_of_one_sign():
    for n in (1, 2, 5, 14, 15, 20):
        assert sign_flip_p(np.arange(1.0, n + 1), seed=0) == pytest.approx(
            smallest_p(n), abs=2e-4 if n > 14 else 1e-12
        )


def test_tost_agrees_with_statsmodels():
    rng = np.random.default_rng(2)
    a = rng.normal(0.8, 0.02, 12)
    b = a + rng.normal(0.002, 0.01, 12)
    for margin in (0.001, 0.01, 0.05):
        assert equivalence_p(b - a, margin) == pytest.approx(ttost_paired(b, a, -margin, margin)[0])


def test_t_interval_agrees_with_scipy():
    expected = stats.ttest_1samp(DRUG_1, 0).confidence_interval(0.95)
    assert t_interval(DRUG_1) == pytest.approx((expected.low, expected.high))
    assert all(math.isnan(x) for x in t_interval([1.0]))


def test_wrong_arguments():
    with pytest.raises(ConfigError, match="same seeds"):
        compare_paired("a", [1.0, 2.0], [1.0], margin=0.1, seed=0)
    with pytest.raises(ConfigError, match="margin must be positive"):
        compare_paired("a", [1.0, 2.0], [1.0, 3.0], margin=0.0, seed=0)
    with pytest.raises(ConfigError, match="finite"):
        mean_interval([1.0, np.nan], seed=0)
    with pytest.raises(ConfigError, match="finite"):
        mean_interval([], seed=0)
    with pytest.raises(ConfigError, match="confidence"):
        mean_interval([1.0, 2.0], seed=0, confidence=95)
