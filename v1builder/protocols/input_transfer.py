"""How strongly and how late cells follow the rate of their inputs at each frequency, through their synapses.

Every input population fires as Poisson units at its rates on a gray screen, and all its units together faster
and slower: every 2 ms their rates are, at random, 1 + depth or 1 - depth times those. H(f) = S_xy/S_xx of
that modulation and the cells' spikes is the linear response in the working network (Richardson 2007, Phys.
Rev. E 76:021919; Merkel & Lindner 2010, Phys. Rev. E 81:041921): delays, synapses with their plasticity,
cells, and what the cells do to each other, since all are modulated together. Several inputs are modulated
independently in the same runs. The value of a group is the modulus of the mean H of its cells, the change of
their rate that goes with twice the rate of an input (were it linear that far), and its phase.

`cell_transfer` has the cells alone. Spikes of an input act after their delay, which the phase shows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor

from v1builder.analysis.transfer import Estimate, transformed
from v1builder.lgn import modulated_poisson_spikes
from v1builder.load.groups import Groups
from v1builder.measures import MeasureRow
from v1builder.model.observation import Observer, Segment, observe
from v1builder.protocols._response import GroupMeans, response_rows
from v1builder.protocols.protocol import Preparation, Protocol

#: ms that one factor of the rates is held.
_HOLD_MS: Final = 2.0
_SILENT: Final = "no input fires on a gray screen"


@dataclass(frozen=True)
class InputTransfer(Protocol):
    """Gain and phase of the response of cells to the rates of inputs.

    Attributes:
        frequencies: Hz.
        n_rows: runs side by side.
        n_segments: of each run, that are transformed; rows times segments are at least 2.
        segment_ms: of a segment, two periods of the lowest frequency.
        depth: of the modulation, up to 1.
        warm_up_ms: before it.
    """

    frequencies: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
    n_rows: int = 4
    n_segments: int = 8
    segment_ms: float = 2000.0
    depth: float = 0.3
    warm_up_ms: float = 200.0

    name: ClassVar[str] = "input_transfer"
    gives: ClassVar[dict[str, str]] = {"input_gain": "Hz", "input_phase": "deg"}

    def run(self, preparation: Preparation) -> Iterator[MeasureRow]:
        """Gain and phase of every group at every frequency, for every input that fires."""
        model, groups = preparation.model, preparation.groups
        rates = {name: source.gray_rates() for name, source in preparation.sources.items()}
        rates = {name: one for name, one in rates.items() if bool((one > 0).any())}
        if not rates:
            yield from self._none(groups)
            return
        length = preparation.steps(self.segment_ms)
        hold, n_steps = preparation.steps(_HOLD_MS), self.n_segments * length
        factors = {name: preparation.draw(self.name, "modulation", name) for name in rates}
        noise = preparation.draw(self.name, "inputs")
        response = _Response(self.frequencies, groups, preparation)

        def inputs(start: int, stop: int) -> dict[str, Tensor]:
            preparation.progress(start, n_steps)
            spikes = {  # of those that are silent
                name: torch.zeros(
                    self.n_rows, stop - start, size, dtype=torch.uint8, device=preparation.device
                )
                for name, size in model.input_sizes.items()
            }
            for name, rate in rates.items():
                n = -(-(stop - start) // hold)
                sign = torch.randint(2, (self.n_rows, n), generator=factors[name]) * 2 - 1
                modulation = self.depth * sign.repeat_interleave(hold, dim=1)[:, : stop - start]
                drawn = modulated_poisson_spikes(rate, 1 + modulation, model.dt, noise)
                spikes[name] = drawn.to(preparation.device)
                response.modulation[name] = modulation
            return spikes

        observe(
            model,
            inputs,
            [response],
            n_steps=n_steps,
            state=preparation.settled(
                self.n_rows, self.warm_up_ms, preparation.draw(self.name, "warm-up")
            ),
            steps=length,
        )
        for name in rates:
            for level, each in groups.items():
                yield from response_rows(
                    response.estimate(name, level),
                    self.frequencies,
                    each,
                    level,
                    gain=("input_gain", "Hz"),
                    phase=("input_phase", "deg"),
                    seconds=self.n_rows * n_steps * model.dt / 1000,
                    where=f"{name}, ",
                )

    def _none(self, groups: Mapping[str, Groups]) -> Iterator[MeasureRow]:
        for frequency in self.frequencies:
            for measure, unit in self.gives.items():
                for level, each in groups.items():
                    for group in each.labels:
                        window = f"{frequency:g} Hz"
                        yield MeasureRow(measure, unit, window, level, group, np.nan, 0, _SILENT)


class _Response(Observer):
    """The product of transforms that a segment adds, mean over the cells of each group.

    Attributes:
        modulation: [row, step] by input, relative, of the segment that comes next.
    """

    def __init__(
        self, frequencies: tuple[float, ...], groups: Mapping[str, Groups], run: Preparation
    ):
        self.modulation: dict[str, Tensor] = {}
        self._dt = run.model.dt
        self._frequencies = torch.tensor(frequencies, dtype=run.dtype, device=run.device)
        self._means = {level: GroupMeans(one, run.device) for level, one in groups.items()}
        self._products: dict[tuple[str, str], list[Tensor]] = {}
        self._power: dict[str, list[Tensor]] = {}

    def see(self, segment: Segment) -> None:
        fired = transformed(segment.spikes, self._frequencies, self._dt) / (self._dt / 1000)
        of_groups = {level: means(fired) for level, means in self._means.items()}
        for name, modulation in self.modulation.items():
            given = modulation.to(self._frequencies)[:, :, None]
            given = transformed(given, self._frequencies, self._dt)
            self._power.setdefault(name, []).append((given.abs() ** 2).mean(dim=(0, 1)))
            for level, own in of_groups.items():
                self._products.setdefault((name, level), []).append(given.conj() * own)

    def estimate(self, name: str, level: str) -> Estimate:
        """Of an input and a level, from rows and segments as samples."""
        power = torch.stack(self._power[name]).mean(dim=0)
        return Estimate.of((torch.cat(self._products[name, level]) / power).cpu().numpy())
