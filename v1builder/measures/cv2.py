"""Local irregularity: CV2.

Mean over pairs of consecutive intervals of 2 |I2 - I1| / (I2 + I1): 0 for a clock, 1 for a Poisson process,
also one whose rate changes slowly. Holt, Softky, Koch & Douglas 1996, J. Neurophysiol. 75:1806; as elephant's
`cv2`, of the intervals of all trials.
"""

from typing import ClassVar

import numpy as np

from v1builder.measures.activity import Array
from v1builder.measures.interval_pairs import OfIntervalPairs


class CV2(OfIntervalPairs):
    """CV2 of interspike intervals, mean over cells."""

    name: ClassVar[str] = "cv2"
    unit: ClassVar[str] = "1"

    def term(self, first: Array, second: Array) -> Array:
        """2 |I2 - I1| / (I2 + I1)."""
        return 2 * np.abs(second - first) / (second + first)
