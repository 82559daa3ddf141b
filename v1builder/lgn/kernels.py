r"""Temporal kernels of LGN units: two raised-cosine bumps in logarithmic time.

Bump i with peak p_i (ms), delay d_i (whole ms) and weight w_i is, at lag tau = 0, 1, 2 ... ms,

    g_i(tau) = (cos(clip((ln(s + .3) - ln p_i) pi / (2 D), -pi, pi)) + 1) / 2,   s = tau - d_i + 1,

and 0 before its delay; D = ln(200.3 / 100.3). Each bump is scaled to unit Euclidean norm and the
kernel is sum_i w_i g_i. Lags beyond 600 ms + d_0 are cut off. This is BMTK FilterNet's
`TemporalFilterCosineBump` (Pillow et al. 2008, Nature 454:995, for the basis).
"""

import numpy as np
from numpy.typing import NDArray

_WIDTH = np.log(200.3 / 100.3)
_OFFSET = 0.3
#: Lags (ms) a bump extends over before its delay is added.
_N_LAGS = 600

FloatArray = NDArray[np.float64]


def cosine_bump_kernels(weights: FloatArray, peaks: FloatArray, delays: FloatArray) -> FloatArray:
    """Kernels of many units at 1 ms.

    Args:
        weights: [unit, 2], the first positive.
        peaks: [unit, 2] ms.
        delays: [unit, 2] ms, truncated to whole ms; the first at most the second.

    Returns:
        [unit, lag] with lag 0 the present frame; the lag axis ends with the longest kernel.
    """
    whole_delays = delays.astype(np.int64)
    end = _N_LAGS + whole_delays[:, :1]
    lag = np.arange(end.max())
    kernels = np.zeros((len(weights), len(lag)))
    for i in range(2):
        since = lag - whole_delays[:, i : i + 1] + 1
        inside = (since >= 1) & (lag < end)
        position = np.log(np.maximum(since, 1) + _OFFSET) - np.log(peaks[:, i : i + 1])
        angle = np.clip(position * np.pi / (2 * _WIDTH), -np.pi, np.pi)
        bump = np.where(inside, (np.cos(angle) + 1) / 2, 0.0)
        kernels += weights[:, i : i + 1] * bump / np.linalg.norm(bump, axis=1, keepdims=True)
    return kernels


def first_lobe(kernels: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """End (ms) and area of each kernel's first lobe, both within the first 600 ms.

    The end is the first lag after the maximum with a negative value; 0 where there is none.

    Args:
        kernels: [unit, lag] at 1 ms.
    """
    kernels = kernels[:, :_N_LAGS]
    lag = np.arange(kernels.shape[1])
    after_peak = lag > kernels.argmax(axis=1)[:, None]
    end = np.argmax(after_peak & (kernels < 0), axis=1)
    area = np.where(lag < end[:, None], kernels, 0.0).sum(axis=1)
    return end, area


def resample(kernels: FloatArray, dt: float) -> FloatArray:
    """Kernels at steps of `dt` ms by linear interpolation, times dt so that sums keep their size.

    Trailing lags at which every kernel is zero are dropped.
    """
    position = np.arange(0, kernels.shape[1] - 1 + 1e-9, dt)
    left = np.minimum(position.astype(np.int64), kernels.shape[1] - 2)
    part = position - left
    sampled = dt * ((1 - part) * kernels[:, left] + part * kernels[:, left + 1])
    used = np.flatnonzero(np.any(sampled != 0, axis=0))
    return sampled[:, : used[-1] + 1]
