"""Selectivities distributed as those of recorded units: what the objectives "osi" and "dsi" have in common.

A cell's index is |sum r e^(i h theta)| / sum r over evenly spaced directions theta (`analysis.tuning`; h is 2
for orientation and 1 for direction). Which unit a cell is, is not known, so within a population the cell
with the i-th lowest index is compared with the i-th lowest of as many recorded ones, as in `rates`.

* **What is compared** comes from exponential means of each cell's rate in every direction, over 120 s of
  simulated grating in all. Such a mean is as noisy as a count over 240 s (`Memory.seconds`), which is what a
  recorded index rests on: 15 trials of 2 s in each of 8 directions. So both carry the same noise, which
  matters since noise alone makes the index of an untuned cell about .9 / sqrt(number of spikes).
* **While less has been seen** the excess of the noise is taken off: for Poisson counts the square of the
  resultant is in expectation that of the tuning plus the sum of their variances, so the index of the tuning
  is known, and what 240 s would make of it. (Where that is negative it counts as 0, so in the first half
  minute indices of untuned cells are still too large, by half.)
* **The gradient** is that of the index with respect to the current rates, at the remembered ones: current
  spikes in direction theta count as (cos(h theta - phi) - index) / sum r, phi being the phase of the
  resultant. So a spike in the preferred direction raises the index and one elsewhere lowers it.
* **Cells with fewer than 10 spikes** in 240 s have no index, here as in the recordings and in `measures`:
  waking them up is the business of "rates".

Distances are Huber's, with the bend at .1.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from v1builder.load import group_cells
from v1builder.load.reference import IN_VIVO, IN_VIVO_UNITS
from v1builder.objectives.memory import Memory
from v1builder.objectives.objective import Objective, ObjectiveSettings, Seen, Setting
from v1builder.schema.errors import ConfigError, DataError, NetworkError, Problem, raise_if_any
from v1builder.schema.recordings import Recorded
from v1builder.tasks.design import common

#: s of simulated grating, in all directions together.
MEMORY_S: Final = 120.0
#: s of grating that a recorded index rests on.
RECORDED_S: Final = 240.0
SPIKES_MIN: Final = 10
#: Directions that tell the tuning of a cell in both harmonics apart, and cells of which there are quantiles.
DIRECTIONS_MIN: Final = 8
_BEND: Final = 0.1


class Selectivity(Objective):
    """Distance of an index of the cells from recorded ones."""

    def __init__(self, setting: Setting, metric: str, harmonic: int, units: str):
        self.name = f"{metric}_loss"
        self._harmonic = harmonic
        where = f"objective {metric}, task {setting.task.name}"
        self.directions, self._row = _directions(setting, where)
        setting.table(
            units
        )  # a network without recordings is one problem, not one of each population
        groups = group_cells(setting.network.cells, "population")
        self._cells: list[Tensor] = []
        self._targets: list[Recorded] = []
        problems, few = [], []
        for index, name in enumerate(groups.labels):
            cells = np.flatnonzero((groups.of_cell == index) & setting.judged)
            if len(cells) < DIRECTIONS_MIN:
                few.append(f"{name} {len(cells)}")
                continue
            try:
                self._targets.append(setting.recorded(name, metric, units))
            except (DataError, NetworkError) as error:
                problems.append(
                    Problem(
                        f"no recorded {metric} belongs to population '{name}'",
                        str(setting.home / (IN_VIVO if units == "all" else IN_VIVO_UNITS)),
                        error.problems[0].what,
                        f"add its class, or leave objective {metric} out",
                    )
                )
                continue
            self._cells.append(torch.from_numpy(cells))
        raise_if_any(problems, DataError)
        if not self._cells:
            raise ConfigError.of(
                f"the column is too narrow for tuning to {DIRECTIONS_MIN} directions",
                where,
                f"judged cells of each population: {', '.join(few)}",
                f"train a wider column or a larger core_radius_um: {DIRECTIONS_MIN} cells of a population",
            )
        if few:
            self.notes = (
                f"{metric} is not drawn to recordings in populations of fewer than {DIRECTIONS_MIN} judged "
                f"cells: {', '.join(few)}",
            )
        self._window, self._dt = setting.task.windows[-1], setting.dt
        n_cells = setting.network.n_cells
        self._memory = [Memory.empty(n_cells) for _ in self.directions]

    def __call__(self, seen: Seen) -> Tensor:
        """Of the whole batch, by the number of processes; 0 until every direction was seen."""
        counts = seen.spikes[:, self._window].sum(dim=1)
        row = self._row[seen.condition.cpu()]
        n_shown = seen.summed(row.bincount(minlength=len(self._memory)).to(counts))
        seconds = (self._window.stop - self._window.start) * self._dt / 1000
        current: list[Tensor | None] = []
        for index, n_trials in enumerate(n_shown.tolist()):
            if not n_trials:
                current.append(None)
                continue
            total = seen.summed(counts[(row == index).to(counts.device)].sum(dim=0))
            rate = total / (n_trials * seconds)
            current.append(rate)
            self._memory[index] = self._memory[index].joined(
                rate.detach().cpu().double(), n_trials * seconds, MEMORY_S / len(self._memory)
            )
        if not all(memory.weight for memory in self._memory):
            return seen.spikes.new_zeros(())
        return self._distance(current, seen) / seen.processes

    def _distance(self, current: list[Tensor | None], seen: Seen) -> Tensor:
        index, phase, total = self._remembered()
        # The same value, with the gradient that current rates have.
        moved = seen.spikes.new_zeros(len(index))
        for theta, rate in zip(self._angles(), current, strict=True):
            if rate is not None:
                factor = (torch.cos(theta - phase) - index) / total
                moved = moved + factor.nan_to_num(0.0).to(rate) * rate
        value = index.to(moved) + moved - moved.detach()
        losses, n = [], 0
        for cells, target in zip(self._cells, self._targets, strict=True):
            known = cells[~index[cells].isnan()]
            if len(known):
                shuffled = known[torch.randperm(len(known), generator=seen.generator)]
                order = shuffled[index[shuffled].argsort()]
                wanted = torch.from_numpy(target.sample(len(known))).to(value)
                found = value[order.to(value.device)]
                losses.append(huber_loss(found, wanted, reduction="sum", delta=_BEND))
                n += len(known)
        return torch.stack(losses).sum() / (n * _BEND) if n else moved.sum() * 0

    def _angles(self) -> Tensor:
        return torch.deg2rad(torch.from_numpy(self.directions)) * self._harmonic

    def _remembered(self) -> tuple[Tensor, Tensor, Tensor]:
        """[cell] the index that 240 s would show (NaN where a cell hardly fires), its phase, sum of rates."""
        rates = torch.stack([memory.mean for memory in self._memory])
        wave = torch.polar(torch.ones(len(rates), dtype=torch.float64), self._angles())
        resultant = (wave[:, None] * rates).sum(dim=0)
        total = rates.sum(dim=0)
        variance = sum(memory.mean / memory.seconds for memory in self._memory)
        assert isinstance(variance, Tensor)
        # Of n Poisson spikes |sum e^(i h theta)|^2 is n (n - 1) index^2 + n.
        pairs = total**2 - variance
        square = (resultant.abs() ** 2 - variance) / pairs
        n = total / len(rates) * RECORDED_S
        shown = (square + (1 - square) / n).clamp(0, 1).sqrt()
        return torch.where(n >= SPIKES_MIN, shown, math.nan), resultant.angle(), total

    def state_dict(self) -> dict[str, Any]:
        """The memory of every direction."""
        return {str(index): vars(memory) for index, memory in enumerate(self._memory)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember."""
        self._memory = [Memory(**state[str(index)]) for index in range(len(self._memory))]


