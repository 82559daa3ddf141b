"""Local irregularity: what measures of two intervals that follow each other have in common.

They do not see slow changes of the rate, as the coefficient of variation of all intervals does. Both
intervals lie within one trial; that loses slow cells but does not bias: given their sum, the first of two
intervals of a Poisson process is uniform, however long the window is.
"""

from abc import abstractmethod
from typing import Final

import numpy as np

from v1builder.measures.activity import Activity, Array, Design, Indices
from v1builder.measures.measure import OfCells

#: The mean of fewer is known to no better than .2.
PAIRS_MIN: Final = 10
#: Terms are kept as multiples of 2^-24, whose sums are exact and so the same in any order.
_FIXED: Final = float(1 << 24)


class OfIntervalPairs(OfCells):
    """Mean over pairs of consecutive intervals. Memory: two numbers per cell and trial of a batch."""

    def __init__(self, design: Design):
        super().__init__(design)
        self._n, self._sum = np.zeros((2, design.n_cells))
        self._trials: Indices = np.zeros(0, np.int64)
        #: Steps of the last spike and of the one before, -1 for none.
        self._last: Indices = np.zeros((2, 0, design.n_cells), np.int64)

    @abstractmethod
    def term(self, first: Array, second: Array) -> Array:
        """[k] of intervals [k] in ms."""

    def see(self, activity: Activity) -> None:
        """Add the pairs that end in this part."""
        trial, cell, step = activity.trial, activity.cell, activity.step
        if not np.array_equal(activity.trials, self._trials):
            self._trials = activity.trials
            self._last = np.full((2, len(activity.trials), self.design.n_cells), -1)
        n = len(step)
        train = trial * self.design.n_cells + cell
        starts = np.diff(train, prepend=-1) != 0
        # Number of each spike within its train in this part.
        number = np.arange(n) - np.maximum.accumulate(np.where(starts, np.arange(n), 0))
        last, before_last = self._last[:, trial, cell]
        one = np.where(number > 0, np.roll(step, 1), last)
        two = np.where(number > 1, np.roll(step, 2), np.where(number == 1, last, before_last))
        known = two >= 0
        first, second = (one - two)[known], (step - one)[known]
        dt = np.float64(self.design.dt)
        term = self.term(first.astype(np.float64) * dt, second.astype(np.float64) * dt)
        self._n += np.bincount(cell[known], minlength=self.design.n_cells)
        self._sum += np.bincount(cell[known], np.round(term * _FIXED), self.design.n_cells)
        ends = np.diff(train, append=-1) != 0
        at = trial[ends], cell[ends]
        self._last[1][at], self._last[0][at] = one[ends], step[ends]

    def of_cells(self) -> tuple[Array, str]:
        """The mean of every cell with enough pairs."""
        value = np.full(self.design.n_cells, np.nan)
        known = self._n >= PAIRS_MIN
        value[known] = self._sum[known] / _FIXED / self._n[known]
        return value, f"no cell with {PAIRS_MIN} pairs of intervals that follow each other"
