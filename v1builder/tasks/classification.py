"""Which class is what is shown? One stimulus per trial, out of a list."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from pydantic import Field, model_validator

from v1builder.schema.errors import ConfigError
from v1builder.stimuli import Movie, Shown, Stimulus
from v1builder.tasks.answer import Classes
from v1builder.tasks.task import Trials
from v1builder.tasks.visual import VisualSettings


class ClassificationSettings(VisualSettings):
    """Gray, a stimulus, gray; the answer is read in one window.

    Attributes:
        gray_before_ms, on_ms, gray_after_ms: length of the gray before, of the stimulus, of the gray after.
        response_ms: start and end of the window in which the answer is read.
    """

    gray_before_ms: float = Field(default=50.0, ge=0)
    on_ms: float = Field(default=100.0, gt=0)
    gray_after_ms: float = Field(default=450.0, ge=0)
    response_ms: tuple[float, float] = (150.0, 200.0)

    @model_validator(mode="after")
    def _nothing_to_carry(self) -> "ClassificationSettings":
        if self.carry_state:
            raise ValueError(
                "remove carry_state: trials come in random order and each asks of its own stimulus, so what "
                "is carried from one to the next would be noise; a warm-up (warm_up_ms) precedes each"
            )
        return self

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
        return [self.movie(stimulus) for stimulus in self._sets(split)[0]]

    def trials(
        self, condition: torch.Tensor, split: str, generator: torch.Generator | None = None
    ) -> Trials:
        """Trials of the stimuli with these numbers; varied where there is a generator (see `varied`)."""
        listed, target = self._sets(split)
        shown = [listed[int(i)] for i in condition]
        if generator is not None:
            shown = [self.varied(stimulus, generator) for stimulus in shown]
        movies, kind = tuple(map(self.movie, shown)), self.kind_of(condition, split)
        return Trials(
            split,
            condition,
            target[condition][:, None],
            movies,
            None if kind is None else kind[:, None],
        )

    def movie(self, stimulus: Stimulus) -> Movie:
        """What a trial with this stimulus shows."""
        return (Shown(stimulus, *self.stimulus_ms),)

    def varied(self, stimulus: Stimulus, generator: torch.Generator) -> Stimulus:
        """What is shown for a stimulus of the list: itself, unless a member varies what has no answer."""
        del generator
        return stimulus

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
        return self.trials(condition, split, generator)

    def kind_of(self, condition: torch.Tensor, split: str) -> torch.Tensor | None:
        """[trial] which of `kinds` the question after a stimulus is; None where there are none."""
        del condition, split
        return None

    def _sets(self, split: str) -> tuple[tuple[Stimulus, ...], torch.Tensor]:
        """The stimuli of a split, and [stimulus] their classes."""
        if split not in self._kept:
            shown, classes = zip(*self.stimuli(split), strict=True)
            missing = set(range(self.n_classes)) - set(classes)
            if missing:
                raise ConfigError.of(
                    "a class has no stimuli",
                    f"task {self.name}, {split}",
                    f"classes {sorted(missing)}",
                    "give every class some",
                )
            self._kept[split] = shown, torch.tensor(classes)
        return self._kept[split]

    @cached_property
    def _kept(self) -> dict[str, tuple[tuple[Stimulus, ...], torch.Tensor]]:
        return {}
