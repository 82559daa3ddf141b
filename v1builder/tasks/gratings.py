"""What tasks on gratings share."""

from dataclasses import replace
from typing import Any, Final, Literal

import torch
from pydantic import Field, PositiveInt, model_validator

from v1builder.stimuli import Grating, Stimulus
from v1builder.tasks.classification import ClassificationSettings

#: Held-out stimuli lie between those of training: shifted by this part of the grid's step.
SHIFT: Final = {"train": 0.0, "validation": 1 / 3, "test": 2 / 3}


class GratingSettings(ClassificationSettings):
    """Classification of one grating per trial.

    Attributes:
        spatial_frequency: cycles/degree.
        contrast: 0 to 1.
        n_phases: phases of a grating, evenly spaced; or "random", another in every trial.
    """

    spatial_frequency: float = Field(default=0.05, gt=0)
    contrast: float = Field(default=0.8, gt=0, le=1)
    n_phases: PositiveInt | Literal["random"] = 8

    @model_validator(mode="before")
    @classmethod
    def _rates_are_the_nodes(cls, values: Any) -> Any:
        if isinstance(values, dict) and "background_rate" in values:
            raise ValueError(
                "remove 'background_rate': the background's nodes say how fast its units fire, in the "
                "column rate_Hz of their node types (recipe: background.rate_Hz)"
            )
        return values

    @property
    def repeats(self) -> bool:
        """Not with random phases."""
        return self.n_phases != "random"

    def phases(self, shift: float) -> list[float]:
        """Evenly spaced phases in degrees, shifted by a part of their spacing; 0 where they are random."""
        if self.n_phases == "random":
            return [0.0]
        return [360 * (i + shift) / self.n_phases for i in range(self.n_phases)]

    def varied(self, stimulus: Stimulus, generator: torch.Generator) -> Stimulus:
        """With random phases, the grating with one of its own."""
        if self.n_phases != "random":
            return stimulus
        assert isinstance(stimulus, Grating)
        return replace(stimulus, phase=360 * torch.rand((), generator=generator).item())
