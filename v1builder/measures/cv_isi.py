"""Irregularity: the coefficient of variation of the intervals between spikes.

Standard deviation over mean of the intervals of a cell, all its trials together (as elephant's `cv`). An
interval lies within one trial, so those longer than the window are never seen: in short windows the value
is too low for slow cells. 0 for a clock; sqrt(1 - p) for spikes that fall with probability p in every step;
1 for a Poisson process. Softky & Koch 1993, J. Neurosci. 13:334.
"""

from typing import ClassVar, Final

import numpy as np

from v1builder.measures.activity import Activity, Array, Design, Indices
from v1builder.measures.measure import OfCells

#: The CV of fewer intervals is known to no better than .2.
INTERVALS_MIN: Final = 10


class CVOfISI(OfCells):
    """Coefficient of variation of interspike intervals. Memory: a number per cell and trial of a batch."""

    name: ClassVar[str] = "cv_isi"
    unit: ClassVar[str] = "1"

    def __init__(self, design: Design):
        super().__init__(design)
        self._n, self._sum, self._square = np.zeros((3, design.n_cells))
        self._trials: Indices = np.zeros(0, np.int64)
        self._last: Indices = np.zeros((0, design.n_cells), np.int64)

    def see(self, activity: Activity) -> None:
        """Add the intervals that end in this part."""
        trial, cell, step = activity.trial, activity.cell, activity.step
        if not np.array_equal(activity.trials, self._trials):
            self._trials = activity.trials
            self._last = np.full((len(activity.trials), self.design.n_cells), -1)
        before = np.roll(step, 1)
        train = trial * self.design.n_cells + cell
        first = np.diff(train, prepend=-1) != 0
        before[first] = self._last[trial[first], cell[first]]
        known = before >= 0
        interval = (step - before)[known].astype(np.float64)
        for total, power in ((self._n, 0), (self._sum, 1), (self._square, 2)):
            total += np.bincount(cell[known], interval**power, self.design.n_cells)
        last = np.diff(train, append=-1) != 0
        self._last[trial[last], cell[last]] = step[last]

    def of_cells(self) -> tuple[Array, str]:
        """CV of every cell."""
        value = np.full(self.design.n_cells, np.nan)
        known = self._n >= INTERVALS_MIN
        n, total, square = self._n[known], self._sum[known], self._square[known]
        value[known] = np.sqrt(np.maximum(n * square - total**2, 0)) / total
        return value, f"no cell with {INTERVALS_MIN} intervals between spikes"
