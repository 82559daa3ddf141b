"""Data sets that `v1builder fetch` has put into a folder, such as Fashion-MNIST."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from v1builder.images.image_set import ImageSet, Labels, Pixels
from v1builder.load.images import LabelledImages, read_image_set
from v1builder.schema.files import sha256_of

_WHITE: Final = 255.0
#: Of the training images, the last are for validation.
_VALIDATION_SHARE: Final = 1 / 6


@lru_cache(maxsize=8)
def _read(path: str) -> dict[str, LabelledImages]:
    return read_image_set(path)


@dataclass(frozen=True)
class FetchedImages(ImageSet):
    """The images of a folder, read where they lie; bright on gray, as their background is black.

    Validation has the last sixth of the set's own training images, the test the set's own test images.

    Attributes:
        path: of the folder.
    """

    path: str

    def _part(self, split: str) -> tuple[LabelledImages, slice]:
        whole = _read(self.path)
        if split == "test":
            return whole["test"], slice(None)
        first = len(whole["train"].labels) - int(len(whole["train"].labels) * _VALIDATION_SHARE)
        return whole["train"], slice(0, first) if split == "train" else slice(first, None)

    @property
    def digest(self) -> str:
        """Of the record that holds the hashes of the arrays."""
        return sha256_of(Path(self.path) / "provenance.json")

    @property
    def citation(self) -> str:
        """As the manifest of the set has it."""
        return _read(self.path)["train"].citation

    @property
    def class_names(self) -> tuple[str, ...]:
        """As the set has them."""
        return _read(self.path)["train"].class_names

    def labels(self, split: str) -> Labels:
        """[image] class."""
        images, part = self._part(split)
        return images.labels[part]

    def pixels(self, split: str, index: int, frame: int = 0) -> Pixels:
        """[row, column] in [0, 1]."""
        del frame
        images, part = self._part(split)
        return images.images[part][index] / _WHITE
