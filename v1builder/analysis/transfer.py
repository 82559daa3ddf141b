"""Linear response H(f) = S_xy(f) / S_xx(f) of an output y to an input x, and its error, on a stream.

Welch's averages: segments of a second, windowed (Hann), without overlap, their means taken off: what
scipy.signal.csd gives with noverlap 0. Only the frequencies that are asked for are transformed.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Complex [group, frequency].
Response = NDArray[np.complex128]


def transformed(signal: Tensor, frequencies: Tensor, dt: float) -> Tensor:
    """Fourier sums of a segment: the Hann window, the mean taken off.

    Args:
        signal: [b, t, n].
        frequencies: [f] Hz.
        dt: ms.

    Returns:
        [b, n, f] complex.
    """
    n = signal.shape[1]
    step = torch.arange(n, device=signal.device, dtype=frequencies.dtype)
    window = torch.hann_window(n, periodic=True, dtype=frequencies.dtype, device=signal.device)
    angle = -2 * math.pi * dt / 1000 * step[:, None] * frequencies
    free = (signal - signal.mean(dim=1, keepdim=True)).to(window.dtype)
    real, imaginary = (
        torch.einsum("btn,tf->bnf", free, window[:, None] * part)
        for part in (torch.cos(angle), torch.sin(angle))
    )
    return torch.complex(real, imaginary)


@dataclass(frozen=True)
class Estimate:
    """A response from several samples.

    Attributes:
        response: [group, frequency] mean.
        error: [group, frequency] standard error of its modulus, from the scatter of samples.
    """

    response: Response
    error: NDArray[np.float64]

    @classmethod
    def of(cls, samples: Response) -> "Estimate":
        """From independent samples [sample, group, frequency], at least two."""
        mean = samples.mean(axis=0)
        # Along the mean: noise across it turns the phase and leaves the modulus alone.
        unit = np.divide(mean, np.abs(mean), out=np.ones_like(mean), where=np.abs(mean) > 0)
        along = (samples * unit.conj()).real
        return cls(mean, along.std(axis=0, ddof=1) / math.sqrt(len(samples)))


def adapted(response: Response, charge: float, rate: float, frequencies: NDArray) -> Response:
    """The response of a cell with an after-spike current, from that of the same cell without it.

    A rate r carries the current A r, A = charge / (1 + i 2 pi f / rate), which feeds back: H / (1 - H A).
    With a charge below 0 the gain is low below the corner, where the current follows the rate, and H above.

    Args:
        response: [..., f] Hz/pA, without.
        charge: pA s per spike.
        rate: 1/s, at which the current decays: 2 pi times its corner.
        frequencies: [f] Hz.
    """
    fed_back = charge / (1 + 2j * np.pi * frequencies / rate)
    return response / (1 - response * fed_back)
