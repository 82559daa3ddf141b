"""Spikes of a group of cells in a trial: what an answer is read from, and what it costs."""

from typing import ClassVar

import numpy as np

from v1builder.load.groups import Groups
from v1builder.measures.activity import Array
from v1builder.measures.measure import ByGroup, OfRates


class SpikesPerTrial(OfRates):
    """Number of spikes of all cells of a group together, mean over trials."""

    name: ClassVar[str] = "spikes_per_trial"
    unit: ClassVar[str] = "spikes"

    def of_rates(self, rates: Array, groups: Groups) -> ByGroup:
        """Sum by group of the spikes that were counted."""
        del rates
        total = np.bincount(groups.of_cell, self.counts, len(groups))
        return ByGroup.where(groups.sizes > 0, total / self.n_trials, groups.sizes, "")
