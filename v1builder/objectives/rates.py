"""Firing rates like those recorded: what keeps a network near the living animal.

Recorded is, for every cell type, the distribution over units of their mean rates, on drifting gratings
(`mean_rate_Hz`) and on a gray screen (`spontaneous_rate_Hz`), over long sessions. Which unit a cell of the
model is, is not known, so within a population the cell with the i-th lowest rate is compared with the i-th
lowest of as many recorded rates (optimal transport in one dimension). Three things make that fair.

* **Like with like.** The steps of a trial in which the stimulus acts are compared with the rates on
  gratings, the gray steps between warm-up and stimulus with the spontaneous ones; the loss is the mean of
  both. (The warm-up itself has no gradient.)
* **Ranks that last.** A batch holds a few seconds of each cell, in which slow cells do not fire. Ranked is
  therefore an exponential mean of each cell's rate over training steps, with a time constant of 60 s of
  simulated time. Equal rates are ranked at random, never by the order of the cells in the file.
* **Counting noise.** In T seconds a cell of rate r fires Poisson(r T) times, so even the recorded units,
  seen for so short, would not show the recorded rates. So in every step virtual cells that fire Poisson at
  exactly the recorded rates are measured as the model's cells are: counted over as long a window, and
  ranked by a mean with as long a memory. What they show at a rank on average is the target of that rank,
  and how far single ones are from it on average is subtracted. So the loss is 0 in expectation, from the
  first step on, for cells that fire Poisson at the recorded rates; it may be below 0, by chance or where
  cells fire more regularly.

With little memory the targets are the order statistics of noisy counts, that is the recorded distribution
convolved with the counting noise; with a long one they become the recorded rates themselves. (Comparing
the exponential means instead of the current rates would be simpler and makes rates overshoot: such a loss
looks a minute back. Ranking the counts themselves gives every cell another target in every step.)

Distances are Huber's (Hz; quadratic below 1 Hz), averaged over cells.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import huber_loss

from v1builder.load import Network, group_cells
from v1builder.load.reference import IN_VIVO, IN_VIVO_UNITS
from v1builder.objectives.memory import Memory, ranked
from v1builder.objectives.objective import Objective, ObjectiveSettings, Seen, Setting
from v1builder.schema.errors import DataError, NetworkError, Problem, raise_if_any
from v1builder.schema.recordings import (
    Recorded,
    recorded,
    recorded_units,
    reference_type,
)

#: The metric of the recordings that each condition is compared with.
METRICS: Final[dict[str, str]] = {
    "evoked": "mean_rate_Hz",
    "spontaneous": "spontaneous_rate_Hz",
}
#: Time constant of the exponential mean that ranks cells, s of simulated time.
MEMORY_S: Final = 60.0
#: Virtual measurements of the recorded rates in every step.
_DRAWS: Final = 8


@dataclass(frozen=True)
class RateTargets:
    """Recorded firing rates a network's cells are drawn towards, population by population.

    Attributes:
        population: [n] int64 index of every cell's population.
        rates: by condition, [n] float64 Hz; populations one after another, inside each the recorded rate
            at quantile (i + 1/2)/n_population, ascending.
        pooled: recorded cell types that had too few units and were pooled over layers.
        cells: [n] positions of the cells that are judged; None for all of them.
    """

    population: Tensor
    rates: Mapping[str, Tensor]
    pooled: tuple[str, ...] = ()
    cells: Tensor | None = None


def rate_targets(
    network: Network,
    reference: pd.DataFrame,
    where: object = IN_VIVO,
    *,
    source: Callable[[pd.DataFrame, str, str], Recorded] = recorded,
    judged: NDArray[np.bool_] | None = None,
) -> RateTargets:
    """Targets from the recordings that travel with the network.

    Between the published quantiles (5, 25, 50, 75, 95 %) rates are interpolated linearly, beyond them held.
    Types with fewer than 15 units are pooled over layers, see `schema.recordings.recorded`.

    Args:
        network: has `pop_name` for every cell.
        reference: of `load.reference.read_in_vivo`, or units of `read_in_vivo_units`.
        where: the file it came from, for errors.
        source: what finds the distribution of a population in the reference.
        judged: [n_cells] which cells are drawn to the targets; all of them unless given.

    Raises:
        DataError: a population of the network has no recorded rates.
        NetworkError: the cells have no `pop_name`.
    """
    groups = group_cells(network.cells, "population")
    cells = None if judged is None or judged.all() else np.flatnonzero(judged)
    of_cell = groups.of_cell if cells is None else groups.of_cell[cells]
    sizes = np.bincount(of_cell, minlength=len(groups))
    rates, pooled, problems = {}, set[str](), []
    for condition, metric in METRICS.items():
        parts = []
        for name, size in zip(groups.labels, sizes.tolist(), strict=True):
            if not size:
                continue
            try:
                found = source(reference, name, metric)
            except (DataError, NetworkError) as error:
                fix = "add it, or set train.rate_weight = 0"
                what = f"no recorded rates belong to population '{name}'"
                problems.append(Problem(what, str(where), error.problems[0].what, fix))
                continue
            parts.append(torch.from_numpy(found.sample(size)))
            if found.cell_types != (own := reference_type(name),):
                pooled.add(own)
        rates[condition] = torch.cat(parts) if parts else torch.zeros(0)
    raise_if_any(problems, DataError)
    chosen = None if cells is None else torch.from_numpy(cells)
    return RateTargets(torch.from_numpy(of_cell), rates, tuple(sorted(pooled)), chosen)


class RateLoss:
    """The distance of firing rates from the recorded ones, with the memory it ranks cells by.

    Attributes:
        windows: steps of a trial that belong to each condition.
    """

    def __init__(self, targets: RateTargets, windows: Mapping[str, slice], dt: float):
        """Start without memory.

        Args:
            targets: of the network's cells.
            windows: steps of a trial that belong to each condition; empty ones are left out.
            dt: ms.
        """
        self.windows = {name: part for name, part in windows.items() if part.stop > part.start}
        self._targets, self._dt = targets, dt
        self._memory = {name: Memory.empty(len(targets.population)) for name in self.windows}

    def __call__(
        self, counts: Mapping[str, Tensor], n_trials: int, generator: torch.Generator
    ) -> Tensor:
        """The loss of one batch, whose rates are then remembered.

        Args:
            counts: by condition, [cell] spikes within its window in all trials together.
            n_trials: number of trials.
            generator: of ties and virtual cells, on the CPU.
        """
        losses = []
        for name, window in self.windows.items():
            seconds = n_trials * (window.stop - window.start) * self._dt / 1000
            losses.append(self._distance(name, counts[name] / seconds, seconds, generator))
        return torch.stack(losses).mean()

    def _distance(
        self, name: str, rate: Tensor, seconds: float, generator: torch.Generator
    ) -> Tensor:
        population, recorded_rate = self._targets.population, self._targets.rates[name]
        before = self._memory[name]
        memory = before.joined(rate.detach().cpu().double(), seconds, MEMORY_S)
        self._memory[name] = memory
        order = ranked(memory.mean, population, generator)
        shown = _as_shown(recorded_rate, population, before, seconds, generator)
        # Of all draws but one each, so that cells and virtual cells are equally far from their targets.
        others = (shown.sum(dim=0) - shown) / (len(shown) - 1)
        by_chance = huber_loss(shown, others)
        found = huber_loss(rate[order.to(rate.device)], others[0].to(rate))
        return found - by_chance.to(rate)

    def state_dict(self) -> dict[str, Any]:
        """The memory, for a checkpoint."""
        return {name: vars(memory) for name, memory in self._memory.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what `state_dict` gave."""
        self._memory = {name: Memory(**state[name]) for name in self.windows}


