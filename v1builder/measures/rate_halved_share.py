"""Share of cells whose rates fall to less than half when what is shown changes."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from v1builder.measures.activity import Array
from v1builder.measures.rate_ratio import RATIO, OfRateRatio


class RateHalvedShare(OfRateRatio):
    """Share of a group's cells whose rates fall to less than half of what they were.

    See `measures.rate_ratio`.
    """

    name: ClassVar[str] = "rate_halved_share"

    def responds(self, before: Array, after: Array) -> NDArray[np.bool_]:
        """Whether the rate falls to less than half."""
        return after < before / RATIO
