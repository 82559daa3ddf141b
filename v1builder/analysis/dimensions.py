"""How many dimensions responses vary in: from the covariances C1 and C2 of two halves of the trials.

What is found in one half is weighed in the other, since the variances of a few trials along their own
principal components are those of the noise too: of T trials T - 1 components carry everything.

    participation ratio = tr C1 tr C2 / tr (C1 C2)     N for N equal independent cells, 1 for one dimension
    held-out variance k = v_k' C2 v_k                  v_k: principal component k of C1
    signal variance k   = <(v_k' x1) (v_k' x2)>        cvPCA: x1, x2 mean responses to the same stimuli

Both traces are unbiased, and so, up to the ratio, is their quotient. Stringer et al. 2019, Nature 571:361;
Recanatesi et al. 2022, Patterns 3:100555.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def participation_terms(first: Array, second: Array) -> tuple[float, float]:
    """Tr C1 tr C2 and tr (C1 C2) of responses [trials, cells] in two halves."""
    a, b = (_centred(half) for half in (first, second))
    traces = [float((half**2).sum() / (len(half) - 1)) for half in (a, b)]
    both = float(((a @ b.T) ** 2).sum() / ((len(a) - 1) * (len(b) - 1)))
    return traces[0] * traces[1], both


def held_out_variances(first: Array, second: Array) -> tuple[Array, float]:
    """Variances of the second half along the principal components of the first, and its whole variance.

    Args:
        first: [trials, cells] responses in one half.
        second: the same in the other.

    Returns:
        [min(trials - 1, cells)] in the order of the components; and the trace of C2.
    """
    a, b = (_centred(half) for half in (first, second))
    components = _components(a, min(len(a) - 1, a.shape[1]))
    variances = ((b @ components.T) ** 2).sum(axis=0) / (len(b) - 1)
    return variances, float((b**2).sum() / (len(b) - 1))


def signal_variances(first: Array, second: Array) -> Array:
    """[min(stimuli - 1, cells)] cvPCA: variance that two means of responses [stimuli, cells] share.

    Unbiased by the noise of responses; along components of noise alone it lies around 0.
    """
    a, b = (_centred(half) for half in (first, second))
    components = _components(a, min(len(a) - 1, a.shape[1]))
    return ((a @ components.T) * (b @ components.T)).mean(axis=0)


def power_law_exponent(variances: Array) -> float:
    """Alpha of variances that fall as k^-alpha: least squares of logarithms, every octave of k alike.

    Args:
        variances: [k] of components 1, 2 ..., all positive, at least 3.
    """
    rank = np.arange(1, len(variances) + 1, dtype=np.float64)
    # polyfit squares its weights; 1 / k gives every octave the same.
    slope, _ = np.polyfit(np.log(rank), np.log(variances), 1, w=rank**-0.5)
    return float(-slope)


def _centred(x: Array) -> Array:
    return x - x.mean(axis=0)


def _components(centred: Array, n: int) -> Array:
    """[n, cells] principal components of unit length."""
    return np.linalg.svd(centred, full_matrices=False)[2][:n]
