"""Tasks on what is on the screen."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from v1builder.inputs import Source
from v1builder.schema.errors import ConfigError, Problem, raise_if_any
from v1builder.stimuli import Movie
from v1builder.tasks.answer import Answer
from v1builder.tasks.psychometrics import Kind, by_kind
from v1builder.tasks.task import Task, TaskSettings, Trials, check_split


class VisualSettings(TaskSettings):
    """What every task on the screen has. Times in ms from the start of the trial.

    A member says when which answer is asked for, and draws trials; how inputs fire is not a setting: their
    nodes say it, see `v1builder.inputs`.

    Attributes:
        warm_up_ms: gray before the trial, from rest, of which nothing is learned or answered. After-spike
            currents (up to 333 ms in the published models) and short-term plasticity need it to come to
            what they do spontaneously; 0 starts every trial at rest. 500 ms add some 40 % to a training step
            of trials of 200 ms, and double a test.
        carry_state: whether a trial begins in the state in which the one before it (in its place of the
            batch) ended; only the first ones are preceded by a warm-up. Of what was shown before a trial the
            filters of the LGN know nothing, so its first 100 ms should not be asked about.
    """

    warm_up_ms: float = Field(default=500.0, ge=0)
    carry_state: bool = False

    @property
    @abstractmethod
    def answer(self) -> Answer:
        """The kind of answer."""

    @property
    @abstractmethod
    def duration_ms(self) -> float:
        """Length of a trial."""

    @property
    @abstractmethod
    def windows_ms(self) -> Sequence[tuple[float, float]]:
        """Start and end of the windows in which answers are read, one after the other."""

    @property
    @abstractmethod
    def stimulus_ms(self) -> tuple[float, float]:
        """Start of what is shown first, end of what is shown last."""

    @abstractmethod
    def draw(self, n_trials: int, split: str, generator: torch.Generator) -> Trials:
        """Trials with their movies."""

    def conditions(self, split: str) -> Sequence[Movie]:
        """What trials of each condition show, see `Task.conditions`."""
        del split
        return ()

    @property
    def repeats(self) -> bool:
        """Whether trials of one condition show the same."""
        return True

    @property
    def files(self) -> Mapping[str, str]:
        """SHA-256 of the files that trials are made of, by name."""
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What one should know of results of the task, for people."""
        return ()

    @property
    def kinds(self) -> Sequence[Kind]:
        """Kinds of questions that results tell apart; none unless a member has some."""
        return ()

    def describe(self, output: Tensor, trials: Trials) -> dict[str, Any]:
        """What results say of answers besides their scores: how they are by kind of question."""
        return {} if trials.kind is None else {"by_kind": by_kind(output, trials, self.kinds)}

    def make(self, sources: Mapping[str, Source], dt: float) -> "VisualTask":
        """The task on the inputs of a network."""
        return VisualTask(self, sources, dt)


class VisualTask(Task):
    """A task of `VisualSettings` on the inputs of a network.

    Before every trial the screen is gray for a warm-up, in which the network comes from rest to what it does
    spontaneously; nothing is learned from it. Inputs that do not see fire on whatever is shown.
    """

    def __init__(self, settings: VisualSettings, sources: Mapping[str, Source], dt: float):
        """Turn times into steps.

        Raises:
            ConfigError: a window leaves the trial, or is shorter than a step.
        """

        def step(ms: float) -> int:
            return round(ms / dt)

        where = f"task {settings.name}"
        self.settings = settings
        self.name, self.sources, self.dt, self.answer = settings.name, sources, dt, settings.answer
        self.n_steps = step(settings.duration_ms)
        windows = settings.windows_ms
        self.windows = tuple(slice(step(start), step(end)) for start, end in windows)
        problems = [
            Problem(
                "the response window is shorter than one time step", where, str(window),
                "make the window longer, or dt smaller",
            )
            for window, steps in zip(windows, self.windows, strict=True)
            if steps.stop <= steps.start
        ]  # fmt: skip
        problems += [
            Problem(
                "a response window leaves the trial",
                where,
                f"{window} ms, trial of {settings.duration_ms:g} ms",
                "end the window earlier, or show gray for longer after the stimulus",
            )
            for window in windows
            if not 0 <= window[0] < window[1] <= settings.duration_ms
        ]
        raise_if_any(problems, ConfigError)
        self.carry_state, self.repeats = settings.carry_state, settings.repeats
        self.files = settings.files
        self.stimulus_ms = settings.stimulus_ms
        first, last = (step(ms) for ms in self.stimulus_ms)
        # From rest the gray part of a trial would say nothing of spontaneous activity, nor does it after the
        # end of another trial.
        settled = settings.warm_up_ms > 0 and not settings.carry_state
        self.spontaneous = slice(0, first if settled else 0)
        self.evoked = slice(first, max(last, *(window.stop for window in self.windows)))
        self._warm_up_steps = step(settings.warm_up_ms)
        self.notes = (*settings.notes, *_notes(settings.name, sources))

    def draw(self, n_trials: int, split: str, generator: torch.Generator) -> Trials:
        """Trials of a split, in random order.

        Raises:
            ConfigError: unknown split.
        """
        check_split(split, self.name)
        return self.settings.draw(n_trials, split, generator)

    def conditions(self, split: str) -> Sequence[Movie]:
        """What trials of each condition of a split show.

        Raises:
            ConfigError: unknown split.
        """
        check_split(split, self.name)
        return self.settings.conditions(split)

    def describe(self, output: Tensor, trials: Trials) -> dict[str, Any]:
        """What results say of answers besides their scores."""
        return self.settings.describe(output, trials)

    def inputs(self, trials: Trials, generator: torch.Generator) -> dict[str, Tensor]:
        """Spike counts [trial, step, unit], uint8, of every input."""
        return self._spikes(trials.movies, generator)

    def blank(self, n_trials: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The inputs of trials in which the screen stays gray."""
        return self._spikes([()] * n_trials, generator)

    def warm_up(self, n_trials: int, generator: torch.Generator) -> dict[str, Tensor] | None:
        """The inputs of the gray screen that precedes every trial; None when nothing does."""
        if not self._warm_up_steps:
            return None
        return {
            name: source.gray(n_trials, self._warm_up_steps, generator)
            for name, source in self.sources.items()
        }

    def _spikes(self, movies: Sequence[Movie], generator: torch.Generator) -> dict[str, Tensor]:
        return {
            name: source.spikes(movies, self.n_steps, generator)
            for name, source in self.sources.items()
        }


def _notes(name: str, sources: Mapping[str, Source]) -> tuple[str, ...]:
    if any(source.sees for source in sources.values()):
        return ()
    kinds = "; ".join(f"'{population}' is {source.kind}" for population, source in sources.items())
    return (
        f"no input sees the stimuli of task {name} ({kinds}): no answer can be better than chance",
    )
