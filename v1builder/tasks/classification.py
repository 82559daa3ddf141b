"""Which class is what is shown? One stimulus per trial, out of a list."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from pydantic import Field, model_validator

from v1builder.stimuli import Movie, Shown, Stimulus
from v1builder.tasks.answer import Classes
from v1builder.tasks.task import Trials
from v1builder.tasks.visual import VisualSettings


class ClassificationSettings(VisualSettings):
    """Gray, a stimulus, gray; the answer is read in one window.

    Attributes:
        gray_before_ms, on_ms, gray_after_ms: what is shown.
        response_ms: start and end of the window in which the answer is read.
    """

    gray_before_ms: float = Field(default=50.0, ge=0)
    on_ms: float = Field(default=100.0, gt=0)
    gray_after_ms: float = Field(default=450.0, ge=0)
    response_ms: tuple[float, float] = (150.0, 200.0)

    @model_validator(mode="after")
    def _response_within_trial(self) -> "ClassificationSettings":
        start, end = self.response_ms
        if not 0 <= start < end <= self.duration_ms:
            raise ValueError(
                "response_ms must be a start and a later end within the trial of "
                f"{self.duration_ms:g} ms"
            )
        return self

    @property
    @abstractmethod
    def n_classes(self) -> int:
        """Number of classes."""

    @abstractmethod
    def stimuli(self, split: str) -> Sequence[tuple[Stimulus, int]]:
        """The stimuli of a split with their classes."""

    @property
    def answer(self) -> Classes:
        """One class."""
        return Classes(self.n_classes)

    @property
    def duration_ms(self) -> float:
        """Length of a trial."""
        return self.gray_before_ms + self.on_ms + self.gray_after_ms

    @property
    def windows_ms(self) -> Sequence[tuple[float, float]]:
        """The one window."""
        return [self.response_ms]

    @property
    def stimulus_ms(self) -> tuple[float, float]:
        """Start and end of the stimulus."""
        return self.gray_before_ms, self.gray_before_ms + self.on_ms

    def conditions(self, split: str) -> Sequence[Movie]:
        """One condition for every stimulus."""
        return [(Shown(stimulus, *self.stimulus_ms),) for stimulus in self._sets(split)[0]]

    def trials(self, condition: torch.Tensor, split: str) -> Trials:
        """Trials of the stimuli with these numbers."""
        _, target = self._sets(split)
        shown = self.conditions(split)
        movies = tuple(shown[int(i)] for i in condition)
        return Trials(split, condition, target[condition][:, None], movies)

    def draw(self, n_trials: int, split: str, generator: torch.Generator) -> Trials:
        """As equal numbers of every class as possible, in random order, and any stimulus of it."""
        _, classes = self._sets(split)
        # Which classes get the odd trials is random too.
        order = torch.randperm(self.n_classes, generator=generator)
        target = order[torch.arange(n_trials) % self.n_classes]
        target = target[torch.randperm(n_trials, generator=generator)]
        condition = torch.empty(n_trials, dtype=torch.int64)
        for kind in range(self.n_classes):
            choices = torch.nonzero(classes == kind)[:, 0]
            trials = target == kind
            pick = torch.randint(len(choices), (int(trials.sum()),), generator=generator)
            condition[trials] = choices[pick]
        return self.trials(condition, split)

    def _sets(self, split: str) -> tuple[tuple[Stimulus, ...], torch.Tensor]:
        """The stimuli of a split, and [stimulus] their classes."""
        if split not in self._kept:
            shown, classes = zip(*self.stimuli(split), strict=True)
            self._kept[split] = shown, torch.tensor(classes)
        return self._kept[split]

    @cached_property
    def _kept(self) -> dict[str, tuple[tuple[Stimulus, ...], torch.Tensor]]:
        return {}
