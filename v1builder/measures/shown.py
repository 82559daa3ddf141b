"""Rates by what is shown: what measures of tuning and of contrast have in common."""

from typing import ClassVar

import numpy as np

from v1builder.measures.activity import Activity, Array, Design, Indices
from v1builder.measures.measure import OfCells


class OfShown(OfCells):
    """A measure of the mean rates by some value of what is shown. Memory: a number per cell and value.

    Attributes:
        quantity: what the value is, for people.
        unit_of_quantity: the same of its unit, with a blank before it.
        shown: [values] in increasing order.
    """

    quantity: ClassVar[str]
    unit_of_quantity: ClassVar[str] = ""

    def __init__(self, design: Design, of_condition: Array | None):
        """Nothing seen.

        Args:
            design: of what is observed.
            of_condition: [conditions] the value, NaN for none.
        """
        super().__init__(design)
        of_condition = np.zeros(0) if of_condition is None else of_condition
        known = np.isfinite(of_condition)
        self.shown: Array = np.unique(of_condition[known])
        #: [conditions] position of the value, -1 for none.
        self._row = np.full(len(of_condition), -1)
        self._row[known] = np.searchsorted(self.shown, of_condition[known])
        self._counts = np.zeros((len(self.shown), design.n_cells))
        self._trials: Indices = np.zeros(len(self.shown), np.int64)
        self._steps = 0

    def see(self, activity: Activity) -> None:
        """Count spikes by value and cell."""
        if not len(self.shown):
            return
        row = np.where(activity.condition >= 0, self._row[activity.condition], -1)
        shape = self._counts.shape
        counts = row[activity.trial] >= 0
        at = row[activity.trial[counts]] * shape[1] + activity.cell[counts]
        self._counts += np.bincount(at, minlength=shape[0] * shape[1]).reshape(shape)
        if activity.start == 0:
            self._trials += np.bincount(row[row >= 0], minlength=shape[0])
        self._steps = max(self._steps, activity.stop)

    @property
    def missing(self) -> str:
        """Why there are no rates; empty where there are."""
        if not len(self.shown):
            return f"nothing that was shown has a {self.quantity}"
        unseen = self.shown[self._trials == 0]
        if len(unseen):
            return f"no trial with {self.quantity} {unseen[0]:g}{self.unit_of_quantity}"
        return ""

    def rates(self) -> Array:
        """[values, n_cells] Hz, where none is missing."""
        seconds = self._trials * self._steps * self.design.dt / 1000
        return self._counts / seconds[:, None]

    def n_spikes(self) -> Array:
        """[n_cells] spikes that the rates rest on."""
        return self._counts.sum(axis=0)
