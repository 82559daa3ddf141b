"""Variability over trials: the Fano factor, variance over mean of the number of spikes in the window.

Only repeats of the same condition are compared: variance and mean are those of the trials of each condition,
pooled over conditions with the weight n_trials - 1. So it is 1 for a Poisson process whatever the stimuli do
to its rate; for one repeated condition it is var / mean with the unbiased variance. (elephant's `fanofactor`
has the biased one.) It depends on the length of the window. Churchland et al. 2010, Nat. Neurosci. 13:369.
"""

from typing import ClassVar, Final

import numpy as np

from v1builder.measures.activity import Activity, Array, Design, Indices
from v1builder.measures.measure import OfCells

#: Trials beyond the first of every condition, all together. With 9 the factor of a Poisson cell has an error
#: of .5.
REPEATS_MIN: Final = 9


class FanoFactor(OfCells):
    """Variance over mean of spike counts.

    Memory: two numbers per cell and condition, one per cell and trial of a batch.
    """

    name: ClassVar[str] = "fano_factor"
    unit: ClassVar[str] = "1"

    def __init__(self, design: Design):
        super().__init__(design)
        self._sums: dict[int, tuple[int, Indices, Indices]] = {}
        self._trials: Indices = np.zeros(0, np.int64)
        self._condition: Indices = np.zeros(0, np.int64)
        self._counts: Indices = np.zeros((0, design.n_cells), np.int64)

    def see(self, activity: Activity) -> None:
        """Count spikes by trial and cell."""
        shape = len(activity.trials), self.design.n_cells
        if not np.array_equal(activity.trials, self._trials):
            self._sums = self._with_batch()
            self._trials, self._condition = activity.trials, activity.condition
            self._counts = np.zeros(shape, np.int64)
        train = activity.trial * shape[1] + activity.cell
        self._counts += np.bincount(train, minlength=shape[0] * shape[1]).reshape(shape)

    def _with_batch(self) -> dict[int, tuple[int, Indices, Indices]]:
        """By condition: trials, sums and sums of squares of counts, with those of the present batch."""
        found = dict(self._sums)
        nothing = np.zeros(self.design.n_cells, np.int64)
        for condition in np.unique(self._condition):
            counts = self._counts[self._condition == condition]
            n, total, square = found.get(int(condition), (0, nothing, nothing))
            sums = counts.sum(axis=0), (counts**2).sum(axis=0)
            found[int(condition)] = n + len(counts), total + sums[0], square + sums[1]
        return found

    def of_cells(self) -> tuple[Array, str]:
        """Factor of every cell."""
        variance, mean = np.zeros((2, self.design.n_cells))
        repeats = 0
        for _, (n, total, square) in sorted(self._with_batch().items()):
            repeats += n - 1
            variance += square - total**2 / n
            mean += (n - 1) * (total / n)
        value = np.full(self.design.n_cells, np.nan)
        if not self.design.repeats:
            return value, "trials of one condition show different things"
        if repeats < REPEATS_MIN:
            return value, f"{repeats} repeats of a condition, fewer than {REPEATS_MIN}"
        np.divide(variance, mean, out=value, where=mean > 0)
        return value, "no spikes in trials of a repeated condition"
