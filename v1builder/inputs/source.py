"""What an input population does: fire, by itself or because of what is on the screen."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.lgn import poisson_spikes
from v1builder.load.network import NodePopulation
from v1builder.stimuli import Movie


class Source(ABC):
    """Spikes of the units of one input population.

    A subclass serves the nodes that say what it needs to know; number and rates of the units come from the
    nodes alone.

    Attributes:
        kind: name of the kind, for people.
        needs: what the nodes must say, for the error of nodes that no kind serves.
        sees: whether the spikes depend on what is on the screen.
        injects: whether the nodes are the simulated cells, and what is given is no spikes but a current into
            each, pA as floating point.
        n_units: size of the population.
        dt: ms per step.
    """

    kind: ClassVar[str]
    needs: ClassVar[str]
    sees: ClassVar[bool] = False
    injects: ClassVar[bool] = False
    n_units: int
    dt: float

    @classmethod
    @abstractmethod
    def serves(cls, nodes: NodePopulation) -> bool:
        """Whether these nodes are of this kind."""

    @classmethod
    @abstractmethod
    def of(
        cls, nodes: NodePopulation, projecting: NDArray[np.int64], *, dt: float, dtype: torch.dtype
    ) -> Self:
        """The source of an input population.

        Args:
            nodes: its units.
            projecting: positions of the units that have targets; no others need be evaluated.
            dt: ms per step.
            dtype: of rates.

        Raises:
            NetworkError: the nodes are of this kind, but what they say is not complete or not valid.
        """

    @abstractmethod
    def gray_rates(self) -> Tensor:
        """[n_units] Hz while the screen is gray and has been."""

    def gray(self, n_trials: int, n_steps: int, generator: torch.Generator) -> Tensor:
        """Spike counts [trial, step, unit], uint8, while the screen is gray and has been."""
        return poisson_spikes(self.gray_rates(), self.dt, generator, repeat=(n_trials, n_steps))

    def spikes(self, movies: Sequence[Movie], n_steps: int, generator: torch.Generator) -> Tensor:
        """Spike counts [trial, step, unit], uint8, of trials that show these movies.

        A source that does not see fires as it does on a gray screen.
        """
        return self.gray(len(movies), n_steps, generator)