def _directions(setting: Setting, where: str) -> tuple[np.ndarray, Tensor]:
    """The directions that a task shows, and [condition] which of them each condition is."""
    movies = setting.task.conditions("train")
    moving = common(movies, lambda one: one.direction if one.temporal_frequency else None)
    shown = np.unique(moving[np.isfinite(moving)]) if moving is not None else np.zeros(0)
    n = len(shown)
    even = n >= DIRECTIONS_MIN and np.allclose(np.diff(shown), 360 / n, rtol=0, atol=1e-6)
    if moving is None or not np.isfinite(moving).all() or not even:
        raise ConfigError.of(
            f"selectivity needs drifting gratings in {DIRECTIONS_MIN} or more evenly spaced directions",
            where,
            ", ".join(f"{each:g}" for each in shown) or "nothing that drifts",
            'train task "in_vivo", or leave the objective out',
        )
    if not any(source.sees for source in setting.task.sources.values()):
        raise ConfigError.of(
            "no input sees the gratings, so no cell can be selective", where,
            "no input with filters of the visual field", "train a network with an LGN",
        )  # fmt: skip
    return shown, torch.from_numpy(np.searchsorted(shown, moving))


class SelectivitySettings(ObjectiveSettings):
    """What the objectives on selectivities say.

    Attributes:
        units: whose selectivities: "targets" leaves those out that are kept to judge with, "all" takes the
            quantiles over all units.
    """

    units: Literal["targets", "all"] = "targets"
    metric: ClassVar[str]
    harmonic: ClassVar[int]

    def make(self, setting: Setting) -> Selectivity:
        """Of a network in a task that shows directions."""
        return Selectivity(setting, self.metric, self.harmonic, self.units)
