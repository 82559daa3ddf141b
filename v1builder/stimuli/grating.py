"""Gratings, static and drifting.

Angles follow the visual field's axes (`lgn.spatial`): a grating of direction a moves along
(cos a, sin a) in (column, row), its bars at right angles to that. A V1 cell's tuning angle is in the
same frame, so a cell prefers the grating whose direction is its tuning angle. It is what BMTK's
GratingMovie shows for theta = a with y_dir="up"; with its default, y_dir="down", it is theta = -a.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from v1builder.lgn import Raster
from v1builder.stimuli.stimulus import Stimulus


@dataclass(frozen=True)
class Grating(Stimulus):
    """contrast * sin(2 pi (sf * s - tf * t) + phase), s the position along the direction.

    Attributes:
        direction: degrees, of motion; of a static grating, the direction across its bars.
        spatial_frequency: cycles/degree.
        temporal_frequency: Hz; 0 is a static grating.
        phase: degrees, at onset.
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
            return super().course(n_steps, dt)
        t = torch.arange(n_steps, dtype=torch.float64) * dt / 1000
        cycle = 2 * math.pi * self.temporal_frequency * t
        return torch.stack([torch.cos(cycle), torch.sin(cycle)], dim=1)

    @property
    def rhythm(self) -> float:
        """Hz."""
        return self.temporal_frequency

    @classmethod
    def examples(cls) -> Sequence[Self]:
        """A static and a drifting one."""
        return cls(30.0, 0.05, phase=40.0), cls(120.0, 0.04, 2.0, contrast=0.5)
