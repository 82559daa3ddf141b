"""Local irregularity without what a refractory time does to it: LvR.

Mean over pairs of consecutive intervals of 3 (1 - 4 I1 I2 / (I1 + I2)^2) (1 + 4 R / (I1 + I2)), R = 5 ms: 0
for a clock; for a Poisson process of rate r 1 + 4 R r, which is 1.1 at 5 Hz. Shinomoto et al. 2009, PLOS
Comput. Biol. 5:e1000433; as elephant's `lvr`, of the intervals of all trials.
"""

from typing import ClassVar, Final

from v1builder.measures.activity import Array
from v1builder.measures.interval_pairs import OfIntervalPairs

#: ms; as published.
REFRACTORY_MS: Final = 5.0


class LvR(OfIntervalPairs):
    """LvR of interspike intervals, mean over cells."""

    name: ClassVar[str] = "lvr"
    unit: ClassVar[str] = "1"

    def term(self, first: Array, second: Array) -> Array:
        """3 (1 - 4 I1 I2 / (I1 + I2)^2) (1 + 4 R / (I1 + I2))."""
        total = first + second
        return 3 * (1 - 4 * first * second / total**2) * (1 + 4 * REFRACTORY_MS / total)
