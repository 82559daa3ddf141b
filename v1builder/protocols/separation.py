"""How many inputs the states of cells tell apart, and how many noisy copies of one (Legenstein & Maass 2007).

Inputs are spikes of all input populations on a gray screen: each a draw of its own, or copies of one draw
whose spikes are moved by a normal jitter. All start in the same state. The state that counts is the spikes
of the cells through a low-pass filter of 30 ms, at the end. It is one matrix [input, cell] for each kind,
and its rank the number of singular values above 1 % of the largest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.analysis.state_rank import state_rank
from v1builder.lgn import add_events
from v1builder.load.groups import Groups
from v1builder.measures import ByGroup, MeasureRow
from v1builder.model.observation import observe
from v1builder.protocols.probes import FilteredSpikes
from v1builder.protocols.protocol import Preparation, Protocol, taken

WINDOW: Final = "gray screen"
#: Cells that a rank needs at least.
CELLS_MIN: Final = 10


@dataclass(frozen=True)
class Separation(Protocol):
    """Rank after different inputs, rank after noisy copies of one, and the first minus the second.

    Ranks are those of at most as many cells as a group has, and of `n_inputs`: compare groups of one size,
    or the same group of several networks.

    Attributes:
        n_inputs: of each kind.
        duration_ms: of an input.
        jitter_ms: standard deviation of the noise.
        tau: ms, of the filter of the spikes.
        warm_up_ms: before the inputs.
    """

    n_inputs: int = 64
    duration_ms: float = 200.0
    jitter_ms: float = 4.0
    tau: float = 30.0
    warm_up_ms: float = 200.0

    name: ClassVar[str] = "separation"
    gives: ClassVar[dict[str, str]] = {
        "separation_rank": "1",
        "generalisation_rank": "1",
        "separation": "1",
    }

    def run(self, preparation: Preparation) -> Iterator[MeasureRow]:
        """The ranks of every group."""
        n_steps, noise = preparation.steps(self.duration_ms), preparation.draw(self.name, "inputs")
        different = preparation.gray(self.n_inputs, n_steps, noise)
        jitter = preparation.draw(self.name, "jitter")
        copies = {
            name: jittered(spikes, self.n_inputs, self.jitter_ms / preparation.model.dt, jitter)
            for name, spikes in preparation.gray(1, n_steps, noise).items()
        }
        nothing = not any(spikes.any() for spikes in copies.values())
        states = []
        for k, inputs in enumerate((different, copies)):
            preparation.progress(k, 2)
            states.append(self._states(preparation, inputs))
        ranks = states[0], states[1]

        def values(measure: str, groups: Groups) -> ByGroup:
            n = groups.sizes
            known = (n >= CELLS_MIN) & (not nothing)
            pairs = np.zeros((2, len(groups)))
            for group in np.flatnonzero(known):
                own = groups.of_cell == group
                pairs[:, group] = [state_rank(each[:, own]) for each in ranks]
            value = {
                "separation_rank": pairs[0],
                "generalisation_rank": pairs[1],
                "separation": pairs[0] - pairs[1],
            }[measure]
            reason = "no input spikes" if nothing else f"fewer than {CELLS_MIN} cells"
            return ByGroup.where(known, value, n, reason)

        for measure, unit in self.gives.items():
            yield from preparation.rows(
                measure, unit, WINDOW, lambda groups, name=measure: values(name, groups)
            )

    def _states(self, preparation: Preparation, inputs: dict[str, Tensor]) -> NDArray[np.float64]:
        """[input, cell]."""
        filtered = FilteredSpikes(self.tau, preparation.model.dt)
        warm_up = preparation.draw(self.name, "warm-up")
        one = preparation.settled(1, self.warm_up_ms, warm_up)
        all_alike = torch.zeros(self.n_inputs, dtype=torch.int64, device=preparation.device)
        observe(
            preparation.model,
            inputs,
            [filtered],
            n_steps=preparation.steps(self.duration_ms),
            state=taken(one, all_alike),
        )
        return filtered.value.double().cpu().numpy()


def jittered(spikes: Tensor, n_copies: int, sd_steps: float, generator: torch.Generator) -> Tensor:
    """Copies of a draw whose spikes are moved in time, each by a normal number; none leaves the trial.

    Args:
        spikes: [1, step, unit] counts.
        n_copies: rows of the result.
        sd_steps: standard deviation, in steps.
        generator: on the CPU.

    Returns:
        [n_copies, step, unit] counts.
    """
    n_steps = spikes.shape[1]
    _, step, unit = spikes.nonzero(as_tuple=True)
    number = spikes[0, step, unit].long()
    step, unit = (at.repeat_interleave(number).repeat(n_copies) for at in (step, unit))
    row = torch.arange(n_copies, device=spikes.device).repeat_interleave(int(number.sum()))
    moved = torch.randn(len(step), generator=generator, dtype=torch.float64) * sd_steps
    step = (step + moved.round().long().to(spikes.device)).clamp(0, n_steps - 1)
    copies = torch.zeros(n_copies, *spikes.shape[1:], dtype=torch.uint8, device=spikes.device)
    add_events(copies, (row * n_steps + step) * spikes.shape[2] + unit)
    return copies
