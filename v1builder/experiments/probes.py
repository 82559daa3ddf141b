"""Trials in which networks are measured before and after an ablation: the same spikes for all of a seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.experiments.history import Probe, SpikeHistory, measure_history
from v1builder.load.groups import Groups
from v1builder.model import V1Network
from v1builder.model.observation import SpikeCounts
from v1builder.tasks import Task
from v1builder.train.streams import stream

Array = NDArray[np.float64]

#: What is measured apart: a gray screen, and trials of the task.
CONDITIONS: Final = ("spontaneous", "evoked")


@dataclass(frozen=True)
class Probes:
    """Input spikes of the two conditions, each with its own warm-up.

    Attributes:
        conditions: one probe for each of `CONDITIONS`.
        seconds: of one condition, all trials together.
        dt: ms.
    """

    conditions: tuple[Probe, ...]
    seconds: float
    dt: float

    @torch.no_grad()
    def rates(self, model: V1Network, bias: Array | None = None) -> Array:
        """[n_cells, 2] Hz, spontaneous and evoked.

        Args:
            model: of the network.
            bias: [n_cells] pA added to its bias currents while it is measured.
        """
        own = model.bias_current.clone()
        if bias is not None:
            model.bias_current += torch.as_tensor(bias).to(own)
        try:
            counts = [_count(model, probe) for probe in self.conditions]
        finally:
            model.bias_current.copy_(own)
        return np.stack(counts, axis=1) / self.seconds

    def activity(self, model: V1Network) -> SpikeHistory:
        """What ablations need to know of the network before it is ablated."""
        return measure_history(model, self.conditions)

    def spike_floor(self, groups: Groups) -> Array:
        """[n_groups] Hz: a tenth of a spike per cell and second, or one spike in all probes."""
        observed = len(self.conditions) * self.seconds
        return np.maximum(0.1, 1 / (groups.sizes * observed))


def _count(model: V1Network, probe: Probe) -> Array:
    """[n_cells] spikes in the trials of a probe."""
    spikes = SpikeCounts()
    probe.run(model, [spikes])
    return spikes.counts.sum(axis=0)


def make_probes(task: Task, n_trials: int, seed: int, dt: float) -> Probes:
    """The probes of a seed: gray and training trials, as many of each."""

    def draws(*names: str) -> torch.Generator:
        return stream(seed, "matching", *names)

    trials = task.draw(n_trials, "train", draws("trials"))
    return Probes(
        (
            Probe(
                task.warm_up(n_trials, draws("spontaneous", "warm-up")),
                task.blank(n_trials, draws("spontaneous")),
            ),
            Probe(
                task.warm_up(n_trials, draws("evoked", "warm-up")),
                task.inputs(trials, draws("evoked")),
            ),
        ),
        n_trials * task.n_steps * dt / 1000,
        dt,
    )


def gray_inputs(
    task: Task, seconds: float, seed: int, dt: float, trial_ms: float = 1000.0
) -> Mapping[str, Tensor]:
    """Input spikes of trials of a gray screen, `seconds` in all."""
    n_steps = round(trial_ms / dt)
    n_trials = max(1, round(1000 * seconds / trial_ms))
    generator = stream(seed, "calibration")
    return {
        name: source.gray(n_trials, n_steps, generator) for name, source in task.sources.items()
    }
