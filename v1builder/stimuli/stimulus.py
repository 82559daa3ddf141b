"""What is on the screen: stimuli as a few frames with a time course, and movies that show them."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from v1builder.lgn import FactoredMovie, Raster


class Stimulus(ABC):
    """Something to show: sum_k course[t, k] * frames[k].

    Filters see the few frames instead of one per step, and what they make of a frame or of a course is kept
    for all trials that have it (`inputs.FilterSource`). So a member is a frozen dataclass: equal stimuli are
    one.
    """

    @abstractmethod
    def frames(self, raster: Raster) -> Tensor:
        """[frame, row, column] float64 in [-1, 1]; gray is 0."""

    def course(self, n_steps: int, dt: float) -> Tensor:
        """Weight of each frame from onset, [step, frame] float64. A still, unless said otherwise.

        Args:
            n_steps: for which it is on the screen.
            dt: ms per step.
        """
        del dt
        return torch.ones(n_steps, 1, dtype=torch.float64)

    @property
    def rhythm(self) -> Hashable:
        """What the course depends on: stimuli of equal rhythm have equal courses."""
        return None

    @classmethod
    @abstractmethod
    def examples(cls) -> Sequence[Self]:
        """A few that differ, for tests and documentation."""


@dataclass(frozen=True)
class Shown:
    """A stimulus on the screen from one time to another, ms from the start of the trial."""

    stimulus: Stimulus
    start_ms: float
    stop_ms: float

    def steps(self, dt: float) -> tuple[int, int]:
        """First step and the one after the last."""
        return round(self.start_ms / dt), round(self.stop_ms / dt)


#: What a trial shows. The screen is gray in between, and what overlaps is added.
Movie = tuple[Shown, ...]


def factored(movie: Movie, n_steps: int, raster: Raster, dt: float) -> FactoredMovie:
    """A movie as frames and their course, over `n_steps` steps of dt ms."""
    frames = [torch.zeros(0, *raster.shape, dtype=torch.float64)]
    courses = [torch.zeros(n_steps, 0, dtype=torch.float64)]
    for shown in movie:
        start, stop = shown.steps(dt)
        course = shown.stimulus.course(stop - start, dt)[: max(0, n_steps - start)]
        frames.append(shown.stimulus.frames(raster))
        courses.append(embedded(course, start, n_steps))
    return FactoredMovie(torch.cat(frames), torch.cat(courses, dim=1))


def embedded(course: Tensor, start: int, n_steps: int) -> Tensor:
    """A course [step, frame] with gray before and after it, [n_steps, frame]."""
    start = min(start, n_steps)
    return torch.nn.functional.pad(course, (0, 0, start, n_steps - start - len(course)))
