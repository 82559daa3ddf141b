"""Orientation selectivity, preferred against orthogonal: `analysis.tuning.osi_pref_orth` of every cell."""

from typing import ClassVar

from v1builder.analysis.tuning import osi_pref_orth
from v1builder.measures.activity import Array
from v1builder.measures.tuning import OfTuning


class OSIPrefOrth(OfTuning):
    """(R_pref - R_orth) / (R_pref + R_orth): 1 for a cosine that reaches 0."""

    name: ClassVar[str] = "osi_pref_orth"
    unit: ClassVar[str] = "1"

    def index(self, rates: Array, directions: Array) -> Array:
        """Of every cell."""
        return osi_pref_orth(rates, directions)
