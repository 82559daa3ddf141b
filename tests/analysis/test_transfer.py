"""Linear responses: a filter of known response, scipy's Welch, an adapting cell."""

import numpy as np
import pytest
import torch
from scipy import signal as scipy_signal

from v1builder.analysis.transfer import Estimate, adapted, transformed

F = np.array([2.0, 10.0, 40.0, 100.0])
DT = 1.0


@pytest.fixture(scope="module")
def white():
    return np.random.default_rng(0).normal(size=(40, 1000))


def filtered(x, tau):
    """A low-pass filter with a delay of one step, y <- a y + (1 - a) x of the step before."""
    a = np.exp(-DT / tau)
    return scipy_signal.lfilter([0, 1 - a], [1, -a], x.reshape(-1)).reshape(x.shape)


def of(x):
    frequencies = torch.tensor(F, dtype=torch.float64)
    return transformed(torch.from_numpy(x)[:, :, None], frequencies, DT).numpy()[:, 0]


def test_a_low_pass_filter_has_its_response(white):
    x, y = of(white), of(filtered(white, 10.0))
    response = (x.conj() * y).mean(axis=0) / (np.abs(x) ** 2).mean(axis=0)
    z = np.exp(2j * np.pi * F * DT / 1000)
    a = np.exp(-DT / 10.0)
    np.testing.assert_allclose(response, (1 - a) / (z - a), rtol=0.05)


def test_spectra_are_those_of_scipy(white):
    y = filtered(white, 5.0)
    expected_f, cross = scipy_signal.csd(
        white.ravel(), y.ravel(), fs=1000, window="hann", nperseg=1000, noverlap=0
    )
    _, power = scipy_signal.welch(white.ravel(), fs=1000, window="hann", nperseg=1000, noverlap=0)
    at = np.searchsorted(expected_f, F)
    expected = cross[at] / power[at]
    fx, fy = of(white), of(y)
    found = (fx.conj() * fy).mean(axis=0) / (np.abs(fx) ** 2).mean(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_error_is_that_of_the_samples():
    rng = np.random.default_rng(1)
    samples = 3j + rng.normal(size=(400, 200, 1)) + 5j * 0.2 * rng.normal(size=(400, 200, 1))
    estimate = Estimate.of(samples)
    # Only what is along 3i counts for the modulus: a spread of 1 over 20.
    np.testing.assert_allclose(estimate.error.mean(), 1 / 20, rtol=0.02)
    np.testing.assert_allclose(np.abs(estimate.response), 3, atol=0.3)


def test_adaptation_lowers_the_gain_below_its_corner_only():
    """H/(1 - H A): at 0 the gain is H/(1 + H |q|), far above the corner H."""
    H, charge, rate = np.full(3, 2.0 + 0j), -0.5, 2 * np.pi * 5.0
    gain = np.abs(adapted(H, charge, rate, np.array([0.0, 5.0, 5000.0])))
    assert gain[0] == pytest.approx(2.0 / (1 + 2.0 * 0.5))
    assert gain[2] == pytest.approx(2.0, rel=1e-3)
    # At the corner k/2 pi the current is down by 1 + i.
    assert gain[1] == pytest.approx(abs(2.0 / (1 + 1.0 / (1 + 1j))))
