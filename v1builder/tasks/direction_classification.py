"""In which direction does a grating drift?"""

from typing import Literal

from pydantic import Field

from v1builder.stimuli import Grating
from v1builder.tasks.gratings import SHIFT, GratingSettings


class DirectionClassification(GratingSettings):
    """In which of n_directions does a grating drift?

    Held-out gratings start at phases between those of training.

    Attributes:
        n_directions: evenly spaced over 360 degrees; class i is direction 360 i / n_directions.
        temporal_frequency: Hz.
    """

    name: Literal["direction_classification"] = "direction_classification"
    n_directions: int = Field(default=8, gt=1)
    spatial_frequency: float = Field(default=0.04, gt=0)
    temporal_frequency: float = Field(default=2.0, gt=0)
    on_ms: float = Field(default=500.0, gt=0)
    gray_after_ms: float = Field(default=0.0, ge=0)
    response_ms: tuple[float, float] = (150.0, 550.0)

    @property
    def n_classes(self) -> int:
        """One per direction."""
        return self.n_directions

    def stimuli(self, split: str) -> list[tuple[Grating, int]]:
        """The gratings of a split and their classes."""
        return [
            (
                Grating(
                    direction=360 * i / self.n_directions,
                    spatial_frequency=self.spatial_frequency,
                    temporal_frequency=self.temporal_frequency,
                    phase=phase,
                    contrast=self.contrast,
                ),
                i,
            )
            for i in range(self.n_directions)
            for phase in self.phases(SHIFT[split])
        ]
