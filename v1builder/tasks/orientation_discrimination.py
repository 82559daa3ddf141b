"""Fine orientation discrimination, as Chen et al. 2022, Science Advances 8:eabq7592."""

from typing import Literal

from pydantic import Field

from v1builder.stimuli import Grating
from v1builder.tasks.gratings import SHIFT, GratingSettings


class OrientationDiscrimination(GratingSettings):
    """Is a static grating turned to more than 45 degrees? Class 1 is yes.

    Orientations are 45 +- max_delta * k / n_deltas, k = 1..n_deltas (the published task has 2 degrees
    in steps of .1; 45 itself has no answer). Validation has k - 1/3 and test k - 2/3.

    With n_phases = 1 every grating has phase 0 and held-out stimuli are new in orientation alone: then
    a linear classifier of LGN spike counts is almost perfect, so accuracy says how well a network
    transmits and learns, not that only V1 could solve it. With more phases, held-out phases lie
    between those of training as well, and such a classifier does no better than chance.

    Attributes:
        max_delta: degrees; the larger, the easier.
        n_deltas: number of differences on each side.
    """

    name: Literal["orientation_discrimination"] = "orientation_discrimination"
    n_phases: int = Field(default=1, gt=0)
    max_delta: float = Field(default=2.0, gt=0, lt=45)
    n_deltas: int = Field(default=20, gt=0)

    @property
    def n_classes(self) -> int:
        """Less and more."""
        return 2

    def stimuli(self, split: str) -> list[tuple[Grating, int]]:
        """The gratings of a split and their classes."""
        shift = SHIFT[split]
        phases = self.phases(shift) if self.n_phases > 1 else [0.0]
        return [
            (
                Grating(
                    direction=45 + side * self.max_delta * (k - shift) / self.n_deltas,
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
