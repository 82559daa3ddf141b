"""SONATA HDF5 files: opened with clear errors, written with the same bytes each time."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from v1builder.schema.errors import NetworkError
from v1builder.schema.files import atomic_file

#: h5py's own types make every item a union of all that a file can hold; its objects are Any here.
H5File = Any
H5Group = Any
H5Dataset = Any

#: The number every SONATA file carries in its root attribute `magic` (SONATA developer guide).
SONATA_MAGIC = 0x0A7A
SONATA_VERSION = (0, 1)

_ERRNO = re.compile(r"errno = (\d+)")


@contextmanager
def open_to_read(path: Path | str) -> Iterator[H5File]:
    """Open an HDF5 file for reading.

    Raises:
        NetworkError: the file does not exist, is truncated or is not HDF5.
    """
    path = Path(path)
    if not path.is_file():
        raise NetworkError.of(
            "a file is missing", path, fix="build the network again or correct the path"
        )
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise NetworkError.of(
            "the file is truncated or is not HDF5", path, error, "build or copy the file again"
        ) from None
    with file:
        try:
            yield file
        except OSError as error:  # the header was whole, the data are not
            raise NetworkError.of(
                "the file is damaged", path, error, "build or copy the file again"
            ) from None


@contextmanager
def open_to_write(path: Path | str) -> Iterator[H5File]:
    """Create a SONATA file; it gets its name only when it is complete.

    Object times are off (h5py's default) and the format version is fixed, so that the same
    contents give the same bytes.

    Raises:
        StorageError: the file system refused.
    """
    with atomic_file(path) as temporary:
        try:
            with h5py.File(temporary, "w", libver=("v110", "v110")) as file:
                file.attrs["magic"] = np.uint32(SONATA_MAGIC)
                file.attrs["version"] = np.array(SONATA_VERSION, dtype=np.uint32)
                yield file
        except (OSError, RuntimeError) as error:
            # A full disk comes to light when HDF5 flushes: an error whose number is in its text.
            number = _ERRNO.search(str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def as_storable(values: NDArray[Any]) -> tuple[NDArray[Any], Any]:
    """The array and the HDF5 type to store it as: text becomes UTF-8, truth values become uint8."""
    values = np.asarray(values)
    if values.dtype.kind in "OUT":
        return values.astype(object), h5py.string_dtype("utf-8")
    if values.dtype.kind == "b":
        return values.astype(np.uint8), np.dtype(np.uint8)
    return values, values.dtype


def write_dataset(group: H5Group, name: str, values: NDArray[Any]) -> H5Dataset:
    """Write one whole array as a contiguous, uncompressed dataset."""
    stored, dtype = as_storable(values)
    return group.create_dataset(name, data=stored, dtype=dtype, track_times=False)


def read_array(dataset: H5Dataset, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Read `dataset[start:stop]`; text comes back as an array of `str` objects."""
    part = slice(start, stop)
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return np.asarray(dataset.asstr()[part], dtype=object)
    return np.asarray(dataset[part])


def only_population(group: H5Group, population: str | None, where: object) -> H5Group:
    """The group of `population`, or of the only population of the file.

    Raises:
        NetworkError: there is no such population, or several and none was named.
    """
    names = list(group)
    if population is None and len(names) == 1:
        population = names[0]
    if population is None or population not in group:
        raise NetworkError.of(
            f"no population '{population}' in the file"
            if population
            else "name the population to read",
            where,
            ", ".join(names) or "no population",
            "use one of the populations the file has",
        )
    return group[population]
