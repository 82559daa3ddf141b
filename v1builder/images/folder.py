"""The user's own images and films, in folders by class."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.images.image_set import ImageSet, Labels, Pixels
from v1builder.schema.errors import DataError
from v1builder.schema.files import sha256_of

_SPLITS: Final = ("train", "validation", "test")
_PICTURES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_FILMS: Final = (".mp4", ".avi", ".mov", ".mkv", ".webm")
_SUFFIXES: Final = (*_PICTURES, *_FILMS, ".npy")
#: Of the images of a class, the part that is set aside for validation and for the test.
_SET_ASIDE: Final = {"validation": 8, "test": 5}
#: More pixels than any screen has: a file that claims them is not read.
_PIXELS_MAX: Final = 1 << 26
#: Levels of gray by the type of the pixels.
_WHITE: Final = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


@dataclass(frozen=True)
class _Item:
    path: Path
    label: int


@dataclass(frozen=True)
class ImageFolder(ImageSet):
    """Images and films by class: PATH/CLASS/FILE, or PATH/SPLIT/CLASS/FILE.

    Files are pictures (PNG, JPEG ...), films (MP4 ...; needs the package `av`) or arrays .npy: [row, column]
    or [frame, row, column], uint8 or uint16, or floating point in [-1, 1] where 0 is gray. Pixels of
    integers go from -1, black, to 1, white. Without folders named train and test, a fifth of the files of
    every class is set aside for the test; without one named validation, an eighth of those of training for
    that, and at least one: the first in the order of the hashes of their names.

    Attributes:
        path: of the folder.
    """

    path: str

    @property
    def digest(self) -> str:
        """Of all files, with their names and classes."""
        return _digest(self.path)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the folders."""
        return _listed(self.path)[0]

    def labels(self, split: str) -> Labels:
        """[image] class."""
        return np.array([item.label for item in self._items(split)], np.int64)

    def _items(self, split: str) -> tuple[_Item, ...]:
        return _listed(self.path)[1][split]

    def n_frames(self, split: str, index: int) -> int:
        """Frames of a film or of an array [frame, row, column]."""
        path = self._items(split)[index].path
        return 1 if path.suffix.lower() in _PICTURES else len(_frames(path))

    def frames_per_second(self, split: str, index: int) -> float | None:
        """As a film has it."""
        path = self._items(split)[index].path
        return _film(path)[1] if path.suffix.lower() in _FILMS else None

    def pixels(self, split: str, index: int, frame: int = 0) -> Pixels:
        """[row, column]."""
        path = self._items(split)[index].path
        return _in_range(_frames(path)[frame], path)


@lru_cache(maxsize=32)
def _listed(folder: str) -> tuple[tuple[str, ...], dict[str, tuple[_Item, ...]]]:
    """Names of the classes, and the files of each split, which are looked at."""
    root = Path(folder)
    if any((root / split).is_dir() for split in _SPLITS):
        found = {split: _by_class(root / split) for split in _SPLITS}
    else:
        found = {"train": _by_class(root), "validation": {}, "test": {}}
        found["train"], found["test"] = _set_aside(found["train"], _SET_ASIDE["test"])
    if not found["validation"]:
        found["train"], found["validation"] = _set_aside(found["train"], _SET_ASIDE["validation"])
    names = tuple(sorted({name for files in found.values() for name in files}))
    if len(names) < 2:
        raise DataError.of(
            "there are no classes of images",
            root,
            f"{len(names)} folders with files of {', '.join(_SUFFIXES)}",
            "put images into one folder per class, or into such folders below train and test",
        )
    for split, files in found.items():
        missing = [name for name in names if not files.get(name)]
        if missing:
            raise DataError.of(
                f"a class has no images for {split}",
                root,
                ", ".join(missing),
                "add images, or sort them into folders train, validation and test",
            )
    items = {
        split: tuple(_Item(path, i) for i, name in enumerate(names) for path in files[name])
        for split, files in found.items()
    }
    for listed in items.values():
        for item in listed:
            _look_at(item.path)
    return names, items


