"""Rates before and after a change: what shares of cells by their ratio have in common.

The second criterion of the analysis of Galvan Fraile et al. 2024, PLOS Comput. Biol. 20:e1011921: a cell
responds to the change where its rate becomes more than twice, or less than half, of what it was. (Their code
divides the numbers of spikes in windows of 1 000 and 500 ms; here rates are compared.) A cell without spikes
before has no ratio, and counts as one that does not respond. Chance alone gives such ratios to cells with few
spikes: of Poisson cells with constant rates and 4 spikes in 500 ms windows before the change 14 % double and
9 % halve in the 1 000 ms after it, with 20 spikes 1.2 and .4 %.
"""

from abc import abstractmethod
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.load.groups import Groups
from v1builder.measures.activity import Activity, Array, Design
from v1builder.measures.groups import SEVERAL_CELLS
from v1builder.measures.measure import ByGroup, Measure

#: Ratio that counts as a response; as published.
RATIO: Final = 2.0


class OfRateRatio(Measure):
    """Share of the cells whose rates respond to a change. Memory: two numbers per cell."""

    unit: ClassVar[str] = "1"
    groups: ClassVar[tuple[str, ...]] = SEVERAL_CELLS
    counts_cells: ClassVar[bool] = True

    def __init__(self, design: Design):
        super().__init__(design)
        # Before and after the change.
        self._counts = np.zeros((2, design.n_cells))
        self._steps = np.zeros(2)

    @abstractmethod
    def responds(self, before: Array, after: Array) -> NDArray[np.bool_]:
        """[n_cells] whether a cell that fires before the change responds, from rates."""

    def see(self, activity: Activity) -> None:
        """Count the spikes of every cell before and after the change."""
        change, n = self.design.change, self.design.n_cells
        if change is None:
            return
        late = activity.step >= change
        self._counts += [
            np.bincount(activity.cell[~late], minlength=n),
            np.bincount(activity.cell[late], minlength=n),
        ]
        n_early = np.clip(change, activity.start, activity.stop) - activity.start
        n_late = activity.stop - activity.start - n_early
        self._steps += len(activity.trials) * np.array([n_early, n_late])

    def compute(self, groups: Groups) -> ByGroup:
        """Share by group."""
        if self.design.change is None:
            return ByGroup.missing(groups, "what is shown does not change in this window")
        if not self._steps.all():
            return ByGroup.missing(groups, "nothing was observed")
        before, after = self._counts / self._steps[:, None]
        responds = (before > 0) & self.responds(before, after)
        return ByGroup.share(groups, responds, np.ones(len(before), bool), "")
