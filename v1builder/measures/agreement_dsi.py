"""Agreement of direction selectivity (`dsi_vector`) with that recorded, see `measures.agreement`."""

from typing import ClassVar

from v1builder.load.groups import Groups
from v1builder.measures.agreement import AGREEMENT_LEVELS, agreement
from v1builder.measures.dsi_vector import DSIVector
from v1builder.measures.measure import ByGroup


class AgreementDSI(DSIVector):
    """1 - Kolmogorov-Smirnov distance of the cells' direction selectivity from the recorded one."""

    name: ClassVar[str] = "agreement_dsi"
    groups: ClassVar[tuple[str, ...]] = AGREEMENT_LEVELS

    def compute(self, groups: Groups) -> ByGroup:
        """By group."""
        if self.missing:
            return ByGroup.missing(groups, self.missing)
        return agreement(self.design, "dsi", self.of_cells()[0], groups)
