import numpy as np
import pytest
from scipy import stats

from v1builder.analysis.detection import confusion, d_prime
from v1builder.schema.errors import ConfigError


def answers(hits, misses, false_alarms, rejections):
    target = np.repeat([1, 0], [hits + misses, false_alarms + rejections])
    return target, np.repeat([1, 0, 1, 0], [hits, misses, false_alarms, rejections])


def test_d_prime_by_hand():
    """Rates (15 + 1/2)/21 and (4 + 1/2)/21."""
    expected = stats.norm.ppf(15.5 / 21) - stats.norm.ppf(4.5 / 21)
    assert d_prime(*answers(15, 5, 4, 16)) == pytest.approx(expected, abs=1e-12)


def test_d_prime_at_the_ends_is_finite_and_at_chance_zero():
    best = d_prime(*answers(10, 0, 0, 10))
    assert best == pytest.approx(2 * stats.norm.ppf(10.5 / 11), abs=1e-12)
    assert d_prime(*answers(0, 10, 10, 0)) == pytest.approx(-best)
    for always in (answers(10, 0, 10, 0), answers(0, 10, 0, 10), answers(5, 5, 5, 5)):
        assert d_prime(*always) == pytest.approx(0, abs=1e-12)


def test_d_prime_recovers_that_of_an_observer_with_a_preference():
    """Equal-variance Gaussian evidence, 1.5 apart, with a criterion far from the middle."""
    rng = np.random.default_rng(0)
    target = np.repeat([0, 1], 200_000)
    choice = (rng.normal(1.5 * target, 1) > 1.6).astype(np.int64)
    assert (choice == target).mean() < 0.72  # an unbiased observer has .77
    assert d_prime(target, choice) == pytest.approx(1.5, abs=0.02)


def test_confusion_counts_pairs():
    target, choice = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 2, 1, 2, 2, 0])
    assert confusion(target, choice, 4).tolist() == [
        [1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0],
    ]  # fmt: skip


@pytest.mark.parametrize(("target", "choice"), [([0, 1, 2], [0, 1, 1]), ([0, 1], [0, 1, 1])])
def test_d_prime_is_for_two_classes(target, choice):
    with pytest.raises(ConfigError, match="two classes"):
        d_prime(np.array(target), np.array(choice))
