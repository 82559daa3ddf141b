"""Mean firing rate."""

from typing import ClassVar

from v1builder.load.groups import Groups
from v1builder.measures.activity import Array
from v1builder.measures.groups import group_mean
from v1builder.measures.measure import ByGroup, OfRates


class MeanRate(OfRates):
    """Mean over the cells of a group of their mean rates."""

    name: ClassVar[str] = "mean_rate"
    unit: ClassVar[str] = "Hz"

    def of_rates(self, rates: Array, groups: Groups) -> ByGroup:
        """Mean by group."""
        known = groups.sizes > 0
        return ByGroup.where(known, group_mean(groups, rates), groups.sizes, "")
