"""Fine orientation discrimination, as Chen et al. 2022, Science Advances 8:eabq7592."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt

from v1builder.stimuli import Grating, Stimulus
from v1builder.tasks.gratings import SHIFT, GratingSettings
from v1builder.tasks.psychometrics import Kind, choices, threshold
from v1builder.tasks.task import Trials

#: Degrees.
_BOUNDARY: Final = 45.0


class OrientationDiscrimination(GratingSettings):
    """Is a static grating turned to more than 45 degrees? Class 1 is yes.

    Orientations are 45 +- max_delta * k / n_deltas, k = 1..n_deltas (the published task has 2 degrees
    in steps of .1; 45 itself has no answer). Validation has k - 1/3 and test k - 2/3.

    With n_phases = 1 every grating has phase 0 and held-out stimuli are new in orientation alone: then
    a linear classifier of LGN spike counts is almost perfect, so accuracy says how well a network
    transmits and learns, not that only V1 could solve it. With more phases, held-out phases lie
    between those of training as well, and with n_phases = "random", as published, every trial has its own:
    such a classifier then does no better than chance.

    Attributes:
        max_delta: degrees; the larger, the easier.
        n_deltas: number of differences on each side.
    """

    name: Literal["orientation_discrimination"] = "orientation_discrimination"
    n_phases: PositiveInt | Literal["random"] = 1
    max_delta: float = Field(default=2.0, gt=0, lt=45)
    n_deltas: int = Field(default=20, gt=0)

    @property
    def n_classes(self) -> int:
        """Less and more."""
        return 2

    def stimuli(self, split: str) -> list[tuple[Grating, int]]:
        """The gratings of a split and their classes."""
        shift = SHIFT[split]
        phases = [0.0] if self.n_phases == 1 else self.phases(shift)
        return [
            (
                Grating(
                    direction=_BOUNDARY + side * self.max_delta * (k - shift) / self.n_deltas,
                    spatial_frequency=self.spatial_frequency,
                    phase=phase,
                    contrast=self.contrast,
                ),
                int(side > 0),
            )
            for side in (-1, 1)
            for k in range(1, self.n_deltas + 1)
            for phase in phases
        ]

    @property
    def kinds(self) -> Sequence[Kind]:
        """Differences from 45 degrees, -max_delta to max_delta, in classes of one step."""
        step = self.max_delta / self.n_deltas
        return [
            Kind(f"{step * k:+g} deg", step * k) for k in range(-self.n_deltas, self.n_deltas + 1)
        ]

    def kind_of(self, condition: torch.Tensor, split: str) -> torch.Tensor:
        """The difference, of held-out stimuli that of training next to it and away from 45 degrees."""
        step = self.max_delta / self.n_deltas
        steps = torch.tensor([self._difference(shown) for shown in self._sets(split)[0]]) / step
        nearest = torch.sign(steps) * torch.ceil(steps.abs() - 1e-3)
        return nearest.long()[condition] + self.n_deltas

    def describe(self, output: torch.Tensor, trials: Trials) -> dict[str, Any]:
        """By difference, and the difference that is told in 75 % of the trials (a mouse's is 5 to 10 deg)."""
        shown = self._sets(trials.split)[0]
        value = np.array([self._difference(shown[int(i)]) for i in trials.condition])
        choice = choices(output, trials)[0]
        return {**super().describe(output, trials), "psychometric": threshold(value, choice)}

    @staticmethod
    def _difference(stimulus: Stimulus) -> float:
        assert isinstance(stimulus, Grating)
        return stimulus.direction - _BOUNDARY
