"""Mean rates by condition: what measures of how cells respond to all that is shown have in common."""

import numpy as np

from v1builder.measures.activity import Activity, Array, Design, Indices
from v1builder.measures.measure import Measure


class OfConditions(Measure):
    """A measure of the mean rates in each condition. Memory: a number per cell and condition."""

    def __init__(self, design: Design):
        super().__init__(design)
        self._counts: dict[int, Indices] = {}
        self._steps: dict[int, int] = {}

    def see(self, activity: Activity) -> None:
        """Count spikes by condition and cell; trials in which nothing is shown do not count."""
        of_spike = activity.condition[activity.trial]
        shown, n_trials = np.unique(activity.condition, return_counts=True)
        for condition, n in zip(shown.tolist(), n_trials.tolist(), strict=True):
            if condition < 0:
                continue
            own = activity.cell[of_spike == condition]
            before = self._counts.get(condition, 0)
            self._counts[condition] = before + np.bincount(own, minlength=self.design.n_cells)
            steps = n * (activity.stop - activity.start)
            self._steps[condition] = self._steps.get(condition, 0) + steps

    def rates(self) -> Array:
        """[conditions, n_cells] Hz, in the order of the numbers of conditions."""
        rows = [
            self._counts[one] / (self._steps[one] * self.design.dt / 1000)
            for one in sorted(self._counts)
        ]
        return np.stack(rows) if rows else np.zeros((0, self.design.n_cells))

    def n_spikes(self) -> Array:
        """[n_cells] spikes that the rates rest on."""
        return np.sum([*self._counts.values(), np.zeros(self.design.n_cells)], axis=0)
