"""Intrinsic timescale: how fast the autocorrelation of spike counts decays.

    R(k) = A (exp(-k dt / tau) + B)

over lags of k bins of dt, k >= 1: lag 0 has the variance of spiking itself. B are fluctuations slower than
the trial. For spikes whose rate follows an Ornstein-Uhlenbeck process of time constant tau, tau comes back at
any length of bins, with B = 0. Murray et al. 2014, Nat. Neurosci. 17:1661.
"""

import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeWarning, curve_fit

Array = NDArray[np.float64]

#: Lags that a curve of three numbers is fitted to.
LAGS_MIN: Final = 5
#: The error of ln tau beyond which a fit has not found it.
LOG_ERROR_MAX: Final = 0.5


def lagged_covariance(residual: Array, n_lags: int) -> tuple[Array, Array]:
    """Sums of products of counts in bins k apart, by cell.

    Args:
        residual: [trials, bins, cells] counts minus their mean over trials.
        n_lags: largest k.

    Returns:
        [n_lags + 1, cells] sums of covariances over pairs of bins, and of the products of the standard
        deviations of the same pairs: their ratio is the autocorrelation.
    """
    n_bins = residual.shape[1]
    deviation = np.sqrt((residual**2).sum(axis=0))
    covariance = [
        np.einsum("btn,btn->n", residual[:, : n_bins - k], residual[:, k:])
        for k in range(n_lags + 1)
    ]
    scale = [(deviation[: n_bins - k] * deviation[k:]).sum(axis=0) for k in range(n_lags + 1)]
    return np.stack(covariance), np.stack(scale)


def fitted_timescale(autocorrelation: Array, dt: float) -> tuple[float, str]:
    """Tau in ms, NaN where it cannot be had; and why.

    Args:
        autocorrelation: [k] at lags 1, 2 ... of dt.
        dt: ms of a bin.

    Returns:
        There is none where tau is not between a tenth of a bin and the largest lag, or the fit does not know
        it to a factor of e^.5.
    """
    lags = dt * np.arange(1, len(autocorrelation) + 1)
    if len(lags) < LAGS_MIN:
        return np.nan, f"{len(lags)} lags of {dt:g} ms in the window, fewer than {LAGS_MIN}"

    def course(lag: Array, log_tau: float, a: float, ab: float) -> Array:
        return a * np.exp(-lag / np.exp(log_tau)) + ab

    start = np.log(2 * dt), max(autocorrelation[0] - autocorrelation[-1], 1e-6), autocorrelation[-1]
    bounds = (np.log(dt / 10), 0.0, -np.inf), (np.log(lags[-1]), np.inf, np.inf)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # errors are infinite then
            (log_tau, a, _), errors = curve_fit(course, lags, autocorrelation, start, bounds=bounds)
    except RuntimeError:
        return np.nan, "the autocorrelation fits no exponential"
    at_bound = not bounds[0][0] + 1e-3 < log_tau < bounds[1][0] - 1e-3
    if a <= 0 or at_bound or not np.sqrt(errors[0, 0]) < LOG_ERROR_MAX:
        return np.nan, "no decay of the autocorrelation stands out of its noise"
    return float(np.exp(log_tau)), ""
