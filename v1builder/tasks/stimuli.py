"""Visual stimuli as movies in [-1, 1]; gray is 0.

Angles follow the visual field's axes (`lgn.spatial`): a grating of direction a moves along
(cos a, sin a) in (column, row), its bars at right angles to that. A V1 cell's tuning angle is in the
same frame, so a cell prefers the grating whose direction is its tuning angle. It is what BMTK's
GratingMovie shows for theta = a with y_dir="up"; with its default, y_dir="down", it is theta = -a.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from v1builder.lgn import FactoredMovie, Raster


@dataclass(frozen=True)
class Grating:
    """contrast * sin(2 pi (sf * s - tf * t) + phase), s the position along the direction.

    Attributes:
        direction: degrees, of motion; of a static grating, the direction across its bars.
        spatial_frequency: cycles/degree.
        temporal_frequency: Hz; 0 is a static grating.
        phase: degrees.
        contrast: 0 to 1.
    """

    direction: float
    spatial_frequency: float
    temporal_frequency: float = 0.0
    phase: float = 0.0
    contrast: float = 0.8

    def frames(self, raster: Raster) -> Tensor:
        """The still at t = 0 and, when the grating drifts, the still a quarter cycle on.

        Every moment of a drifting grating is a sum of these two: sin(a - b) = sin a cos b - cos a
        sin b.

        Returns:
            [1 or 2, row, column] float64.
        """
        angle = math.radians(self.direction)
        x, y = torch.as_tensor(raster.x), torch.as_tensor(raster.y)[:, None]
        along = x * math.cos(angle) + y * math.sin(angle)
        argument = 2 * math.pi * self.spatial_frequency * along + math.radians(self.phase)
        stills = [torch.sin(argument)]
        if self.temporal_frequency:
            stills.append(-torch.cos(argument))
        return self.contrast * torch.stack(stills)

    def course(self, n_steps: int, dt: float) -> Tensor:
        """Weight of each frame from onset, [step, 1 or 2] float64."""
        if not self.temporal_frequency:
            return torch.ones(n_steps, 1, dtype=torch.float64)
        t = torch.arange(n_steps, dtype=torch.float64) * dt / 1000
        cycle = 2 * math.pi * self.temporal_frequency * t
        return torch.stack([torch.cos(cycle), torch.sin(cycle)], dim=1)


@dataclass(frozen=True)
class Presentation:
    """When something is on the screen, in steps: gray, on, gray."""

    before: int
    on: int
    after: int

    @property
    def n_steps(self) -> int:
        """Length of the whole movie."""
        return self.before + self.on + self.after

    def embed(self, course: Tensor) -> Tensor:
        """A course of `on` steps with gray around it, [n_steps, frame]."""
        return torch.nn.functional.pad(course, (0, 0, self.before, self.after))


def grating_movie(
    grating: Grating, raster: Raster, presentation: Presentation, dt: float
) -> FactoredMovie:
    """Gray, a grating that starts at its phase, gray."""
    course = presentation.embed(grating.course(presentation.on, dt))
    return FactoredMovie(grating.frames(raster), course)


def full_field_flash(
    raster: Raster, presentation: Presentation, intensity: float = 1.0
) -> FactoredMovie:
    """Gray, the whole screen at one intensity in [-1, 1], gray."""
    frame = torch.full((1, *raster.shape), intensity, dtype=torch.float64)
    on = torch.ones(presentation.on, 1, dtype=torch.float64)
    return FactoredMovie(frame, presentation.embed(on))


def gray_screen(raster: Raster, n_steps: int) -> FactoredMovie:
    """Nothing but gray."""
    return full_field_flash(raster, Presentation(n_steps, 0, 0))
