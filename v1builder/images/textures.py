"""Textures with the spectrum of natural images: noise whose amplitude falls as 1/f."""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from v1builder.images.image_set import ImageSet, Labels, Pixels, equalised

_SEED: Final = {"train": 1, "validation": 2, "test": 3}


def texture(seed: int, index: int, side: int) -> Pixels:
    """[side, side] 1/f noise that repeats itself at its edges, with mean 0.

    The power of natural images falls as 1/f^2 (Field 1987, J. Opt. Soc. Am. A 4:2379).
    """
    noise = np.random.default_rng([seed, index]).standard_normal((side, side))
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf  # no mean
    return np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=noise.shape)


@dataclass(frozen=True)
class Textures(ImageSet):
    """Different textures, each a class of its own where they are told apart.

    Attributes:
        n: number in each split.
        side: pixels.
        contrast: RMS.
    """

    name: ClassVar[str] = "textures"

    n: int = 8
    side: int = 64
    contrast: float = 0.3

    @property
    def same_classes(self) -> bool:
        """No: every split has other textures."""
        return False

    @property
    def class_names(self) -> tuple[str, ...]:
        """By number."""
        return tuple(f"texture {i}" for i in range(self.n))

    def labels(self, split: str) -> Labels:
        """[image] its own number."""
        del split
        return np.arange(self.n)

    def pixels(self, split: str, index: int, frame: int = 0) -> Pixels:
        """[side, side]."""
        del frame
        return equalised(texture(_SEED[split], index, self.side), self.contrast)
