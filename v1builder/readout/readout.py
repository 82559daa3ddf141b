"""What every readout has in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from v1builder.load.network import Network
from v1builder.readout.selection import LAYER_5_EXCITATORY, readable_cells
from v1builder.schema.config import Settings


@dataclass(frozen=True)
class Asked:
    """What a task asks of a readout.

    Attributes:
        n_outputs: numbers of an answer.
        windows: steps in which an answer is asked for, one after the other.
        n_steps: of a trial.
        dt: ms per step.
        per_step: whether every step of the windows has an answer of its own.
    """

    n_outputs: int
    windows: Sequence[slice]
    n_steps: int
    dt: float
    per_step: bool = False


class Readout(nn.Module, ABC):
    """Answers from spikes."""

    @abstractmethod
    def forward(self, spikes: Tensor) -> Tensor:
        """Answers [trial, window, output] of spikes [trial, step, cell].

        Where every step has an answer it is [trial, step, output], with the steps of all windows.
        """


class ReadoutSettings(Settings):
    """Which cells are read, and how they are read: see the members.

    Attributes:
        populations: pop_name of the cells; patterns such as "e5*" too.
        cells: SONATA node set of the cells (a name of the network's, or conditions on node attributes such as
            {ei = "e", layer = 4}), in place of `populations`.
        radius_um: largest distance from the column's axis; "all" reads everywhere, and asks for no positions.
    """

    kind: Any  # a Literal in every member, by which [readout] selects it
    populations: tuple[str, ...] = Field(default=LAYER_5_EXCITATORY, min_length=1)
    cells: str | dict[str, Any] | None = None
    radius_um: Annotated[float, Field(gt=0)] | Literal["all"] = 55.0

    def make(self, network: Network, asked: Asked, seed: int) -> Readout:
        """The untrained readout of a network.

        Raises:
            ConfigError: the cells are unknown or too few, or the readout cannot give what is asked.
            NetworkError: cells lack what they are chosen by.
        """
        raise NotImplementedError

    def candidates(self, network: Network) -> NDArray[np.intp]:
        """Positions of the cells that may be read.

        Raises:
            ConfigError: a population or the node set is unknown.
            NetworkError: cells lack what they are chosen by.
        """
        return readable_cells(network, self.populations, self._radius, self.cells)

    @property
    def _radius(self) -> float | None:
        return None if self.radius_um == "all" else self.radius_um

    @property
    def named(self) -> str:
        """The cells in words."""
        return ", ".join(self.populations) if self.cells is None else f"node set {self.cells}"