@lru_cache(maxsize=32)
def _digest(folder: str) -> str:
    names, items = _listed(folder)
    parts = [
        f"{split}/{names[item.label]}/{item.path.name} {sha256_of(item.path)}"
        for split, listed in items.items()
        for item in listed
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _set_aside(
    files: dict[str, list[Path]], part: int
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """What stays, and one file of `part` of every class, at least one."""
    kept, aside = {}, {}
    for name, paths in files.items():
        order = sorted(paths, key=lambda path: hashlib.sha256(path.name.encode()).digest())
        number = max(1, len(order) // part)
        aside[name], kept[name] = sorted(order[:number]), sorted(order[number:])
    return kept, aside


def _look_at(path: Path) -> None:
    """Refuse what is no image by its first bytes, now and not when it is shown."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        _array(path)
    elif suffix in _FILMS:
        _film(path)
    else:
        _picture(path, pixels=False)


def _by_class(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        return {}
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    files = {
        path.name: sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
        for path in classes
    }
    return {name: paths for name, paths in files.items() if paths}


def _frames(path: Path) -> NDArray[Any]:
    """[frame, row, column] of a file, as it has them."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _array(path)
    return _film(path)[0] if suffix in _FILMS else _picture(path)[None]


def _array(path: Path) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError.of("an image cannot be read", path, error, "give a .npy array") from None
    if (
        array.ndim not in (2, 3)
        or 0 in array.shape
        or (array.ndim == 3 and array.shape[2] in (3, 4))
    ):
        raise DataError.of(
            "an image has the wrong shape",
            path,
            array.shape,
            "give [row, column] or [frame, row, column], without colours",
        )
    return array if array.ndim == 3 else array[None]


def _picture(path: Path, pixels: bool = True) -> NDArray[Any]:
    """[row, column] of a picture, 8 or 16 bits; or nothing but a look at what it says of itself."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.width * image.height > _PIXELS_MAX:
                raise DataError.of(
                    "an image is too large", path, f"{image.width} x {image.height}", "make it smaller"
                )  # fmt: skip
            if image.mode in ("I", "F"):
                raise DataError.of(
                    "an image has pixels of an unusual kind",
                    path,
                    f"mode {image.mode}",
                    "save it with 8 or 16 bits, or as .npy",
                )
            if not pixels:
                return np.empty(0, np.uint8)
            if image.mode.startswith("I;16"):
                return np.asarray(image).astype(np.uint16)
            return np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError.of(
            "an image cannot be read", path, error, "replace or remove the file"
        ) from None


@lru_cache(maxsize=8)
def _film(path: Path) -> tuple[NDArray[np.uint8], float]:
    """[frame, row, column] of a film, and its frames per second."""
    try:
        import av
    except ImportError:
        raise DataError.of(
            "films need the package av", path, "it is not installed", "pip install 'v1builder[video]'"
        ) from None  # fmt: skip
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = stream.average_rate
            frames, n_pixels = [], 0
            for frame in container.decode(stream):
                frames.append(frame.to_ndarray(format="gray"))
                n_pixels += frames[-1].size
                if n_pixels > 4 * _PIXELS_MAX:
                    raise DataError.of(
                        "a film is too large", path, f"more than {n_pixels} pixels",
                        "cut it into shorter films, or make it smaller",
                    )  # fmt: skip
    except (av.FFmpegError, IndexError, OSError) as error:
        raise DataError.of(
            "a film cannot be read", path, error, "replace or remove the file"
        ) from None
    if not frames or not rate:
        raise DataError.of("a film has no frames", path, "0 frames", "remove the file")
    return np.stack(frames), float(rate)


def _in_range(pixels: NDArray[Any], path: Path) -> Pixels:
    white = _WHITE.get(pixels.dtype)
    if white is not None:
        return pixels.astype(np.float64) * (2 / white) - 1
    values = pixels.astype(np.float64) if pixels.dtype.kind == "f" else np.full(1, np.nan)
    if not (np.abs(values) <= 1).all():
        raise DataError.of(
            "the pixels of an image are not in its range",
            path,
            f"{pixels.dtype}" if pixels.dtype.kind != "f" else f"up to {np.abs(values).max():g}",
            "give uint8, uint16, or floating point numbers from -1 (black) to 1 (white)",
        )
    return values
