"""Tuning to the direction of what moves: what its indices have in common, see `analysis.tuning`."""

from abc import abstractmethod
from typing import ClassVar, Final

import numpy as np

from v1builder.measures.activity import Array, Design
from v1builder.measures.shown import OfShown
from v1builder.schema.errors import ConfigError

#: A cell that hardly fires looks selective by chance: with 10 spikes and no tuning `osi_vector` is .28.
SPIKES_MIN: Final = 10


class OfTuning(OfShown):
    """An index of the mean rates by direction of motion. Memory: a number per cell and direction."""

    quantity: ClassVar[str] = "direction"
    unit_of_quantity: ClassVar[str] = " degrees"

    def __init__(self, design: Design):
        super().__init__(design, design.directions)

    @abstractmethod
    def index(self, rates: Array, directions: Array) -> Array:
        """[n_cells] from rates [n_directions, n_cells]."""

    def of_cells(self) -> tuple[Array, str]:
        """Index of every cell that fires enough."""
        none = np.full(self.design.n_cells, np.nan)
        if self.missing:
            return none, self.missing
        try:
            value = self.index(self.rates(), self.shown)
        except ConfigError as error:
            problem = error.problems[0]
            return none, f"{problem.what} ({problem.got})"
        enough = self.n_spikes() >= SPIKES_MIN
        return np.where(enough, value, np.nan), f"no cell with {SPIKES_MIN} spikes"
