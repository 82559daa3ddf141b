"""How few of the conditions a cell responds to: `analysis.sparsity` over conditions.

Chance alone makes a cell with few spikes look sparse: k spikes that fall on n conditions without any tuning
have an S of about n / (k + n - 1).
"""

from typing import ClassVar, Final

import numpy as np

from v1builder.analysis.sparsity import sparsity
from v1builder.measures.activity import Array
from v1builder.measures.conditions import OfConditions
from v1builder.measures.measure import OfCells

CONDITIONS_MIN: Final = 2
SPIKES_MIN: Final = 10


class LifetimeSparsity(OfConditions, OfCells):
    """Lifetime sparsity, mean over cells: 0 for equal responses, 1 for cells that respond to one alone."""

    name: ClassVar[str] = "lifetime_sparsity"
    unit: ClassVar[str] = "1"

    def of_cells(self) -> tuple[Array, str]:
        """Of every cell that fires enough."""
        rates = self.rates()
        if len(rates) < CONDITIONS_MIN:
            none = np.full(self.design.n_cells, np.nan)
            return none, f"{len(rates)} conditions, fewer than {CONDITIONS_MIN}"
        enough = self.n_spikes() >= SPIKES_MIN
        return np.where(enough, sparsity(rates), np.nan), f"no cell with {SPIKES_MIN} spikes"
