"""What a protocol is, and what it works on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar
from typing import Protocol as Callback

import torch
from torch import Tensor

from v1builder.inputs import Source
from v1builder.load.groups import Groups
from v1builder.load.network import Network
from v1builder.measures import ByGroup, MeasureRow
from v1builder.model import V1Network
from v1builder.model.observation import observe
from v1builder.model.rollout import State

#: Called with the number of steps done and of all.
Progress = Callable[[int, int], None]


class Draws(Callback):
    """A random stream for every name."""

    def __call__(self, *names: str | int) -> torch.Generator:
        """The stream of a name, always the same."""
        ...


def _silent(_done: int, _total: int) -> None:
    return None


@dataclass(frozen=True)
class Preparation:
    """A network that a protocol works on, in whatever state of training, on whatever device.

    Attributes:
        network: whose cells and edges `model` has.
        model: that runs.
        sources: what its inputs do on a gray screen, on the CPU; they are silent where there are none.
        draw: makes random streams on the CPU.
        groups: of the cells, by level.
        progress: told how far a protocol is.
    """

    network: Network
    model: V1Network
    sources: Mapping[str, Source]
    draw: Draws
    groups: Mapping[str, Groups]
    progress: Progress = field(default=_silent)

    @property
    def device(self) -> torch.device:
        """Of the model."""
        return self.model.bias_current.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the model."""
        return self.model.bias_current.dtype

    def steps(self, ms: float) -> int:
        """Number of steps, at least one."""
        return max(1, round(ms / self.model.dt))

    def gray(self, n_rows: int, n_steps: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Inputs [row, step, unit] of rows in which the screen is gray, each with noise of its own."""
        return {
            name: self.sources[name].gray(n_rows, n_steps, generator).to(self.device)
            if name in self.sources
            else torch.zeros(n_rows, n_steps, size, dtype=torch.uint8, device=self.device)
            for name, size in self.model.input_sizes.items()
        }

    def gray_parts(
        self, n_rows: int, generator: torch.Generator
    ) -> Callable[[int, int], dict[str, Tensor]]:
        """The same part by part, as `observe` asks for it."""
        return lambda start, stop: self.gray(n_rows, stop - start, generator)

    def settled(self, n_rows: int, ms: float, generator: torch.Generator) -> State:
        """The state [row] after some ms of a gray screen."""
        inputs = self.gray_parts(n_rows, generator)
        state = self.model.initial_state(n_rows)
        return observe(self.model, inputs, n_steps=self.steps(ms), state=state)

    def rows(
        self, measure: str, unit: str, window: str, values: Callable[[Groups], ByGroup]
    ) -> Iterator[MeasureRow]:
        """Rows of a measure of all levels, from what gives the values of groups."""
        for level, groups in self.groups.items():
            found = values(groups)
            for group, value, n, reason in zip(
                groups.labels, found.value.tolist(), found.n.tolist(), found.reason, strict=True
            ):
                yield MeasureRow(measure, unit, window, level, group, value, n, reason)


def taken(state: State, rows: Tensor) -> State:
    """Some rows of a state, in this order and as often as they are named; [row] int64."""
    parts = {
        f.name: getattr(state, f.name).index_select(1 if f.name == "pending" else 0, rows)
        for f in fields(state)
    }
    return replace(state, **parts)


class Protocol(ABC):
    """An experiment on a network that gives measures of it. A subclass with a name registers itself.

    A subclass is a frozen dataclass, whose fields are its settings, with defaults.

    Attributes:
        name: as it is selected.
        gives: the measures it has, and their units.
    """

    name: ClassVar[str] = ""
    gives: ClassVar[dict[str, str]] = {}

    @abstractmethod
    def run(self, preparation: Preparation) -> Iterator[MeasureRow]:
        """Do it: the values of all measures, NaN with the reason where there is none."""
