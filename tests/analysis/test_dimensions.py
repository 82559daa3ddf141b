"""Dimensions of responses: Gaussians of known spectra."""

import numpy as np
import pytest

from v1builder.analysis.dimensions import (
    held_out_variances,
    participation_terms,
    power_law_exponent,
    signal_variances,
)


def gaussian(rng, n, spectrum):
    """[n, cells] with those variances along random orthogonal directions."""
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(len(spectrum),) * 2))[0]
    return rng.normal(size=(n, len(spectrum))) * np.sqrt(spectrum) @ turn.T


def test_participation_ratio_is_not_bounded_by_the_number_of_trials():
    """100 equal independent cells in halves of 30 trials; (tr C)^2 / tr C^2 of all 60 would be near 37."""
    rng = np.random.default_rng(0)
    spectrum = np.ones(100)
    terms = np.array(
        [participation_terms(*gaussian(rng, 60, spectrum).reshape(2, 30, -1)) for _ in range(60)]
    )
    traces, both = terms.mean(axis=0)
    assert traces / both == pytest.approx(100, rel=0.03)


def test_participation_ratio_of_a_known_spectrum():
    rng = np.random.default_rng(1)
    spectrum = np.arange(1, 41) ** -1.0
    halves = gaussian(rng, 8000, spectrum).reshape(2, 4000, -1)
    traces, both = participation_terms(*halves)
    assert traces / both == pytest.approx(spectrum.sum() ** 2 / (spectrum**2).sum(), rel=0.03)


def test_variance_in_few_dimensions_is_held_by_as_many_components():
    rng = np.random.default_rng(2)
    spectrum = np.array([5.0, 3.0, 1.0] + [0.0] * 47)
    variances, total = held_out_variances(*gaussian(rng, 4000, spectrum).reshape(2, 2000, -1))
    assert total == pytest.approx(9, rel=0.05)
    assert variances[:3] == pytest.approx([5, 3, 1], rel=0.1)
    assert variances[3:] == pytest.approx(0, abs=1e-9)


def test_noise_has_no_more_variance_along_its_own_components_in_other_trials():
    """In its own half the first of 100 equal components has 3 times the variance of the truth."""
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 100, 100))
    own = np.linalg.svd(first - first.mean(axis=0), compute_uv=False)[0] ** 2 / 99
    assert own > 3
    assert held_out_variances(first, second)[0][:20].mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("alpha", [0.7, 1.5])
def test_exponent_of_a_power_law(alpha):
    rng = np.random.default_rng(4)
    spectrum = np.arange(1, 61) ** -alpha
    assert power_law_exponent(spectrum) == pytest.approx(alpha)
    variances, _ = held_out_variances(*gaussian(rng, 8000, spectrum).reshape(2, 4000, -1))
    assert power_law_exponent(variances[:30]) == pytest.approx(alpha, abs=0.06)


def test_noise_changes_no_signal_variance():
    """cvPCA: 400 stimuli with variance k^-1, and noise that is larger than most of it."""
    rng = np.random.default_rng(5)
    spectrum = np.arange(1, 51) ** -1.0
    signal = gaussian(rng, 400, spectrum)
    noisy = signal + 0.3 * rng.normal(size=(2, *signal.shape))
    found = signal_variances(*noisy)
    truth = np.linalg.svd(signal - signal.mean(axis=0), compute_uv=False) ** 2 / 400
    assert found[:8] == pytest.approx(truth[:8], rel=0.15)
    assert found.sum() == pytest.approx(truth.sum(), rel=0.05)
    noise_alone = signal_variances(*rng.normal(size=(2, 400, 50)))
    assert abs(noise_alone.sum()) < 0.1 * 50
