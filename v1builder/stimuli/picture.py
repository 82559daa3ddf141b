"""Pictures and the frames of films, at a size in degrees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.images import Digits, ImageSet, Textures
from v1builder.lgn import Raster
from v1builder.stimuli.stimulus import Stimulus


@dataclass(frozen=True)
class Picture(Stimulus):
    """An image in the middle of the screen, gray around it.

    Attributes:
        images: the set.
        split, index, frame: which image of the set, and which frame of a film.
        degrees: height of the image; its pixels are square.
    """

    images: ImageSet
    split: str
    index: int
    frame: int = 0
    degrees: float = 24.0

    def frames(self, raster: Raster) -> Tensor:
        """[1, row, column] float64, each pixel of the screen the mean of the image over its area."""
        pixels = self.images.pixels(self.split, self.index, self.frame)
        rows, columns = pixels.shape
        size = self.degrees / rows
        x, y = raster.middle
        down = _overlap(raster.y, 1 / raster.pixels_per_degree, y, rows, size)
        across = _overlap(raster.x, 1 / raster.pixels_per_degree, x, columns, size)
        return torch.from_numpy(down @ pixels @ across.T)[None]

    @classmethod
    def examples(cls) -> Sequence[Self]:
        """A digit and a texture."""
        return cls(Digits(), "train", 3), cls(Textures(2, 16), "test", 1, degrees=40.0)


def _overlap(
    at: NDArray[np.float64], width: float, middle: float, n: int, size: float
) -> NDArray[np.float64]:
    """Which part of each pixel of the screen lies in each of n pixels of an image, [screen, n].

    Args:
        at: [screen] degrees, middles of the screen's pixels.
        width: of these, degrees.
        middle: of the image, degrees.
        n: number of pixels of the image.
        size: of these, degrees.
    """
    edges = middle + size * (np.arange(n + 1) - n / 2)
    inside = np.clip(edges[None], (at - width / 2)[:, None], (at + width / 2)[:, None])
    return np.asarray(np.diff(inside, axis=1) / width, np.float64)