def _as_shown(
    recorded_rate: Tensor,
    population: Tensor,
    before: Memory,
    seconds: float,
    generator: torch.Generator,
) -> Tensor:
    """What cells that fire Poisson at the recorded rates show, at each rank, measured as the model's are.

    Args:
        recorded_rate: [cell] Hz, populations one after another.
        population: [cell] index of the model's cells.
        before: of the model's cells: the virtual ones were seen for as long.
        seconds: of the current window.
        generator: of the spikes.

    Returns:
        [draw, cell] Hz in the current window, populations one after another, by rank.
    """
    of_target = population.sort().values
    mean = recorded_rate.expand(_DRAWS, -1)
    rate = torch.poisson(mean * seconds, generator=generator) / seconds
    total = torch.zeros_like(rate)
    if before.weight:
        seen = before.seconds
        total = torch.poisson(mean * seen, generator=generator) / seen * before.weight
    memory = Memory(total, before.weight, before.noise).joined(rate, seconds, MEMORY_S)
    return rate.gather(1, ranked(memory.mean, of_target, generator))


class Rates(Objective):
    """`RateLoss` of the batches of a task."""

    name = "rate_loss"

    def __init__(self, setting: Setting, units: str):
        reference, home = setting.table(units), setting.home
        source = recorded if units == "all" else recorded_units
        where = home / (IN_VIVO if units == "all" else IN_VIVO_UNITS)
        targets = rate_targets(
            setting.network, reference, where, source=source, judged=setting.judged
        )
        task = setting.task
        windows = {"evoked": task.evoked, "spontaneous": task.spontaneous}
        self._cells = targets.cells
        self._loss = RateLoss(targets, windows, setting.dt)
        notes = []
        if targets.pooled:
            notes.append(
                "rates are drawn to those of all units of a class where its layer has too few: "
                + ", ".join(targets.pooled)
            )
        if "spontaneous" not in self._loss.windows:
            notes.append(
                "no trial has a gray screen after a warm-up, so spontaneous rates are not drawn to "
                "recorded ones (task.gray_before_ms and task.warm_up_ms give one)"
            )
        self.notes = tuple(notes)

    def __call__(self, seen: Seen) -> Tensor:
        """Of the whole batch, by the number of processes."""
        spikes = seen.spikes if self._cells is None else seen.spikes[:, :, self._cells]
        counts = {
            name: seen.summed(spikes[:, window].sum(dim=(0, 1)))
            for name, window in self._loss.windows.items()
        }
        return self._loss(counts, seen.n_trials, seen.generator) / seen.processes

    def state_dict(self) -> dict[str, Any]:
        """The memory."""
        return self._loss.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember."""
        self._loss.load_state_dict(state)


class RatesSettings(ObjectiveSettings):
    """Mean rates distributed as those of recorded units, evoked and spontaneous.

    Attributes:
        units: whose rates: "targets" leaves those out that are kept to judge with, "all" takes the quantiles
            over all units (the short form `train.rate_weight` does).
    """

    kind: Literal["rates"] = "rates"
    weight: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    units: Literal["targets", "all"] = "targets"

    def make(self, setting: Setting) -> Rates:
        """Of a network in a task."""
        return Rates(setting, self.units)
