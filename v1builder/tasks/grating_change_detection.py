"""Has the orientation of a grating changed? As Chen et al. 2022, Science Advances 8:eabq7592."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final, Literal

import torch
from pydantic import Field, model_validator

from v1builder.stimuli import Grating, Stimulus
from v1builder.tasks.change_detection import ChangeSettings
from v1builder.tasks.psychometrics import Kind

#: Upper ends of the classes of differences that results tell apart, degrees.
_UP_TO: Final = (5.0, 10.0, 20.0, 90.0)
#: Degrees between orientations.
_STEP: Final = 0.1


class GratingChangeDetection(ChangeSettings):
    """Flashes of static gratings, each of the same orientation as the one before or of another.

    Orientations are uniform in [lowest, highest], in steps of .1 degree as published; a change draws another
    one that differs by at least `min_change`. With a random phase a change of the picture alone says nothing.
    Every trial is new, so splits differ by their random numbers.

    Attributes:
        lowest, highest: orientation, degrees.
        min_change: least difference, degrees.
        phase: "random" for every flash, or degrees of all.
        spatial_frequency: cycles/degree.
        contrast: 0 to 1.
    """

    name: Literal["grating_change_detection"] = "grating_change_detection"
    lowest: float = 120.0
    highest: float = 150.0
    min_change: float = Field(default=0.1, gt=0)
    phase: float | Literal["random"] = "random"
    spatial_frequency: float = Field(default=0.05, gt=0)
    contrast: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _room_for_change(self) -> "GratingChangeDetection":
        if not 2 * self.min_change + _STEP <= self.highest - self.lowest <= 90:
            raise ValueError(
                "lowest and highest must be more than twice min_change apart, and at most 90 degrees"
            )
        return self

    @property
    def kinds(self) -> Sequence[Kind]:
        """No change, and changes by their size; the value is the upper end of the class, degrees."""
        lower = (0.0, *_UP_TO[:-1])
        changes = [
            Kind(f"{low:g} to {high:g} deg", high) for low, high in zip(lower, _UP_TO, strict=True)
        ]
        return [Kind("same", 0.0), *changes]

    def kind_of(self, before: Stimulus, now: Stimulus | None) -> int:
        """By the difference of orientations."""
        assert isinstance(before, Grating)
        assert isinstance(now, Grating)
        difference = abs(now.direction - before.direction)
        return 0 if difference == 0 else 1 + sum(difference > limit for limit in _UP_TO)

    def first(self, split: str, generator: torch.Generator) -> Grating:
        """A grating of any orientation."""
        del split
        return self._grating(_any(self._orientations, generator), generator)

    def changed(self, shown: Stimulus, split: str, generator: torch.Generator) -> Grating:
        """One of another orientation."""
        del split
        assert isinstance(shown, Grating)
        others = [
            orientation
            for orientation in self._orientations
            if abs(orientation - shown.direction) >= self.min_change - 1e-9
        ]
        return self._grating(_any(others, generator), generator)

    def same(self, shown: Stimulus, generator: torch.Generator) -> Grating:
        """One of the same orientation."""
        assert isinstance(shown, Grating)
        return replace(shown, phase=self._phase(generator))

    def _grating(self, orientation: float, generator: torch.Generator) -> Grating:
        return Grating(
            orientation,
            self.spatial_frequency,
            phase=self._phase(generator),
            contrast=self.contrast,
        )

    @cached_property
    def _orientations(self) -> Sequence[float]:
        steps = int((self.highest - self.lowest) / _STEP + 1e-6)
        return [self.lowest + _STEP * i for i in range(steps + 1)]

    def _phase(self, generator: torch.Generator) -> float:
        if self.phase != "random":
            return self.phase
        return 360 * torch.rand((), generator=generator).item()


def _any(values: Sequence[float], generator: torch.Generator) -> float:
    return values[int(torch.randint(len(values), (), generator=generator))]
