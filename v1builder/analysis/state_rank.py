"""In how many dimensions states differ: separation of inputs and generalisation over noise.

The rank of the states that m different inputs lead to says how many of them a linear readout can tell apart;
that of the states after m noisy copies of one input, how much of it is noise. A network computes well where
the first is large and the second small (Legenstein & Maass 2007, Neural Networks 20:323).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Singular values that count, as a share of the largest.
COUNTS_ABOVE: Final = 0.01


def state_rank(states: NDArray[np.float64], share: float = COUNTS_ABOVE) -> int:
    """Number of singular values of `states` [input, unit] above this share of the largest; 0 of silence."""
    values = np.linalg.svd(states, compute_uv=False)
    return int((values > share * values[0]).sum()) if len(values) and values[0] > 0 else 0
