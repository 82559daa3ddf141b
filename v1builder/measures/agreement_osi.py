"""Agreement of orientation selectivity (`osi_vector`) with that recorded, see `measures.agreement`."""

from typing import ClassVar

from v1builder.load.groups import Groups
from v1builder.measures.agreement import AGREEMENT_LEVELS, agreement
from v1builder.measures.measure import ByGroup
from v1builder.measures.osi_vector import OSIVector


class AgreementOSI(OSIVector):
    """1 - Kolmogorov-Smirnov distance of the cells' orientation selectivity from the recorded one."""

    name: ClassVar[str] = "agreement_osi"
    groups: ClassVar[tuple[str, ...]] = AGREEMENT_LEVELS

    def compute(self, groups: Groups) -> ByGroup:
        """By group."""
        if self.missing:
            return ByGroup.missing(groups, self.missing)
        return agreement(self.design, "osi", self.of_cells()[0], groups)
