"""Currents of a file into the cells themselves, the same in every trial, from its start on.

While the screen is gray before a trial nothing is injected.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.inputs.source import Source
from v1builder.load.network import CURRENT_FILE, NodePopulation
from v1builder.sonata.current_table import held_current, read_current
from v1builder.stimuli import Movie

Table = tuple[NDArray[np.float64], NDArray[np.float64]]


class InjectedCurrent(Source):
    """A current into each cell whose nodes name a file; none into the others."""

    kind = "an injected current"
    needs: ClassVar[str] = (
        f"{CURRENT_FILE}, a table of timestamps (ms) and amplitudes (pA) (a column of node types)"
    )
    injects: ClassVar[bool] = True

    def __init__(
        self, tables: Sequence[Table], table_of: NDArray[np.int64], dt: float, dtype: torch.dtype
    ):
        """Currents.

        Args:
            tables: times (ms) and amplitudes (pA) of every file.
            table_of: [cell] which of them; -1 for none.
            dt: ms per step.
            dtype: of what is injected.
        """
        self.n_units, self.dt = len(table_of), dt
        self._tables, self._dtype = tables, dtype
        self._table_of = torch.from_numpy(table_of)

    @classmethod
    def serves(cls, nodes: NodePopulation) -> bool:
        """Whether the nodes have `current_file`."""
        return bool(np.any(nodes.attributes.get(CURRENT_FILE, "") != ""))

    @classmethod
    def of(
        cls, nodes: NodePopulation, projecting: NDArray[np.int64], *, dt: float, dtype: torch.dtype
    ) -> Self:
        """The currents of all files that nodes name.

        Raises:
            NetworkError: a file is not there, or no table of a current.
        """
        del projecting
        files, table_of = np.unique(nodes.attributes[CURRENT_FILE].astype(str), return_inverse=True)
        named = files != ""
        number = np.where(named, np.cumsum(named) - 1, -1)
        tables = [read_current(Path(file)) for file in files[named]]
        return cls(tables, number[table_of], dt, dtype)

    def gray_rates(self) -> Tensor:
        """[n_units] 0: there are no spikes."""
        return torch.zeros(self.n_units, dtype=torch.float64)

    def gray(self, n_trials: int, n_steps: int, generator: torch.Generator) -> Tensor:
        """[trial, step, cell] 0 pA."""
        del generator
        return torch.zeros((), dtype=self._dtype).expand(n_trials, n_steps, self.n_units)

    def spikes(self, movies: Sequence[Movie], n_steps: int, generator: torch.Generator) -> Tensor:
        """[trial, step, cell] pA, the same in every trial."""
        del generator
        none = np.zeros(n_steps)  # the last row, where -1 points to
        courses = [held_current(*table, n_steps, self.dt) for table in self._tables]
        every = torch.from_numpy(np.stack([*courses, none])).to(self._dtype)
        return every[self._table_of].T.expand(len(movies), -1, -1)
