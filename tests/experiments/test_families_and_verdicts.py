"""Holm's correction and what is concluded: wrong verdicts are rare, planted effects found."""

import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from v1builder.experiments.statistics import paired
from v1builder.experiments.statistics.family import (
    correct_family,
    correct_speed_family,
    holm,
    speed_verdict,
    verdict,
)
from v1builder.experiments.statistics.paired import compare_paired
from v1builder.experiments.statistics.survival import SpeedComparison


def test_holm_by_hand():
    """Sorted .01 .02 .03 .04 -> times 4 3 2 1, made monotone."""
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    assert np.isnan(holm([np.nan])).all()
    assert holm([]).shape == (0,)
    p = np.random.default_rng(0).uniform(0, 0.3, 12)
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])


def test_a_test_without_p_still_counts():
    """The family is declared: its size does not shrink when a test cannot be done."""
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04]), [0.03, np.nan, 0.08])


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    """No verdict rests on a bootstrap."""
    monkeypatch.setattr(paired, "_RESAMPLES", 99)


def row_of(differences, margin=0.015):
    d = np.asarray(differences, float)
    return compare_paired("x", np.full(len(d), 0.8), 0.8 + d, margin=margin, seed=0)


def spread(mean, sd, n=20):
    """Differences with exactly this mean and standard deviation."""
    x = np.random.default_rng(0).normal(size=n)
    return mean + sd * (x - x.mean()) / x.std(ddof=1)


@pytest.mark.parametrize(
    ("mean", "sd", "expected"),
    [
        (-0.05, 0.02, "helps"),
        (0.05, 0.02, "hurts"),
        (0.0, 0.02, "equivalent"),
        (
            -0.004,
            0.002,
            "equivalent",
        ),  # clearly not zero (t = -8.9), and clearly too small to matter
        (-0.015, 0.02, "helps"),  # t = -3.35: not zero, and may be larger than the margin
        (-0.008, 0.03, "not decided"),
        (0.0, 0.05, "not decided"),  # no difference, but the margin is not reached either
    ],
)
def test_verdicts(mean, sd, expected):
    (row,) = correct_family([row_of(spread(mean, sd))])
    assert verdict(row, valid=True) == expected
    assert verdict(row, valid=False) == "invalid"


def test_nothing_is_decided_without_spread():
    for difference in (0.0, -0.25):
        (row,) = correct_family([row_of(np.full(5, difference))])
        assert math.isnan(row.p_holm)
        assert verdict(row, valid=True) == "not decided"
    (single,) = correct_family([row_of([-0.3])])
    assert verdict(single, valid=True) == "not decided"


def test_both_claims_are_corrected_over_the_family():
    """The same differences decide alone and not among many."""
    rows = [row_of(spread(-0.01, 0.02)), row_of(spread(0.004, 0.02))]
    assert [verdict(correct_family([row])[0], valid=True) for row in rows] == [
        "helps",
        "equivalent",
    ]
    noise = [row_of(spread(0.0, 0.5))] * 20
    helps, equivalent, *_ = correct_family([*rows, *noise])
    assert helps.p_holm == pytest.approx(22 * helps.p_t)
    assert equivalent.p_tost_holm == pytest.approx(22 * equivalent.p_tost)
    assert verdict(helps, valid=True) == verdict(equivalent, valid=True) == "not decided"


def test_verdicts_of_speed():
    slower, faster = (
        SpeedComparison("x", 20, 3, 20, 20, score=score, p=0.001) for score in (-4.0, 4.0)
    )
    unknown = SpeedComparison("x", 20, 0, 0, 20)
    rows = correct_speed_family([slower, faster, unknown])
    assert [row.p_holm for row in rows[:2]] == pytest.approx([0.003, 0.003])
    assert [speed_verdict(row, valid=True) for row in rows] == ["helps", "hurts", "not decided"]
    assert speed_verdict(rows[0], valid=False) == "invalid"


def simulated(effects, rng, n=20, sd=0.02):
    """Verdicts of one experiment: a seed's network is good or bad in all conditions."""
    intact = 0.8 + rng.normal(0, 0.05, n)
    rows = [
        compare_paired("x", intact, intact + rng.normal(effect, sd, n), margin=0.015, seed=0)
        for effect in effects
    ]
    return [verdict(row, valid=True) for row in correct_family(rows)]


def test_wrong_verdicts_are_as_rare_as_declared():
    """Three conditions without effect, and three whose effect is the margin itself, 200 times each.

    An experiment is wrong when any of its rows is: at most 5 % of them, and 4.6 % of sampling error
    (three standard errors of 200 draws).
    """
    rng = np.random.default_rng(5)
    null = [simulated([0.0] * 3, rng) for _ in range(200)]
    false_differences = np.mean([bool({"helps", "hurts"} & set(found)) for found in null])
    assert false_differences <= 0.05 + 0.046
    assert (
        np.mean([found.count("equivalent") for found in null]) > 1.5
    )  # and it does find equivalence
    edge = [simulated([-0.015] * 3, rng) for _ in range(200)]
    assert np.mean(["equivalent" in found for found in edge]) <= 0.05 + 0.046


def test_a_planted_effect_is_found_and_a_sham_is_not():
    """-3 points at 20 seeds and sd 2 has t = 6.7; the sham beside it changes nothing."""
    rng = np.random.default_rng(6)
    found = [simulated([-0.03, 0.0], rng) for _ in range(50)]
    assert sum(planted == "helps" for planted, _ in found) >= 49
    assert sum(sham in ("helps", "hurts") for _, sham in found) <= 6
