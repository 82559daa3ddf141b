"""Linear Fisher information about direction: d'^2 of neighbours over the square of their distance.

Of 10 cells of every group, see `measures.discriminability`; the formula is that of `analysis.fisher`. At
steps of direction that are not small against the tuning width it is a mean between them.
"""

from typing import ClassVar

from v1builder.load.groups import Groups
from v1builder.measures.activity import Array
from v1builder.measures.discriminability import Discriminability, Pair
from v1builder.measures.measure import ByGroup


class FisherInformation(Discriminability):
    """Linear Fisher information about direction in 10 cells of each group."""

    name: ClassVar[str] = "fisher_information"
    unit: ClassVar[str] = "1/degrees^2"

    def scaled(self, squared: Array, pair: Pair) -> Array:
        """By the square of the distance."""
        return squared / pair.apart**2

    def compute(self, groups: Groups) -> ByGroup:
        """Mean over pairs of directions and sets of cells."""
        if self.design.directions is None:
            return ByGroup.missing(groups, "nothing that was shown has a direction")
        return super().compute(groups)
