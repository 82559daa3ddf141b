"""Has what is shown changed? Flashes one after the other, each the same as the one before or another."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from v1builder.stimuli import Shown, Stimulus
from v1builder.tasks.answer import Classes
from v1builder.tasks.psychometrics import d_prime_by_kind
from v1builder.tasks.task import Trials
from v1builder.tasks.visual import VisualSettings


class ChangeSettings(VisualSettings):
    """Flashes with gray before and after each: does a flash differ from the one before? Class 1 is yes.

    It is asked after every flash but the first of a trial. The state of the network is carried from trial to
    trial, so a trial is a part of a long sequence.

    Attributes:
        n_flashes: of a trial; one less has an answer.
        gray_before_ms, on_ms, gray_after_ms: of every flash.
        response_ms: start and end of the window in which the answer is read, from the start of the gray
            before the flash.
        p_change: probability that a flash differs from the one before.
    """

    n_flashes: int = Field(default=4, ge=2)
    gray_before_ms: float = Field(default=50.0, ge=0)
    on_ms: float = Field(default=100.0, gt=0)
    gray_after_ms: float = Field(default=150.0, ge=0)
    response_ms: tuple[float, float] = (200.0, 250.0)
    p_change: float = Field(default=0.5, gt=0, lt=1)
    carry_state: bool = True

    @model_validator(mode="after")
    def _response_before_the_next(self) -> "ChangeSettings":
        start, end = self.response_ms
        if not 0 <= start < end <= self._flash_ms:
            raise ValueError(
                "response_ms must be a start and a later end within the "
                f"{self._flash_ms:g} ms of a flash with its gray"
            )
        return self

    @property
    def _flash_ms(self) -> float:
        return self.gray_before_ms + self.on_ms + self.gray_after_ms

    @property
    def answer(self) -> Classes:
        """Changed or not; who always says what is more frequent is right that often."""
        return Classes(2, chance=max(self.p_change, 1 - self.p_change))

    @property
    def repeats(self) -> bool:
        """Sequences of flashes are all different."""
        return False

    @property
    def duration_ms(self) -> float:
        """Length of a trial."""
        return self.n_flashes * self._flash_ms

    @property
    def windows_ms(self) -> Sequence[tuple[float, float]]:
        """One after every flash but the first."""
        start, end = self.response_ms
        return [
            (flash * self._flash_ms + start, flash * self._flash_ms + end)
            for flash in range(1, self.n_flashes)
        ]

    @property
    def stimulus_ms(self) -> tuple[float, float]:
        """From the first flash to the end of the last."""
        return self.gray_before_ms, self.duration_ms - self.gray_after_ms

    def describe(self, output: Tensor, trials: Trials) -> dict[str, Any]:
        """By kind of change, and the sensitivity to each."""
        return {
            **super().describe(output, trials),
            "d_prime_by_kind": d_prime_by_kind(output, trials, self.kinds, noise=0),
        }

    @abstractmethod
    def first(self, split: str, generator: torch.Generator) -> Stimulus:
        """What a trial begins with."""

    @abstractmethod
    def changed(self, shown: Stimulus, split: str, generator: torch.Generator) -> Stimulus:
        """Something else than what was shown."""

    def same(self, shown: Stimulus, generator: torch.Generator) -> Stimulus:
        """What counts as the same; the same thing, unless a member says otherwise."""
        del generator
        return shown

    @abstractmethod
    def kind_of(self, before: Stimulus, now: Stimulus | None) -> int:
        """Which of `kinds` the question after a flash is, 0 for the same; None is an omitted flash."""

    def omitted(self, generator: torch.Generator) -> bool:
        """Whether a flash that shows nothing new is left out; never, unless a member says so."""
        del generator
        return False

    def draw(self, n_trials: int, split: str, generator: torch.Generator) -> Trials:
        """Trials with their sequences of flashes."""
        n_asked = self.n_flashes - 1
        target = torch.rand(n_trials, n_asked, generator=generator) < self.p_change
        kind = torch.empty(n_trials, n_asked, dtype=torch.int64)
        movies = []
        for trial in range(n_trials):
            shown = self.first(split, generator)
            flashes: list[Stimulus | None] = [shown]
            for i in range(n_asked):
                changes = bool(target[trial, i])
                # An omitted flash is no change, and what follows is compared with what was seen last.
                now = None
                if changes:
                    now = self.changed(shown, split, generator)
                elif not self.omitted(generator):
                    now = self.same(shown, generator)
                kind[trial, i] = self.kind_of(shown, now)
                flashes.append(now)
                shown = shown if now is None else now
            movies.append(
                tuple(
                    Shown(
                        stimulus,
                        i * self._flash_ms + self.gray_before_ms,
                        i * self._flash_ms + self.gray_before_ms + self.on_ms,
                    )
                    for i, stimulus in enumerate(flashes)
                    if stimulus is not None
                )
            )
        return Trials(split, target.sum(dim=1), target.long(), tuple(movies), kind)
