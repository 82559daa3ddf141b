"""Agreement of mean rates with those recorded, see `measures.agreement`.

The recorded ones (mean_rate_Hz) are those of drifting gratings; in other tasks it says how far from these the
network fires.
"""

from typing import ClassVar

from v1builder.load.groups import Groups
from v1builder.measures.activity import Array
from v1builder.measures.agreement import AGREEMENT_LEVELS, agreement
from v1builder.measures.measure import ByGroup, OfRates


class AgreementRate(OfRates):
    """1 - Kolmogorov-Smirnov distance of the cells' mean rates from recorded ones."""

    name: ClassVar[str] = "agreement_rate"
    unit: ClassVar[str] = "1"
    groups: ClassVar[tuple[str, ...]] = AGREEMENT_LEVELS

    def of_rates(self, rates: Array, groups: Groups) -> ByGroup:
        """By group."""
        return agreement(self.design, "mean_rate_Hz", rates, groups)
