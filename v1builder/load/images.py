"""Images with labels, from a folder that `v1builder fetch` made."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from v1builder.schema.errors import DataError
from v1builder.schema.files import sha256_of
from v1builder.schema.images import SPLITS, Kind, Split, StoredImages, array_file

_FIX = "fetch the images again into a new folder, such as with 'v1builder fetch --source fashion_mnist'"
_AGAIN = "fetch the images again, with --overwrite"


@dataclass(frozen=True)
class LabelledImages:
    """A split of an image data set.

    Attributes:
        images: [n, row, column] gray values, 0 to 255; mapped from the file, read-only.
        labels: [n] class of each image, from 0.
        class_names: by label.
        citation: what to cite.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    citation: str


def read_image_set(path: Path | str) -> dict[str, LabelledImages]:
    """The splits "train" and "test" of an image data set.

    The files are compared with their recorded hashes, so they are read once (0.1 s for 60000 images of 28 x
    28); images are then read from the file when they are used.

    Args:
        path: folder made by `v1builder fetch --source fashion_mnist` or another source of images.

    Raises:
        DataError: it is no such folder, or an array is missing, was changed, or is not what is recorded.
    """
    folder = Path(path)
    stored, citation = _recorded(folder)
    return {split: _read_split(folder, split, stored, citation) for split in SPLITS}


def _recorded(folder: Path) -> tuple[StoredImages, str]:
    """What the folder should hold, and what to cite."""
    file = folder / "provenance.json"
    try:
        if file.exists() and not file.is_file():  # a pipe would be read forever
            got = "a folder, pipe or device"
            raise DataError.of("this is not a folder of images", file, got, _FIX)
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        got = error.strerror or error
        raise DataError.of("this is not a folder of images", file, got, _FIX) from None
    except (ValueError, RecursionError) as error:
        raise DataError.of("the provenance of the images is damaged", file, error, _FIX) from None
    try:
        if "images" not in record:
            got = f"an output of stage {record.get('stage')}"
            raise DataError.of("this is not a folder of images", file, got, _FIX)
        return StoredImages.model_validate(record["images"]), str(record["sources"][0]["citation"])
    except (ValidationError, LookupError, TypeError, AttributeError) as error:
        raise DataError.of("the provenance of the images is damaged", file, error, _FIX) from None


def _read_split(folder: Path, split: Split, stored: StoredImages, citation: str) -> LabelledImages:
    shape = getattr(stored, split).shape
    images = _array(folder, split, "images", stored, np.dtype(np.uint8), shape)
    labels = _array(folder, split, "labels", stored, np.dtype(np.int64), shape[:1])
    n_classes = len(stored.class_names)
    if labels.min() < 0 or labels.max() >= n_classes:
        where, got = folder / array_file(split, "labels"), f"{labels.min()} to {labels.max()}"
        raise DataError.of(f"labels are not 0 to {n_classes - 1}", where, got, _AGAIN)
    return LabelledImages(images, np.array(labels), stored.class_names, citation)


def _array(
    folder: Path,
    split: Split,
    kind: Kind,
    stored: StoredImages,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
) -> NDArray[Any]:
    """An array as recorded, mapped."""
    file = folder / array_file(split, kind)
    recorded = getattr(stored, split).sha256.get(kind)
    try:
        got = sha256_of(file)
        if got != recorded:
            raise DataError.of(
                "images or labels were changed after they were fetched",
                file,
                f"sha256 {got}, recorded {recorded}",
                _AGAIN,
            )
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        got = getattr(error, "strerror", None) or error
        raise DataError.of("images or labels cannot be read", file, got, _AGAIN) from None
    if array.dtype != dtype or array.shape != shape:
        got = f"{array.dtype} {array.shape}, recorded {dtype} {shape}"
        raise DataError.of("images or labels are not what is recorded", file, got, _AGAIN)
    return array
