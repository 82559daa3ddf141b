"""Direction selectivity, as 1 - circular variance: `analysis.tuning.dsi_vector` of every cell."""

from typing import ClassVar

from v1builder.analysis.tuning import dsi_vector
from v1builder.measures.activity import Array
from v1builder.measures.tuning import OfTuning


class DSIVector(OfTuning):
    """|sum r e^(i theta)| / sum r: .5 for a cosine, 1 for one direction alone."""

    name: ClassVar[str] = "dsi_vector"
    unit: ClassVar[str] = "1"

    def index(self, rates: Array, directions: Array) -> Array:
        """Of every cell."""
        return dsi_vector(rates, directions)
