"""Linear Fisher information of a population, without the bias of few trials.

    d'^2 = dm' S^-1 dm (2T - N - 3) / (2T - 2) - 2 N / T
    I    = d'^2 / dtheta^2

of N cells in T trials of either of two stimuli dtheta apart, dm the difference of the mean responses, S the
mean of the two covariances. Unbiased for Gaussian responses; so it may be negative where there is no
information. With T1 and T2 trials 2T - 2 is T1 + T2 - 2 and 2 / T is 1 / T1 + 1 / T2. Kanitscheider et al.
2015, PLOS Comput. Biol. 11:e1004218.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def enough_trials(n_first: int, n_second: int, n_cells: int) -> bool:
    """Whether the covariance of so many cells is known well: its inverse is off by less than 2 times."""
    freedom = n_first + n_second - 2
    return 2 * (freedom - n_cells - 1) >= freedom


def discriminability(first: Array, second: Array) -> Array:
    """d'^2 of several sets of cells.

    Args:
        first: [T1, sets, N] responses to one stimulus.
        second: [T2, sets, N] responses to the other.

    Returns:
        [sets]; NaN where responses of cells of a set are linearly dependent.
    """
    n_cells = first.shape[2]
    freedom = len(first) + len(second) - 2
    difference = second.mean(axis=0) - first.mean(axis=0)
    covariance = np.zeros((first.shape[1], n_cells, n_cells))
    for responses in (first, second):
        residual = (responses - responses.mean(axis=0)).transpose(1, 2, 0)
        covariance += residual @ residual.transpose(0, 2, 1) / freedom
    variances = np.linalg.eigvalsh(covariance)
    regular = variances[:, 0] > 1e-9 * variances[:, -1]
    value = np.full(len(covariance), np.nan)
    solved = np.linalg.solve(covariance[regular], difference[regular, :, None])[:, :, 0]
    raw = (difference[regular] * solved).sum(axis=1)
    value[regular] = raw * (freedom - n_cells - 1) / freedom
    return value - n_cells * (1 / len(first) + 1 / len(second))
