"""Units that repeat spikes of a file: recorded ones, or those of a larger column around a small one.

The recording is a ring: every trial, and every gray screen before it, begins at a random step of it and goes
on at its start where it ends. So each of its spikes is as likely as any other, and what happened together
stays together.
"""

from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.inputs.source import Source
from v1builder.lgn.poisson import add_events
from v1builder.load.network import SPIKES_FILE, NodePopulation
from v1builder.schema.errors import NetworkError, unknown_name
from v1builder.sonata.spikes import read_spikes

_MOST = np.iinfo(np.uint8).max


class RecordedSource(Source):
    """Spikes of a recording, whatever is on the screen.

    Attributes:
        n_recorded: steps of the recording, from its start to its last spike.
    """

    kind = "recorded spikes"
    needs: ClassVar[str] = (
        f"{SPIKES_FILE}, a SONATA spike file of the population (a column of node types)"
    )

    def __init__(self, step: NDArray[np.int64], unit: NDArray[np.int64], n_units: int, dt: float):
        """A recording.

        Args:
            step: [spike] ascending.
            unit: [spike] positions.
            n_units: size of the population.
            dt: ms per step.
        """
        self.n_units, self.dt = n_units, dt
        self.n_recorded = int(step[-1]) + 1
        self._step, self._unit = torch.from_numpy(step), torch.from_numpy(unit)

    @classmethod
    def serves(cls, nodes: NodePopulation) -> bool:
        """Whether the nodes have `spikes_file`."""
        return bool(np.any(nodes.attributes.get(SPIKES_FILE, "") != ""))

    @classmethod
    def of(
        cls, nodes: NodePopulation, projecting: NDArray[np.int64], *, dt: float, dtype: torch.dtype
    ) -> Self:
        """All units: the spikes of one without targets cost nothing more.

        Raises:
            NetworkError: the nodes name several files, or the file cannot be read, has no spikes of them,
                names other nodes, or has more spikes of a unit in a step than 255.
        """
        del projecting, dtype
        where = f"nodes of '{nodes.name}', column {SPIKES_FILE}"
        files = np.unique(nodes.attributes[SPIKES_FILE].astype(str))
        if len(files) != 1:
            fix = "name one file for all nodes of a population"
            raise NetworkError.of("recorded spikes are in several files", where, list(files), fix)
        found = read_spikes(Path(files[0]))
        if nodes.name not in found and list(found) != [""]:  # "": a file that names no population
            raise NetworkError([unknown_name("population", nodes.name, found, files[0])])
        spikes = found.get(nodes.name, found.get(""))
        if spikes is None or not len(spikes):
            fix = f"record some, or give the units rates (rate_Hz) instead of {SPIKES_FILE}"
            raise NetworkError.of("the recording has no spikes", where, files[0], fix)
        order = np.argsort(nodes.node_id)
        unit = order[
            np.searchsorted(nodes.node_id, spikes.node_ids, sorter=order).clip(max=len(nodes) - 1)
        ]
        wrong = nodes.node_id[unit] != spikes.node_ids
        if wrong.any():
            raise NetworkError.of(
                "the recording has spikes of nodes that the population lacks",
                f"{files[0]}, population {nodes.name}",
                f"node_id {spikes.node_ids[wrong][0]} ({int(wrong.sum())} spikes)",
                "record the population of this network",
            )
        step = np.floor(spikes.timestamps / dt + 1e-9).astype(np.int64)
        _, counts = np.unique(step * len(nodes) + unit, return_counts=True)
        if counts.max() > _MOST:
            raise NetworkError.of(
                f"a unit has more than {_MOST} spikes in a step of {dt:g} ms",
                f"{files[0]}, population {nodes.name}",
                int(counts.max()),
                "divide the unit into several, or take a smaller step",
            )
        return cls(step, unit.astype(np.int64), len(nodes), dt)

    def gray_rates(self) -> Tensor:
        """[n_units] Hz, the mean of the recording."""
        counts = torch.bincount(self._unit, minlength=self.n_units)
        return counts.double() / (self.n_recorded * self.dt / 1000)

    def gray(self, n_trials: int, n_steps: int, generator: torch.Generator) -> Tensor:
        """Spike counts [trial, step, unit], uint8, each trial from a random step on."""
        counts = torch.zeros(n_trials, n_steps, self.n_units, dtype=torch.uint8)
        first = torch.randint(self.n_recorded, (n_trials,), generator=generator)
        for trial, start in enumerate(first.tolist()):
            done = 0
            while done < n_steps:
                n = min(n_steps - done, self.n_recorded - start)
                bounds = torch.tensor([start, start + n])
                low, high = torch.searchsorted(self._step, bounds).tolist()
                bins = (self._step[low:high] - start + done) * self.n_units + self._unit[low:high]
                add_events(counts[trial], bins)
                start, done = 0, done + n
        return counts
