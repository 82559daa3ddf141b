"""Share of cells that depolarise when what is shown changes."""

from typing import ClassVar

import numpy as np

from v1builder.load.groups import Groups
from v1builder.measures.groups import SEVERAL_CELLS
from v1builder.measures.measure import ByGroup
from v1builder.measures.voltage import CHANGE_MV, OfVoltageChange


class DepolarisedShare(OfVoltageChange):
    """Share of a group's cells whose V_m is more than 1 mV above what it was, see `measures.voltage`."""

    name: ClassVar[str] = "depolarised_share"
    unit: ClassVar[str] = "1"
    groups: ClassVar[tuple[str, ...]] = SEVERAL_CELLS
    counts_cells: ClassVar[bool] = True

    def compute(self, groups: Groups) -> ByGroup:
        """Share by group."""
        change, reason = self.change()
        return ByGroup.share(groups, change > CHANGE_MV, np.isfinite(change), reason)
