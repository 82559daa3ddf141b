"""Gratings in a round window."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from v1builder.lgn import Raster
from v1builder.stimuli.grating import Grating


@dataclass(frozen=True)
class GratingPatch(Grating):
    """A grating that is seen through a round window; gray around it.

    Attributes:
        x, y: degrees from the middle of the screen.
        radius: of the window, degrees.
    """

    x: float = 0.0
    y: float = 0.0
    radius: float = 6.0

    def frames(self, raster: Raster) -> Tensor:
        """Those of the grating, in the window."""
        middle = raster.middle
        x = torch.as_tensor(raster.x) - middle[0] - self.x
        y = torch.as_tensor(raster.y)[:, None] - middle[1] - self.y
        return super().frames(raster) * (torch.hypot(x, y) <= self.radius)

    @classmethod
    def examples(cls) -> Sequence[Self]:
        """Left and, drifting, right."""
        return cls(0.0, 0.08, x=-8.0), cls(90.0, 0.08, 2.0, x=8.0, radius=10.0)
