"""What every objective has in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from v1builder.load.network import Network
from v1builder.load.reference import IN_VIVO, IN_VIVO_UNITS
from v1builder.schema.config import Settings
from v1builder.schema.errors import ConfigError, DataError
from v1builder.schema.recordings import TARGET, Recorded, recorded, recorded_units
from v1builder.tasks import Task


@dataclass(frozen=True)
class Setting:
    """What an objective is made for.

    Attributes:
        network: as built, before training.
        task: in whose trials it looks at the network.
        home: folder of the network.
        quantiles: what was recorded, of `load.reference.read_in_vivo`; None where the network has none.
        units: single units, of `load.reference.read_in_vivo_units`; None where the network has none.
        judged: [n_cells] whether objectives look at a cell.
        batch_size: trials of a step.
    """

    network: Network
    task: Task
    home: Path
    quantiles: pd.DataFrame | None
    units: pd.DataFrame | None
    judged: NDArray[np.bool_]
    batch_size: int

    @property
    def dt(self) -> float:
        """Time step, ms."""
        return self.task.dt

    def recorded(self, population: str, metric: str, units: str) -> Recorded:
        """The distribution over recorded units that a population is drawn to.

        Args:
            population: of the network.
            metric: of the recordings.
            units: "targets" for those that may be trained to, "all" for the quantiles over all of them.

        Raises:
            DataError: there are none of its class.
            NetworkError: not one of the V1 populations.
        """
        table = self.table(units)
        return (recorded if units == "all" else recorded_units)(table, population, metric)

    def table(self, units: str) -> pd.DataFrame:
        """The recordings, see `recorded`.

        Raises:
            DataError: the network has none.
        """
        if units == "all":
            if self.quantiles is None:
                raise DataError.of(
                    "the network has no recordings to be drawn to",
                    self.home / IN_VIVO,
                    'units = "all"',
                    "put the file there, or set train.rate_weight = 0 and leave the objective out",
                )
            return self.quantiles
        if self.units is None:
            raise DataError.of(
                "the network has no recorded units to be drawn to",
                self.home / IN_VIVO_UNITS,
                'units = "targets"',
                'copy the file from a column that was built with this version, or set units = "all"',
            )
        return pd.DataFrame(self.units[self.units["split"] == TARGET])


@dataclass(frozen=True)
class Seen:
    """What a batch did, as one of the processes that share it sees it. b its trials, t step, n cell.

    Attributes:
        spikes: [b, t, n], differentiable.
        drive: [b, t, n] mV above E_L before the reset; None unless an objective needs it.
        condition: [b] number of what was shown, as the task has it.
        threshold: gives [n] V_th - E_L, mV.
        weights: gives [e] pA, the current weights of edges by their name.
        n_trials: of the whole batch.
        part: share of the batch's trials that this process has.
        processes: how many share the batch.
        summed: adds a tensor over all processes, differentiably.
        generator: of draws, the same in all processes, on the CPU.
    """

    spikes: Tensor
    drive: Tensor | None
    condition: Tensor
    threshold: Callable[[], Tensor]
    weights: Callable[[str], Tensor]
    n_trials: int
    generator: torch.Generator
    part: float = 1.0
    processes: int = 1
    summed: Callable[[Tensor], Tensor] = field(default=lambda value: value)


class Objective(ABC):
    """A number to be made small.

    Attributes:
        name: of its line in the metrics.
        needs_drive: whether it looks at voltages.
        notes: what one should know of it, for people.
    """

    name: str
    needs_drive: bool = False
    notes: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, seen: Seen) -> Tensor:
        """This process's part of the value of a batch: the sum over processes is the value."""

    def state_dict(self) -> dict[str, Any]:
        """What the next batch needs to know of those before it, for a checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        del state


class ObjectiveSettings(Settings):
    """A term of what a training minimises, and how much it counts.

    Attributes:
        weight: of the term in the sum.
        from_step: before this step of the optimiser the term is only looked at.
        ramp_steps: steps over which its weight then grows, linearly, to `weight`.
    """

    kind: Any  # a Literal in every member, by which [[objective]] selects it
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    from_step: int = Field(default=0, ge=0)
    ramp_steps: int = Field(default=0, ge=0)

    def weight_at(self, step: int) -> float:
        """The weight in a step."""
        if step < self.from_step:
            return 0.0
        if step - self.from_step >= self.ramp_steps:
            return self.weight
        return self.weight * (step - self.from_step + 1) / (self.ramp_steps + 1)

    def make(self, setting: Setting) -> Objective:
        """The objective of a network in a task.

        Raises:
            ConfigError, DataError, NetworkError: it has nothing to look at.
        """
        raise NotImplementedError


def core(network: Network, radius_um: float | None) -> NDArray[np.bool_]:
    """[n_cells] which cells are within a distance of the column's axis; all of them for None.

    Cells near the edge lack neighbours, so what they do says little of a living cortex.

    Raises:
        ConfigError: there are no such cells, or cells have no positions.
    """
    if radius_um is None:
        return np.ones(network.n_cells, dtype=bool)
    attributes = network.cells.attributes
    missing = [name for name in ("x", "z") if name not in attributes]
    if missing:
        raise ConfigError.of(
            "cells lack the positions by which the core is found",
            f"core_radius_um, nodes of '{network.simulated}'",
            f"no {', '.join(missing)}",
            "leave core_radius_um out",
        )
    inside = np.hypot(attributes["x"], attributes["z"]) <= radius_um
    if not inside.any():
        raise ConfigError.of(
            "no cell lies within the core", "core_radius_um", radius_um, "make it larger"
        )
    return inside
