"""CKA and RSA: rotations, noise, and independent responses."""

import numpy as np
import pytest

from v1builder.analysis.similarity import linear_cka, rank_similarity, response_distances


def rotation(rng, n):
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


def test_rotated_and_scaled_responses_are_the_same():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 12)) * np.arange(1, 13)
    y = 3 * x @ rotation(rng, 12) + 5
    assert linear_cka(x, y) == pytest.approx(1)
    condition = np.repeat(np.arange(8), 5)
    distances = [response_distances(each, condition) for each in (x, y)]
    assert rank_similarity(*distances) == pytest.approx(1)
    assert distances[1] == pytest.approx(9 * distances[0])


def test_independent_responses_of_many_cells_are_not_alike():
    """The plain index is .95 here."""
    rng = np.random.default_rng(1)
    pairs = rng.normal(size=(20, 2, 30, 300))
    pairs[..., :2] *= 8  # something to be alike in
    found = [linear_cka(x, y) for x, y in pairs]
    assert np.mean(found) == pytest.approx(0, abs=0.03)
    x, y = rng.normal(size=(2, 30, 600))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    plain = ((x.T @ y) ** 2).sum() / np.sqrt(((x.T @ x) ** 2).sum() * ((y.T @ y) ** 2).sum())
    assert plain > 0.9


def test_independent_noise_of_trials_takes_little_from_cka():
    """One geometry of 60 trials, noise as large as it in each of 200 cells of either network."""
    rng = np.random.default_rng(2)
    shared = rng.normal(size=(60, 3))
    noisy = [shared @ rng.normal(size=(3, 200)) + 1.7 * rng.normal(size=(60, 200)) for _ in "ab"]
    assert linear_cka(*noisy) > 0.9


def test_distances_of_conditions_are_unbiased():
    """0 and 1 are the same, 2 is apart by 3: noise alone would put all of them 2 x 50 / 4 apart."""
    rng = np.random.default_rng(3)
    condition = np.repeat([0, 1, 2], 4)
    mean = np.zeros((12, 50))
    mean[8:, 0] = 3.0
    found = [response_distances(mean + rng.normal(size=(12, 50)), condition) for _ in range(300)]
    error = np.std(found, axis=0) / np.sqrt(300)
    assert (np.abs(np.mean(found, axis=0) - [0, 9, 9]) < 3 * error).all()


def test_what_is_equal_everywhere_has_no_similarity():
    assert np.isnan(rank_similarity(np.zeros(6), np.arange(6.0)))
    assert np.isnan(linear_cka(np.zeros((10, 3)), np.random.default_rng(0).normal(size=(10, 3))))
