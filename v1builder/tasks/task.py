"""A task: trials with inputs, and when which answer is asked for."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.inputs import Source
from v1builder.load.network import Network
from v1builder.measures import Window
from v1builder.schema.config import Settings
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.stimuli import Movie
from v1builder.tasks.answer import Answer

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


def check_split(split: str, task: str) -> None:
    """Refuse a split that is none.

    Raises:
        ConfigError: naming the nearest.
    """
    if split not in SPLITS:
        raise ConfigError([unknown_name("split", split, SPLITS, f"task {task}")])


@dataclass(frozen=True)
class Trials:
    """Trials of one split; a slice of them is a batch.

    Attributes:
        split: "train", "validation" or "test".
        condition: [trial] int64, what was asked, as a number: of the stimulus, for tasks that have a list of
            them.
        target: [trial, window] int64 class of the right answer, or [trial, step, value] values.
        movies: what each trial shows; empty for tasks that show nothing.
        kind: [trial, window] int64, which of the task's `kinds` of questions was asked; None where it has
            none.
    """

    split: str
    condition: Tensor
    target: Tensor
    movies: tuple[Movie, ...] = ()
    kind: Tensor | None = None

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, part: slice) -> Self:
        kind = None if self.kind is None else self.kind[part]
        return type(self)(
            self.split, self.condition[part], self.target[part], self.movies[part], kind
        )


class Task(ABC):
    """What training, testing and comparing need to know of a task.

    Attributes:
        name: of the task.
        sources: what the input populations of the network do.
        dt: ms per step.
        n_steps: of a trial.
        windows: steps in which an answer is asked for, one after the other.
        per_step: whether every step of the windows has an answer of its own.
        answer: what kind of answer it is.
        stimulus_ms: start and end of what is shown, ms.
        spontaneous: steps in which the network does what it does on a gray screen; empty where there are
            none.
        evoked: steps in which it answers to what is shown.
        carry_state: whether a trial begins in the state in which the last one of its row of the batch ended.
        repeats: whether trials of one condition show the same.
        files: SHA-256 of the files that trials are made of, by name.
        notes: what one should know of results of this task, for people.
    """

    name: str
    sources: Mapping[str, Source]
    dt: float
    n_steps: int
    windows: tuple[slice, ...]
    per_step: bool = False
    answer: Answer
    stimulus_ms: tuple[float, float]
    spontaneous: slice
    evoked: slice
    carry_state: bool = False
    repeats: bool = True
    files: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()

    def on(self, network: Network, units: pd.DataFrame | None, judged: NDArray[np.bool_]) -> "Task":
        """The task on one network: itself, unless its answers are what the cells of that network do.

        Args:
            network: that is trained or tested.
            units: recorded ones, of `load.reference.read_in_vivo_units`; None where it has none.
            judged: [n_cells] whether a cell counts.
        """
        del network, units, judged
        return self

    @property
    def measured(self) -> Mapping[str, Window]:
        """Where activity is measured: what is spontaneous and what is evoked, unless said otherwise."""
        parts = {"spontaneous": self.spontaneous, "evoked": self.evoked}
        return {name: Window(steps) for name, steps in parts.items() if steps.stop > steps.start}

    def conditions(self, split: str) -> Sequence[Movie]:
        """What trials of each condition show; nothing where conditions are no list of what is shown."""
        del split
        return ()

    @abstractmethod
    def draw(self, n_trials: int, split: str, generator: torch.Generator) -> Trials:
        """Trials with as equal numbers of every class as possible, in random order.

        Raises:
            ConfigError: unknown split.
        """

    def describe(self, output: Tensor, trials: Trials) -> dict[str, Any]:
        """What results say of answers besides their scores, as JSON values.

        Args:
            output: [trial, window, output] answers.
            trials: what was asked.
        """
        del output, trials
        return {}

    @abstractmethod
    def inputs(self, trials: Trials, generator: torch.Generator) -> dict[str, Tensor]:
        """Spike counts [trial, step, unit], uint8, of each input population."""

    @abstractmethod
    def blank(self, n_trials: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The inputs of trials in which the screen stays gray."""

    @abstractmethod
    def warm_up(self, n_trials: int, generator: torch.Generator) -> dict[str, Tensor] | None:
        """The inputs of the gray screen that precedes every trial; None when nothing does."""


class TaskSettings(Settings):
    """What the file of a task says: the [task] table of an experiment, and how it becomes a task.

    A subclass with a default for `name` is a member of this room.

    Attributes:
        asks: whether an answer is asked for; else what the cells do is what is scored (`Answer.of_cells`).
    """

    asks: ClassVar[bool] = True
    name: Any  # a Literal in every member, by which [task] selects it

    def make(self, sources: Mapping[str, Source], dt: float) -> Task:
        """The task on the inputs of a network, see `make_task`."""
        raise NotImplementedError
