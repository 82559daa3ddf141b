"""Tuning to the direction of what moves: what its indices have in common, see `analysis.tuning`."""

from abc import abstractmethod
from typing import Final

import numpy as np

from v1builder.measures.activity import Activity, Array, Design, Indices
from v1builder.measures.measure import OfCells
from v1builder.schema.errors import ConfigError

#: A cell that hardly fires looks selective by chance: with 10 spikes and no tuning `osi_vector` is .28.
SPIKES_MIN: Final = 10


class OfTuning(OfCells):
    """An index of the mean rates by direction of motion. Memory: a number per cell and direction."""

    def __init__(self, design: Design):
        super().__init__(design)
        of_condition = np.zeros(0) if design.directions is None else design.directions
        moving = np.isfinite(of_condition)
        self.directions = np.unique(of_condition[moving])
        #: [conditions] direction by number, -1 for none.
        self._row = np.full(len(of_condition), -1)
        self._row[moving] = np.searchsorted(self.directions, of_condition[moving])
        self._counts = np.zeros((len(self.directions), design.n_cells))
        self._trials: Indices = np.zeros(len(self.directions), np.int64)
        self._steps = 0

    @abstractmethod
    def index(self, rates: Array, directions: Array) -> Array:
        """[n_cells] from rates [n_directions, n_cells]."""

    def see(self, activity: Activity) -> None:
        """Count spikes by direction and cell."""
        if not len(self.directions):
            return
        row = np.where(activity.condition >= 0, self._row[activity.condition], -1)
        shape = self._counts.shape
        moves = row[activity.trial] >= 0
        at = row[activity.trial[moves]] * shape[1] + activity.cell[moves]
        self._counts += np.bincount(at, minlength=shape[0] * shape[1]).reshape(shape)
        if activity.start == 0:
            self._trials += np.bincount(row[row >= 0], minlength=shape[0])
        self._steps = max(self._steps, activity.stop)

    def of_cells(self) -> tuple[Array, str]:
        """Index of every cell that fires enough."""
        missing = np.full(self.design.n_cells, np.nan)
        if not len(self.directions):
            return missing, "nothing that was shown has a direction"
        unseen = self.directions[self._trials == 0]
        if len(unseen):
            return missing, f"no trial with direction {unseen[0]:g} degrees"
        seconds = self._trials * self._steps * self.design.dt / 1000
        try:
            value = self.index(self._counts / seconds[:, None], self.directions)
        except ConfigError as error:
            problem = error.problems[0]
            return missing, f"{problem.what} ({problem.got})"
        enough = self._counts.sum(axis=0) >= SPIKES_MIN
        return np.where(enough, value, np.nan), f"no cell with {SPIKES_MIN} spikes"
