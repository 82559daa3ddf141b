"""Preferred direction of motion of single cells: `analysis.tuning.preferred_direction`.

Of single cells alone: the mean of angles that lie all around says nothing.
"""

from typing import ClassVar

from v1builder.analysis.tuning import preferred_direction
from v1builder.measures.activity import Array
from v1builder.measures.tuning import OfTuning


class PreferredDirection(OfTuning):
    """Direction with the largest mean rate, the first of equals."""

    name: ClassVar[str] = "preferred_direction"
    unit: ClassVar[str] = "degrees"
    groups: ClassVar[tuple[str, ...]] = ("cell",)

    def index(self, rates: Array, directions: Array) -> Array:
        """Of every cell."""
        return preferred_direction(rates, directions)
