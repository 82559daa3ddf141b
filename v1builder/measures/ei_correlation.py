"""How closely inhibition follows excitation."""

from typing import ClassVar

import numpy as np

from v1builder.measures.activity import Array, Design
from v1builder.measures.currents import OfCurrents


class EiCorrelation(OfCurrents):
    """Mean over cells of the correlation of excitation and inhibition at lag 0 (Okun & Lampl 2008)."""

    name: ClassVar[str] = "ei_correlation"
    unit: ClassVar[str] = "1"

    def __init__(self, design: Design):
        super().__init__(design, np.zeros(1, np.int64))

    def of_cells(self) -> tuple[Array, str]:
        """The correlation of every cell."""
        value, reason = self.correlation()
        return value[0], reason
