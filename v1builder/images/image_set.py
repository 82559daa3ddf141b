"""What every set of images has in common."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

#: Of cutting and scaling; the photographs are within 1 % of the contrast after these.
_ROUNDS = 30

Pixels = NDArray[np.float64]
Labels = NDArray[np.int64]


class ImageSet(ABC):
    """Images, or films, in three splits, each of a class.

    A member is a frozen dataclass: equal sets are one, and cheap to compare. Pixels are read when they are
    asked for, and not kept.

    Attributes:
        name: under which tasks find the set; empty for one that is made of files.
    """

    name: ClassVar[str] = ""

    @property
    def citation(self) -> str:
        """Whom to cite; empty where nobody asks for it."""
        return ""

    @property
    def same_classes(self) -> bool:
        """Whether a label means the same in all splits."""
        return True

    @property
    def digest(self) -> str:
        """SHA-256 of the files of the set; empty where they come with a library."""
        return ""

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Name of every class."""

    @abstractmethod
    def labels(self, split: str) -> Labels:
        """[image] class of the images of a split ("train", "validation" or "test").

        Raises:
            DataError: the images are not there, or not what they should be.
        """

    @abstractmethod
    def pixels(self, split: str, index: int, frame: int = 0) -> Pixels:
        """[row, column] in [-1, 1]; 0 is the gray of the screen.

        Raises:
            DataError: the image cannot be read.
        """

    def n_frames(self, split: str, index: int) -> int:
        """Number of frames; 1 for an image."""
        del split, index
        return 1

    def frames_per_second(self, split: str, index: int) -> float | None:
        """Of a film that says it itself; None otherwise."""
        del split, index
        return None


def equalised(luminance: NDArray[np.generic], contrast: float) -> Pixels:
    """Zero mean and a given standard deviation (RMS contrast) within [-1, 1].

    What would be brighter than white or darker than black is cut, and the rest made stronger and moved for
    it. A picture without contrast stays gray.
    """
    pixels = luminance.astype(np.float64)
    for _ in range(_ROUNDS):
        pixels = pixels - pixels.mean()
        spread = pixels.std()
        if spread == 0:
            break
        pixels = np.clip(pixels * (contrast / spread), -1, 1)
    return pixels
