"""Share of silent cells."""

from typing import ClassVar

from v1builder.load.groups import Groups
from v1builder.measures.activity import Array
from v1builder.measures.groups import SEVERAL_CELLS, group_mean
from v1builder.measures.measure import ByGroup, OfRates


def silent_share(rates: Array, groups: Groups) -> Array:
    """[n_groups] share of the cells with a rate of 0."""
    return group_mean(groups, (rates == 0).astype(float))


class SilentShare(OfRates):
    """Share of a group's cells that do not spike once. It falls with the time that is observed."""

    name: ClassVar[str] = "silent_share"
    unit: ClassVar[str] = "1"
    groups: ClassVar[tuple[str, ...]] = SEVERAL_CELLS
    counts_cells: ClassVar[bool] = True

    def of_rates(self, rates: Array, groups: Groups) -> ByGroup:
        """Share by group."""
        return ByGroup.where(groups.sizes > 0, silent_share(rates, groups), groups.sizes, "")
