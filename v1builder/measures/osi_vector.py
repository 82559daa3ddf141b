"""Orientation selectivity, as 1 - circular variance: `analysis.tuning.osi_vector` of every cell."""

from typing import ClassVar

from v1builder.analysis.tuning import osi_vector
from v1builder.measures.activity import Array
from v1builder.measures.tuning import OfTuning


class OSIVector(OfTuning):
    """|sum r e^(2 i theta)| / sum r: .5 for a cosine, 1 for one orientation alone."""

    name: ClassVar[str] = "osi_vector"
    unit: ClassVar[str] = "1"

    def index(self, rates: Array, directions: Array) -> Array:
        """Of every cell."""
        return osi_vector(rates, directions)
