"""Logistic regression of many problems at once: the answers of scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from v1builder.analysis.logistic import fitted_logistic, predicted


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_it_is_scikit_learns(n_classes):
    rng = np.random.default_rng(n_classes)
    y = np.arange(45) % n_classes
    x = rng.poisson(0.4, (3, 45, 8)).astype(float)
    x[..., :n_classes] += rng.poisson(0.5, (3, 45, n_classes)) * np.eye(n_classes)[y]
    weights = np.ones((2, 1, 45))
    weights[1, 0, ::4] = 0
    weights[1, 0, 1::4] = 2.5
    fits = fitted_logistic(x[None], y, weights)
    assert fits.shape == (2, 3, 9, n_classes)
    for fold, problem in np.ndindex(2, 3):
        theirs = LogisticRegression(tol=1e-9, max_iter=5000)
        theirs.fit(x[problem], y, sample_weight=weights[fold, 0])
        ours = fits[fold, problem] - fits[fold, problem].mean(axis=1, keepdims=True)
        coefficients = np.concatenate([theirs.coef_, theirs.intercept_[:, None]], axis=1).T
        if n_classes == 2:
            coefficients = np.concatenate([-coefficients, coefficients], axis=1) / 2
        coefficients = coefficients - coefficients.mean(axis=1, keepdims=True)
        assert ours == pytest.approx(coefficients, abs=1e-3)
        np.testing.assert_array_equal(
            predicted(x[problem], fits[fold, problem]), theirs.predict(x[problem])
        )


def test_nothing_to_go_by_takes_the_most_frequent():
    fit = fitted_logistic(np.zeros((1, 6, 2)), np.array([0, 0, 0, 0, 1, 1]), np.ones(6))
    assert predicted(np.zeros((1, 6, 2)), fit).tolist() == [[0] * 6]
    probability = np.exp(fit[0, 2]) / np.exp(fit[0, 2]).sum()
    assert probability == pytest.approx([4 / 6, 2 / 6], abs=1e-4)
