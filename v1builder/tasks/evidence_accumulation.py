"""On which side were more cues?

Chen et al. 2022, Science Advances 8:eabq7592, after Morcos and Harvey 2016, Nature Neuroscience 19:1672.
"""

from collections.abc import Sequence
from typing import Final, Literal

import torch
from pydantic import Field, field_validator, model_validator

from v1builder.stimuli import GratingPatch, Shown
from v1builder.tasks.answer import Classes
from v1builder.tasks.psychometrics import Kind
from v1builder.tasks.task import Trials
from v1builder.tasks.visual import VisualSettings

#: Degrees; the LGN's raster is 120 wide.
_HALF_SCREEN: Final = 60.0


class EvidenceAccumulation(VisualSettings):
    """Cues, each a grating patch on the left or on the right, a delay, and a window in which to answer.

    Class 1 is: more cues on the right. Every cue is on either side with the same probability; their phases
    are random, so every trial is new and splits differ by their random numbers.

    Attributes:
        n_cues: odd.
        cue_ms, gap_ms: each cue, and the gray after it.
        delay_ms: gray between the last gap and the answer.
        recall_ms: length of the window in which the answer is read.
        distance: of the middle of the patches from that of the screen, degrees.
        radius: of the patches, degrees.
        direction: across the bars, degrees.
        spatial_frequency: cycles/degree.
        contrast: 0 to 1.
    """

    name: Literal["evidence_accumulation"] = "evidence_accumulation"
    n_cues: int = Field(default=5, gt=0)
    cue_ms: float = Field(default=50.0, gt=0)
    gap_ms: float = Field(default=10.0, ge=0)
    delay_ms: float = Field(default=250.0, ge=0)
    recall_ms: float = Field(default=50.0, gt=0)
    distance: float = Field(default=8.0, gt=0)
    radius: float = Field(default=6.0, gt=0)
    direction: float = 0.0
    spatial_frequency: float = Field(default=0.08, gt=0)
    contrast: float = Field(default=1.0, gt=0, le=1)

    @field_validator("n_cues")
    @classmethod
    def _odd(cls, n_cues: int) -> int:
        if n_cues % 2 == 0:
            raise ValueError("the number of cues must be odd, or there may be no majority")
        return n_cues

    @model_validator(mode="after")
    def _apart_and_on_the_screen(self) -> "EvidenceAccumulation":
        if self.radius > self.distance or self.distance + self.radius > _HALF_SCREEN:
            raise ValueError(
                f"patches must not overlap (radius <= distance) nor leave the screen (distance + radius <= "
                f"{_HALF_SCREEN:g})"
            )
        return self

    @property
    def repeats(self) -> bool:
        """Phases are random, and the order of cues."""
        return False

    @property
    def answer(self) -> Classes:
        """Left or right."""
        return Classes(2)

    @property
    def _cues_ms(self) -> float:
        return self.n_cues * (self.cue_ms + self.gap_ms)

    @property
    def duration_ms(self) -> float:
        """Length of a trial."""
        return self._cues_ms + self.delay_ms + self.recall_ms

    @property
    def windows_ms(self) -> Sequence[tuple[float, float]]:
        """The end of the trial."""
        return [(self.duration_ms - self.recall_ms, self.duration_ms)]

    @property
    def stimulus_ms(self) -> tuple[float, float]:
        """From the first cue to the end of the last."""
        return 0.0, self._cues_ms - self.gap_ms

    @property
    def kinds(self) -> Sequence[Kind]:
        """How many cues are on the right; the value is right minus left."""
        return [
            Kind(f"{right} of {self.n_cues} right", 2.0 * right - self.n_cues)
            for right in range(self.n_cues + 1)
        ]

    def draw(self, n_trials: int, split: str, generator: torch.Generator) -> Trials:
        """Trials with their cues, half of them of each class."""
        right = torch.rand(n_trials, self.n_cues, generator=generator) < 0.5
        # The mirror image of a trial of the other class is as probable as the trial.
        target = torch.randperm(n_trials, generator=generator) % 2
        majority = right.sum(dim=1) > self.n_cues // 2
        right ^= (majority != target.bool())[:, None]
        phase = 360 * torch.rand(n_trials, self.n_cues, generator=generator)
        movies = tuple(
            tuple(
                Shown(
                    GratingPatch(
                        self.direction,
                        self.spatial_frequency,
                        phase=phase[trial, i].item(),
                        contrast=self.contrast,
                        x=self.distance if right[trial, i] else -self.distance,
                        radius=self.radius,
                    ),
                    i * (self.cue_ms + self.gap_ms),
                    i * (self.cue_ms + self.gap_ms) + self.cue_ms,
                )
                for i in range(self.n_cues)
            )
            for trial in range(n_trials)
        )
        number = right.sum(dim=1)
        return Trials(split, number, target[:, None], movies, number[:, None])
