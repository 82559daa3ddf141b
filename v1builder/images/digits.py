"""Handwritten digits of 8 x 8 pixels that come with scikit-learn."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final

import numpy as np

from v1builder.images.image_set import ImageSet, Labels, Pixels

#: First image of validation and of test, of 1 797.
_VALIDATION, _TEST = 1078, 1347
_BRIGHTEST: Final = 16.0


@lru_cache(maxsize=1)
def _digits() -> Any:
    from sklearn.datasets import load_digits

    return load_digits()


@dataclass(frozen=True)
class Digits(ImageSet):
    """1 797 digits; strokes are bright on gray.

    The first 60 % are for training and the last 25 % for the test: the set is not shuffled, since images next
    to each other are by the same hands.
    """

    name: ClassVar[str] = "digits"

    @property
    def citation(self) -> str:
        """Of the images, or of the libraries that they come with."""
        return "Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI repository"

    @property
    def class_names(self) -> tuple[str, ...]:
        """0 to 9."""
        return tuple("0123456789")

    @staticmethod
    def _part(split: str) -> slice:
        parts = {
            "train": slice(0, _VALIDATION),
            "validation": slice(_VALIDATION, _TEST),
            "test": slice(_TEST, None),
        }
        return parts[split]

    def labels(self, split: str) -> Labels:
        """[image] the digit."""
        return _digits().target[self._part(split)].astype(np.int64)

    def pixels(self, split: str, index: int, frame: int = 0) -> Pixels:
        """[8, 8] in [0, 1]."""
        del frame
        return _digits().images[self._part(split)][index] / _BRIGHTEST
