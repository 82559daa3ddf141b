"""Contrast response: how rates grow, or fall, with the contrast of drifting gratings.

In mouse V1 Vip cells prefer low contrast and Sst cells high contrast: Millman et al. 2020, eLife 9:e55130.
The measure `contrast_slope` has the slope.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from v1builder.stimuli import Grating
from v1builder.tasks.classification import ClassificationSettings


class ContrastResponse(ClassificationSettings):
    """Drifting gratings of every contrast in every direction.

    Nothing is to be learned, so the splits share their stimuli. Class and condition i is contrast
    i // n_directions in direction 360 (i % n_directions) / n_directions. Trials have as many of each where
    their number is a multiple of that of the classes: 10 of each are 480.

    Attributes:
        contrasts: from 0 to 1, in increasing order.
        n_directions: evenly spaced.
        spatial_frequency: cycles/degree.
        temporal_frequency: Hz.
    """

    name: Literal["contrast_response"] = "contrast_response"
    contrasts: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
    n_directions: int = Field(default=8, gt=1)
    spatial_frequency: float = Field(default=0.04, gt=0)
    temporal_frequency: float = Field(default=2.0, gt=0)
    gray_before_ms: float = Field(default=500.0, ge=0)
    on_ms: float = Field(default=2000.0, gt=0)
    gray_after_ms: float = Field(default=0.0, ge=0)
    response_ms: tuple[float, float] = (500.0, 2500.0)

    @field_validator("contrasts")
    @classmethod
    def _increasing(cls, contrasts: tuple[float, ...]) -> tuple[float, ...]:
        if len(contrasts) < 2 or contrasts != tuple(sorted(set(contrasts))):
            raise ValueError("give at least two contrasts in increasing order, none twice")
        if not 0 < contrasts[0] <= contrasts[-1] <= 1:
            raise ValueError("give contrasts above 0 and up to 1")
        return contrasts

    @property
    def n_classes(self) -> int:
        """One for every contrast and direction."""
        return len(self.contrasts) * self.n_directions

    def stimuli(self, split: str) -> Sequence[tuple[Grating, int]]:
        """The gratings and their numbers; the same for every split."""
        del split
        return [
            (
                Grating(
                    direction=360 * (i % self.n_directions) / self.n_directions,
                    spatial_frequency=self.spatial_frequency,
                    temporal_frequency=self.temporal_frequency,
                    contrast=self.contrasts[i // self.n_directions],
                ),
                i,
            )
            for i in range(self.n_classes)
        ]
