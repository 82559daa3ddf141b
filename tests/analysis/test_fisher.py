"""Linear Fisher information: unbiased for Gaussians of known covariance."""

import numpy as np
import pytest

from v1builder.analysis.fisher import discriminability, enough_trials


@pytest.mark.parametrize(("n_first", "n_second"), [(20, 20), (14, 40)])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_it_is_unbiased_within_two_standard_errors(n_first, n_second, shift):
    """10 correlated cells, 4 000 experiments of few trials: the naive d'^2 is twice too large."""
    rng = np.random.default_rng(3)
    n_cells, n = 10, 4000
    mixing = np.eye(n_cells) + 0.3 * rng.normal(size=(n_cells, n_cells))
    difference = np.full(n_cells, shift)
    first = rng.normal(size=(n_first, n, n_cells)) @ mixing.T
    second = rng.normal(size=(n_second, n, n_cells)) @ mixing.T + difference
    truth = difference @ np.linalg.solve(mixing @ mixing.T, difference)
    found = discriminability(first, second)
    error = found.std() / np.sqrt(n)
    assert abs(found.mean() - truth) < 2 * error
    assert error < 0.1 + 0.05 * truth


def test_it_is_the_published_formula():
    """Kanitscheider et al. 2015, equation 7, written out for one set of cells and T trials of each."""
    rng = np.random.default_rng(1)
    T, N = 30, 4
    first, second = rng.poisson(3.0, (T, N)), rng.poisson(4.0, (T, N))
    S = (np.cov(first.T) + np.cov(second.T)) / 2
    dm = second.mean(axis=0) - first.mean(axis=0)
    expected = dm @ np.linalg.inv(S) @ dm * (2 * T - N - 3) / (2 * T - 2) - 2 * N / T
    found = discriminability(first[:, None].astype(float), second[:, None].astype(float))
    assert found == pytest.approx([expected])


def test_cells_that_say_the_same_have_none():
    responses = np.random.default_rng(2).poisson(3.0, (2, 30, 1, 3)).astype(float)
    responses[..., 2] = responses[..., 0]
    assert np.isnan(discriminability(*responses)).all()


def test_trials_that_are_enough():
    assert enough_trials(12, 12, 10)
    assert not enough_trials(11, 12, 10)
