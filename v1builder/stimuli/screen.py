"""The whole screen at one intensity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from v1builder.lgn import Raster
from v1builder.stimuli.stimulus import Stimulus


@dataclass(frozen=True)
class FullField(Stimulus):
    """A flash.

    Attributes:
        intensity: -1, black, to 1, white.
    """

    intensity: float = 1.0

    def frames(self, raster: Raster) -> Tensor:
        """[1, row, column] float64."""
        return torch.full((1, *raster.shape), self.intensity, dtype=torch.float64)

    @classmethod
    def examples(cls) -> Sequence[Self]:
        """White and black."""
        return cls(), cls(-1.0)
