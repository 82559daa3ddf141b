"""Share of cells whose rates more than double when what is shown changes."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from v1builder.measures.activity import Array
from v1builder.measures.rate_ratio import RATIO, OfRateRatio


class RateDoubledShare(OfRateRatio):
    """Share of a group's cells whose rates rise to more than twice what they were.

    See `measures.rate_ratio`.
    """

    name: ClassVar[str] = "rate_doubled_share"

    def responds(self, before: Array, after: Array) -> NDArray[np.bool_]:
        """Whether the rate more than doubles."""
        return after > RATIO * before
