"""Gratings for tuning curves."""

from typing import Literal

from pydantic import Field, PositiveInt

from v1builder.stimuli import Grating
from v1builder.tasks.gratings import SHIFT, GratingSettings


class GratingTuning(GratingSettings):
    """Gratings for tuning curves: every direction, drifting, or every orientation, static.

    Nothing is to be learned, so the splits share their stimuli; class i is direction
    360 i / n_directions, or 180 i / n_directions when temporal_frequency is 0.

    Attributes:
        n_directions: evenly spaced.
        temporal_frequency: Hz; 0 for static gratings.
    """

    name: Literal["grating_tuning"] = "grating_tuning"
    n_directions: int = Field(default=8, gt=1)
    spatial_frequency: float = Field(default=0.04, gt=0)
    temporal_frequency: float = Field(default=2.0, ge=0)
    n_phases: PositiveInt | Literal["random"] = 1
    gray_before_ms: float = Field(default=500.0, ge=0)
    on_ms: float = Field(default=2000.0, gt=0)
    gray_after_ms: float = Field(default=0.0, ge=0)
    response_ms: tuple[float, float] = (500.0, 2500.0)

    @property
    def n_classes(self) -> int:
        """One per direction."""
        return self.n_directions

    def stimuli(self, split: str) -> list[tuple[Grating, int]]:
        """The gratings and their directions' numbers; the same for every split."""
        del split
        circle = 360 if self.temporal_frequency else 180
        return [
            (
                Grating(
                    direction=circle * i / self.n_directions,
                    spatial_frequency=self.spatial_frequency,
                    temporal_frequency=self.temporal_frequency,
                    phase=phase,
                    contrast=self.contrast,
                ),
                i,
            )
            for i in range(self.n_directions)
            for phase in self.phases(SHIFT["train"])
        ]
