"""Memory capacity of delay lines, and the rank of states after different and after repeated inputs."""

import numpy as np
import pytest

from v1builder.analysis.memory_capacity import memory_capacity
from v1builder.analysis.state_rank import state_rank


def delay_line(signal, n):
    """[sequence, time, n] what came in 1 ... n times ago."""
    states = np.zeros((*signal.shape, n))
    for k in range(n):
        states[:, k + 1 :, k] = signal[:, : -k - 1]
    return states


@pytest.fixture
def signal():
    return np.random.default_rng(0).uniform(-1, 1, (2, 600))


def capacity(states, signal, max_delay=20):
    return memory_capacity(states, signal, max_delay=max_delay, rng=np.random.default_rng(1))


@pytest.mark.parametrize("n", [1, 5, 12])
def test_a_delay_line_of_n_has_a_capacity_of_n(signal, n):
    found = capacity(delay_line(signal, n), signal)
    assert found.total == pytest.approx(n, abs=0.1)
    np.testing.assert_allclose(found.by_delay[:n], 1, atol=1e-6)
    assert (found.by_delay[n:] < 0.05).all()
    assert found.reason == ""


def test_a_mixed_delay_line_has_the_same(signal):
    """What a readout can tell does not depend on the axes."""
    mixed = delay_line(signal, 8) @ np.linalg.qr(np.random.default_rng(2).normal(size=(8, 8)))[0]
    assert capacity(mixed, signal).total == pytest.approx(8, abs=0.1)


def test_noise_has_none_though_it_explains_a_little_of_everything(signal):
    noise = np.random.default_rng(3).normal(size=(2, 600, 150))
    found = capacity(noise, signal)
    assert found.floor > 0.02
    assert abs(found.total) < 0.15


def test_half_of_the_variance_is_half_a_capacity(signal):
    """r^2 = 1/2 of a past number read through as much noise."""
    line = delay_line(signal, 1)
    noisy = line + np.random.default_rng(4).uniform(-1, 1, line.shape)
    assert capacity(noisy, signal).total == pytest.approx(0.5, abs=0.08)


def test_too_little_is_no_number(signal):
    for states, given, reason in (
        (delay_line(signal, 3)[:, :120], signal[:, :120], "held-out"),
        (np.zeros((2, 600, 4)), signal, "no state varies"),
    ):
        found = capacity(states, given)
        assert np.isnan(found.total)
        assert reason in found.reason


def test_random_inputs_have_full_rank_and_repeated_ones_one():
    rng = np.random.default_rng(0)
    states = rng.normal(size=(20, 50))
    assert state_rank(states) == 20
    assert state_rank(np.tile(states[:1], (20, 1))) == 1
    assert state_rank(states[:, :7]) == 7
    assert state_rank(np.zeros((20, 50))) == 0


def test_copies_with_little_noise_generalise():
    """Noise of .1 % of a state is below the 1 % that counts; as much noise as state is not."""
    rng = np.random.default_rng(1)
    one, noise = rng.normal(size=(1, 50)), rng.normal(size=(20, 50))
    assert state_rank(one + 1e-3 * noise) == 1
    assert state_rank(one + noise) == 20
