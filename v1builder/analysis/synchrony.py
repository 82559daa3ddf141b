"""Synchrony of a population: the Fano factor of its spikes together, by how long they are counted."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def population_fano(counts: NDArray[np.float64], lengths: Sequence[int]) -> Mapping[int, float]:
    """Variance over mean of the spikes of a population in windows that lie side by side.

    1 for independent Poisson cells at every length; 1 + (n - 1) r for n Poisson cells whose counts have the
    mean correlation r.

    Args:
        counts: [trial, step] spikes of all cells together.
        lengths: steps of windows; those of which a trial has none are left out.

    Returns:
        By length; NaN without spikes.
    """
    found = {}
    for length in lengths:
        n = counts.shape[1] // length
        if n:
            windows = counts[:, : n * length].reshape(len(counts), n, length).sum(axis=2)
            mean = windows.mean()
            found[length] = float(windows.var() / mean) if mean > 0 else float("nan")
    return found
