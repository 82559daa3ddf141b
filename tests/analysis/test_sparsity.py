"""Sparsity: its ends, and a closed form between them."""

import numpy as np
import pytest

from v1builder.analysis.sparsity import sparsity


def test_equal_rates_are_not_sparse_and_a_single_one_is():
    rates = np.array([[2.0, 0.0, 0.0], [2.0, 5.0, 0.0], [2.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    assert sparsity(rates) == pytest.approx([0, 1, np.nan], nan_ok=True)
    assert sparsity(rates.T, axis=1) == pytest.approx([0, 1, np.nan], nan_ok=True)


def test_k_of_n_equal_rates():
    """1 - S = (k / n - 1 / n) / (1 - 1 / n)."""
    rates = np.r_[np.ones(3), np.zeros(7)]
    assert sparsity(rates) == pytest.approx(1 - 2 / 9)


def test_exponential_rates():
    """<r>^2 / <r^2> = 1 / 2."""
    rates = -np.log(1 - (np.arange(100_000) + 0.5) / 100_000)
    assert sparsity(rates) == pytest.approx(0.5, abs=1e-3)
