"""Whether two networks represent the same stimuli alike, whatever their cells: CKA and RSA.

Both look at how similar responses are to each other within a network. Neither changes when the responses of a
network are rotated or scaled: 1 then.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]


def linear_cka(x: Array, y: Array) -> float:
    """Linear centred kernel alignment, without the bias of many cells.

    Independent responses of many cells are all alike far from each other, which the plain index takes for
    similarity: it goes to 1 with the number of cells. Here the Hilbert-Schmidt independence criterion is the
    unbiased one of Song et al. 2012, JMLR 13:1393, so that it is 0 on average. Kornblith et al. 2019, ICML;
    Murphy, Zylberberg & Fyshe 2024, arXiv:2405.01012.

    Args:
        x: [samples, cells] responses of one network, at least 4 samples.
        y: [samples, cells] responses of the other to the same.

    Returns:
        At most about 1; NaN where the responses of a network are no more alike within than by chance.
    """
    a, b = (_without_diagonal(each @ each.T) for each in (x - x.mean(axis=0), y - y.mean(axis=0)))
    norm = _independence(a, a) * _independence(b, b)
    return float(_independence(a, b) / np.sqrt(norm)) if norm > 0 else float("nan")


def _without_diagonal(kernel: Array) -> Array:
    np.fill_diagonal(kernel, 0.0)
    return kernel


def _independence(a: Array, b: Array) -> float:
    """Unbiased HSIC of kernels without diagonal."""
    n = len(a)
    sums = a.sum() * b.sum() / ((n - 1) * (n - 2))
    return float(
        ((a * b).sum() + sums - 2 / (n - 2) * (a.sum(axis=0) @ b.sum(axis=0))) / (n * (n - 3))
    )


def response_distances(responses: Array, condition: NDArray[np.int64]) -> Array:
    """Squared Euclidean distances of the mean responses to pairs of conditions, without the bias of noise.

    |m_a - m_b|^2 - tr S_a / n_a - tr S_b / n_b: what products of independent trials have on average, so that
    equal conditions are 0 apart. Walther et al. 2016, NeuroImage 137:188.

    Args:
        responses: [trials, cells].
        condition: [trials] each at least twice.

    Returns:
        [pairs of conditions].
    """
    means, noise = [], []
    for one in np.unique(condition):
        own = responses[condition == one]
        means.append(own.mean(axis=0))
        noise.append(own.var(axis=0, ddof=1).sum() / len(own))
    mean, bias = np.stack(means), np.array(noise)
    gram = mean @ mean.T
    square = np.diag(gram)
    distance = square[:, None] + square - 2 * gram - bias[:, None] - bias
    return distance[np.triu_indices(len(mean), 1)]


def rank_similarity(x: Array, y: Array) -> float:
    """Representational similarity: Spearman's correlation of distances [pairs]; NaN where all are equal.

    Kriegeskorte, Mur & Bandettini 2008, Front. Syst. Neurosci. 2:4.
    """
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    # Equal distances are to be ties whatever the order of the sums that they came from.
    ranks = [rankdata(np.round(each / np.abs(each).max(), 10)) for each in (x, y)]
    return float(np.corrcoef(ranks)[0, 1])
