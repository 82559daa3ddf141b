"""Sparsity of responses.

    S = (1 - (mean r)^2 / mean r^2) / (1 - 1 / n)

of n rates r: 0 for equal ones, 1 where a single one is not zero. Over stimuli it is the lifetime sparsity of
a cell, over cells the population sparsity of a stimulus. Vinje & Gallant 2000, Science 287:1273; Willmore &
Tolhurst 2001, Network 12:255.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def sparsity(rates: Array, axis: int = 0) -> Array:
    """S over an axis of at least 2 rates, none negative; NaN where all are 0."""
    n = rates.shape[axis]
    square = (rates**2).mean(axis=axis)
    none = np.full(square.shape, np.nan)
    share = np.divide(rates.mean(axis=axis) ** 2, square, out=none, where=square > 0)
    return (1 - share) / (1 - 1 / n)
