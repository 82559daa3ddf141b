"""How much of a random input the cells remember, and for how long (Jaeger 2001).

The input enters as a current: a number drawn evenly from -1 to 1 is held for 10 ms, times .3 of the
rheobase of each cell (`probes.rheobase`), the same number for all cells of a node set (all cells unless
said otherwise). The inputs of the network go on as on a gray screen, with noise of their own in every
sequence. The state is the spikes of every 10 ms through a low-pass filter of 30 ms.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.analysis.memory_capacity import memory_capacity
from v1builder.load.groups import Groups
from v1builder.load.selection import select_cells
from v1builder.measures import ByGroup, MeasureRow
from v1builder.model.observation import observe
from v1builder.protocols.probes import BinnedSpikes, rheobase
from v1builder.protocols.protocol import Preparation, Protocol

WINDOW: Final = "random current"
#: Cells that a readout needs at least.
CELLS_MIN: Final = 10


@dataclass(frozen=True)
class MemoryCapacity(Protocol):
    """Sum of the r^2 with which past input is read from the cells of a group, less that of shuffled input.

    Attributes:
        n_sequences: runs side by side.
        n_values: numbers in each.
        hold_ms: time of each.
        max_delay: of the longest delay that is read, in numbers.
        amplitude: of the current for 1, of rheobase.
        into: node set of the cells that the current enters; all cells where None.
        tau: ms, of the filter of the spikes.
        warm_up_ms: before the first number.
    """

    n_sequences: int = 4
    n_values: int = 400
    hold_ms: float = 10.0
    max_delay: int = 30
    amplitude: float = 0.3
    into: Any = None
    tau: float = 30.0
    warm_up_ms: float = 200.0

    name: ClassVar[str] = "memory_capacity"
    gives: ClassVar[dict[str, str]] = {"memory_capacity": "1"}

    def run(self, preparation: Preparation) -> Iterator[MeasureRow]:
        """The capacity of every group."""
        states, signal = self._run(preparation)

        def values(groups: Groups) -> ByGroup:
            found = [
                self._capacity(states[:, :, groups.of_cell == group], signal)
                for group in range(len(groups))
            ]
            value, reason = (np.array([one[k] for one in found], dtype=object) for k in (0, 1))
            value = value.astype(float)
            n = np.where(np.isfinite(value), groups.sizes, 0)
            return ByGroup(value, n, tuple(reason.tolist()))

        yield from preparation.rows(self.name, self.gives[self.name], WINDOW, values)

    def _capacity(
        self, states: NDArray[np.float64], signal: NDArray[np.float64]
    ) -> tuple[float, str]:
        n_cells = states.shape[2]
        if n_cells < CELLS_MIN:
            return np.nan, f"fewer than {CELLS_MIN} cells"
        rng = np.random.default_rng(0)  # the shuffles of all groups are the same
        found = memory_capacity(states, signal, max_delay=self.max_delay, rng=rng)
        return found.total, found.reason

    def _run(self, preparation: Preparation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """States [sequence, time, cell] and the signal [sequence, time]."""
        model, hold = preparation.model, preparation.steps(self.hold_ms)
        shape = self.n_sequences, self.n_values
        signal = 2 * torch.rand(*shape, generator=preparation.draw(self.name, "signal")) - 1
        strength = self.amplitude * rheobase(model)
        if self.into is not None:
            chosen = select_cells(preparation.network, self.into, "memory_capacity, into")
            entered = torch.zeros_like(strength)
            entered[torch.from_numpy(chosen).to(entered.device)] = 1
            strength = strength * entered
        held = signal.to(strength).repeat_interleave(hold, dim=1)
        noise = preparation.draw(self.name, "inputs")
        n_steps = self.n_values * hold

        def current(start: int, stop: int) -> Tensor:
            preparation.progress(start, n_steps)
            return held[:, start:stop, None] * strength

        binned = BinnedSpikes(hold)
        observe(
            model,
            preparation.gray_parts(self.n_sequences, noise),
            [binned],
            n_steps=n_steps,
            current=current,
            state=preparation.settled(
                self.n_sequences, self.warm_up_ms, preparation.draw(self.name, "warm-up")
            ),
            steps=hold * max(1, 200 // hold),
        )
        states = binned.counts.cpu().numpy().astype(np.float64)
        left = math.exp(-hold * model.dt / self.tau)
        for time in range(1, self.n_values):
            states[:, time] += left * states[:, time - 1]
        return states, signal.numpy().astype(np.float64)
