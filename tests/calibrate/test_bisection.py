"""Root finding on rate functions whose roots are known."""

import numpy as np
import pytest

from v1builder.calibrate.bisection import BOUND, LGN_EXCEEDS, MET, STEPS, find_roots

N = 200


def rate_functions():
    """Thresholds, gains and exponents as of cells far apart: rate = offset + gain (w - w0)+ ^ power."""
    rng = np.random.default_rng(3)
    gain, w0 = 10 ** rng.uniform(-2, 2, N), rng.uniform(0, 40, N)
    power, target = rng.uniform(0.5, 3, N), 10 ** rng.uniform(-1, 1.5, N)

    def rate(w):
        return gain * np.maximum(w - w0, 0) ** power

    return rate, target, w0, power, w0 + (target / gain) ** (1 / power)


def test_every_root_is_met_in_few_simulations():
    rate, target, w0, power, root = rate_functions()
    found = find_roots(
        lambda w, _: rate(w), target, start=np.full(N, 5.0), upper=np.full(N, 1e9), tolerance=0.01
    )
    assert (found.status == MET).all()
    np.testing.assert_allclose(found.rate, rate(found.weight))
    np.testing.assert_allclose(found.rate, target, rtol=0.01)
    # A relative error of the rate is that of w - w0 times the exponent.
    assert (abs((found.weight - w0) / (root - w0) - 1) <= 0.0102 / power).all()
    assert found.n_runs <= 25


def test_models_that_are_met_are_not_measured_again():
    rate, target, *_ = rate_functions()
    asked = []

    def measure(w, wanted):
        asked.append(wanted.sum())
        return np.where(wanted, rate(w), np.nan)

    found = find_roots(measure, target, start=np.full(N, 5.0), upper=np.full(N, 1e9))
    assert (found.status == MET).all()
    assert asked[0] == N
    assert asked == sorted(asked, reverse=True)
    assert asked[-1] < N / 10


def test_what_cannot_be_reached_is_said_with_the_nearest_weight():
    floor = np.array([3.0, 0.0, 0.0])

    def measure(w, _):
        return np.array([floor[0] + w[0], 0.01 * w[1], 1.0 if w[2] < 7 else 4.0])

    found = find_roots(
        measure,
        np.full(3, 2.0),
        start=np.full(3, 1.0),
        upper=np.full(3, 100.0),
        max_runs=100,
    )
    assert list(found.status) == [LGN_EXCEEDS, BOUND, STEPS]
    np.testing.assert_allclose(found.weight[:2], [0.0, 100.0])
    np.testing.assert_allclose(found.rate, [3.0, 1.0, 1.0])
    assert found.weight[2] < 7


@pytest.mark.parametrize("start", [0.01, 1.0, 90.0])
def test_a_staircase_as_fine_as_the_tolerance_is_met_from_anywhere(start):
    found = find_roots(
        lambda w, _: np.floor(100 * w**2) / 100,
        np.array([2.0]),
        start=np.array([start]),
        upper=np.array([100.0]),
    )
    assert found.status[0] == MET
    assert abs(found.rate[0] - 2) <= 0.02
