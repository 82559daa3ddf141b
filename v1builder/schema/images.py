"""Image data sets with labels: what a manifest says of their files, and what a fetched folder records.

A fetched folder has, for the splits train and test, `<split>_images.npy` uint8 [n, row, column] and
`<split>_labels.npy` int64 [n], and in `provenance.json` under "images" what `StoredImages` says of them.
"""

import math
from typing import Annotated, Final, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from v1builder.schema.config import Settings

Split = Literal["train", "test"]
Kind = Literal["images", "labels"]
SPLITS: Final[tuple[Split, ...]] = ("train", "test")
KINDS: Final[tuple[Kind, ...]] = ("images", "labels")
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
ClassNames = Annotated[tuple[str, ...], Field(min_length=2)]


def array_file(split: Split, kind: Kind) -> str:
    """Name of an array in a fetched folder."""
    return f"{split}_{kind}.npy"


class IdxFile(Settings):
    """A published file in IDX format.

    Attributes:
        file: its name, without the ".gz" that it may have.
        shape: images, rows, columns; or labels.
        sha256: of its bytes, unpacked: gzip notes a name and a time, so packed files differ.
        description: what it is.
    """

    file: str
    shape: tuple[PositiveInt, ...]
    sha256: Sha256
    description: str

    @property
    def n_values(self) -> int:
        """Bytes without the header."""
        return math.prod(self.shape)


class IdxSplit(Settings):
    """The two files of a split.

    Attributes:
        images: gray values, 0 to 255.
        labels: numbers of classes, one per image.
    """

    images: IdxFile
    labels: IdxFile

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.images.shape) != 3 or self.labels.shape != self.images.shape[:1]:
            raise ValueError("give images as [n, rows, columns] and labels as [n]")
        return self


class PublishedImages(Settings):
    """An image data set as published.

    Attributes:
        class_names: by label, from 0.
        checked: who saw the hashes.
        obtain: how a user gets the files without v1builder; ends an error message.
        train: to learn from.
        test: to be tested with.
    """

    class_names: ClassNames
    checked: str
    obtain: str
    train: IdxSplit
    test: IdxSplit

    def files(self) -> dict[tuple[Split, Kind], IdxFile]:
        """The four files."""
        return {
            (split, kind): getattr(getattr(self, split), kind) for split in SPLITS for kind in KINDS
        }


class StoredSplit(Settings):
    """The arrays of a split in a fetched folder.

    Attributes:
        shape: images, rows, columns; there is a label per image.
        sha256: of the two .npy files.
    """

    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    sha256: dict[Kind, Sha256]


class StoredImages(Settings):
    """What a fetched folder holds.

    Attributes:
        class_names: by label, from 0.
        train: to learn from.
        test: to be tested with.
    """

    class_names: ClassNames
    train: StoredSplit
    test: StoredSplit
