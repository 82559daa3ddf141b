"""Shared variability: the mean correlation of the spike counts of pairs of cells.

Pearson's correlation over trials of the counts in the window, from which the mean of the condition is
taken, so that stimuli that drive two cells do not correlate them (noise correlation). The mean is over all
pairs of cells of a group that fire: with residuals z of unit norm it is (|sum z|^2 - n) / (n (n - 1)), so no
pair has to be looked at. 0 for independent cells; c^2 m / (1 + c^2 m) for Poisson cells of mean count m that
share a gain with the coefficient of variation c. Cohen & Kohn 2011, Nat. Neurosci. 14:811; for one condition
the mean of elephant's `correlation_coefficient` with one bin per trial.
"""

from typing import ClassVar, Final

import numpy as np

from v1builder.load.groups import Groups
from v1builder.measures.counts import OfCounts, members, without_condition
from v1builder.measures.groups import SEVERAL_CELLS
from v1builder.measures.measure import ByGroup

#: Trials beyond the first of every condition; the correlation of a pair then has an error of .3.
REPEATS_MIN: Final = 9
_CELLS_MIN: Final = 2


class CountCorrelation(OfCounts):
    """Mean correlation of spike counts of all pairs of cells of a group, within conditions."""

    name: ClassVar[str] = "count_correlation"
    unit: ClassVar[str] = "1"
    groups: ClassVar[tuple[str, ...]] = SEVERAL_CELLS

    def compute(self, groups: Groups) -> ByGroup:
        """Mean over the pairs of each group."""
        reason = self.too_few_repeats(REPEATS_MIN)
        if reason:
            return ByGroup.missing(groups, reason)
        counts = self.counts()
        residual = without_condition(
            counts.table.toarray().reshape(counts.n_trials, -1), counts.condition
        )
        norm = np.linalg.norm(residual, axis=0)
        # A cell whose counts do not vary has residuals of rounding alone.
        varies = np.flatnonzero(norm > 1e-6)
        value, n = np.full(len(groups), np.nan), np.zeros(len(groups), np.int64)
        for group, cells in enumerate(members(groups.of_cell, len(groups), varies)):
            n[group] = len(cells)
            if len(cells) >= _CELLS_MIN:
                total = (residual[:, cells] / norm[cells]).sum(axis=1)
                value[group] = (total @ total - len(cells)) / (len(cells) * (len(cells) - 1))
        reason = f"fewer than {_CELLS_MIN} cells whose counts vary"
        return ByGroup.where(n >= _CELLS_MIN, value, n, reason)
