"""Direction selectivity, preferred against null: `analysis.tuning.dsi_pref_null` of every cell."""

from typing import ClassVar

from v1builder.analysis.tuning import dsi_pref_null
from v1builder.measures.activity import Array
from v1builder.measures.tuning import OfTuning


class DSIPrefNull(OfTuning):
    """(R_pref - R_null) / (R_pref + R_null)."""

    name: ClassVar[str] = "dsi_pref_null"
    unit: ClassVar[str] = "1"

    def index(self, rates: Array, directions: Array) -> Array:
        """Of every cell."""
        return dsi_pref_null(rates, directions)
