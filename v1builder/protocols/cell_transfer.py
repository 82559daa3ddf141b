"""How strongly and how late the spikes of cells follow their input at each frequency, in the working network.

On a gray screen every cell gets a random current of its own: a normal number for every 2 ms, .4 rheobase
wide, which moves V_m by a tenth of its way to threshold. H(f) = S_xy/S_xx of that current and the cell's
spikes is its linear response there (Richardson 2007, Phys. Rev. E 76:021919); other cells get other
currents, so the network's answer averages out. The value of a group is the modulus of the mean H of its
cells, and its phase.

A current acts a step after it is set, so the phase at f lags by 360 f dt more than the cell.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from torch import Tensor

from v1builder.analysis.transfer import Estimate, transformed
from v1builder.load.groups import Groups
from v1builder.measures import MeasureRow
from v1builder.model.observation import Observer, Segment, observe
from v1builder.protocols._response import GroupMeans, response_rows
from v1builder.protocols.probes import rheobase
from v1builder.protocols.protocol import Preparation, Protocol

#: ms of a segment, and those that one number of the current is held.
_SEGMENT_MS: Final = 1000.0
_HOLD_MS: Final = 2.0


@dataclass(frozen=True)
class CellTransfer(Protocol):
    """Gain and phase of the response of cells to currents.

    Attributes:
        frequencies: Hz.
        n_rows: runs side by side.
        n_seconds: of each, at least 2.
        amplitude: standard deviation of the current, of rheobase.
        warm_up_ms: before the current.
    """

    frequencies: tuple[float, ...] = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
    n_rows: int = 4
    n_seconds: int = 8
    amplitude: float = 0.4
    warm_up_ms: float = 200.0

    name: ClassVar[str] = "cell_transfer"
    gives: ClassVar[dict[str, str]] = {"transfer_gain": "Hz/pA", "transfer_phase": "deg"}

    def run(self, preparation: Preparation) -> Iterator[MeasureRow]:
        """Gain and phase of every group at every frequency."""
        model, n_seconds = preparation.model, self.n_seconds
        length, hold = preparation.steps(_SEGMENT_MS), preparation.steps(_HOLD_MS)
        draws = preparation.draw(self.name, "current")
        strength = (self.amplitude * rheobase(model)).to(preparation.dtype)
        response = _Response(self.frequencies, strength, preparation.groups, model.dt)

        def current(start: int, stop: int) -> Tensor:
            preparation.progress(start, n_seconds * length)
            n = -(-(stop - start) // hold)
            numbers = torch.randn(self.n_rows, n, model.n_cells, generator=draws)
            held = numbers.to(strength).repeat_interleave(hold, dim=1)[:, : stop - start]
            response.numbers = held
            return held * strength

        observe(
            model,
            preparation.gray_parts(self.n_rows, preparation.draw(self.name, "inputs")),
            [response],
            n_steps=n_seconds * length,
            current=current,
            state=preparation.settled(
                self.n_rows, self.warm_up_ms, preparation.draw(self.name, "warm-up")
            ),
            steps=length,
        )
        for level, groups in preparation.groups.items():
            yield from response_rows(
                response.estimate(level),
                self.frequencies,
                groups,
                level,
                gain=("transfer_gain", "Hz/pA"),
                phase=("transfer_phase", "deg"),
                seconds=self.n_rows * n_seconds,
            )


class _Response(Observer):
    """The product of transforms that a segment adds, mean over the cells of each group.

    Attributes:
        numbers: [row, step, cell] the current of the segment that comes next, over its strength.
    """

    numbers: Tensor

    def __init__(
        self,
        frequencies: tuple[float, ...],
        strength: Tensor,
        groups: Mapping[str, Groups],
        dt: float,
    ):
        self._dt, self._strength = dt, strength
        self._frequencies = torch.tensor(frequencies, dtype=strength.dtype, device=strength.device)
        self._means = {level: GroupMeans(one, strength.device) for level, one in groups.items()}
        self._products: dict[str, list[Tensor]] = {level: [] for level in groups}
        self._power: list[Tensor] = []

    def see(self, segment: Segment) -> None:
        given = transformed(self.numbers, self._frequencies, self._dt)
        fired = transformed(segment.spikes, self._frequencies, self._dt) / (self._dt / 1000)
        self._power.append((given.abs() ** 2).mean(dim=(0, 1)))
        product = given.conj() * fired / self._strength[:, None]
        for level, means in self._means.items():
            self._products[level].append(means(product))

    def estimate(self, level: str) -> Estimate:
        """Of a level, from rows and segments as samples."""
        power = torch.stack(self._power).mean(dim=0)
        return Estimate.of((torch.cat(self._products[level]) / power).cpu().numpy())
