"""SONATA HDF5 files: opened with clear errors, read strictly, written with the same bytes each time.

Before a dataset is read, its kind, shape, size and type are looked at, so that no file of others is read as
what it is not: no fraction becomes an id, no absent part becomes zeros, and no file of a few bytes becomes
gigabytes (`open_dataset`, `read_array`, `read_integers`). Whatever the HDF5 library itself refuses is an
error that names the file.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from v1builder.schema.errors import NetworkError
from v1builder.schema.files import atomic_file
from v1builder.sonata.foreign import require_file

#: h5py's own types make every item a union of all that a file can hold; its objects are Any here.
H5File = Any
H5Group = Any
H5Dataset = Any

#: The number every SONATA file carries in its root attribute `magic` (SONATA developer guide).
SONATA_MAGIC = 0x0A7A
SONATA_VERSION = (0, 1)

#: Bytes that are read whatever the file holds of them, and how much denser a compressed file can be: gzip
#: comes to 1030.
_ALWAYS_READ: Final = 1 << 26
_MOST_DENSE: Final = 1100

_ERRNO = re.compile(r"errno = (\d+)")


@contextmanager
def open_to_read(path: Path | str) -> Iterator[H5File]:
    """Open an HDF5 file for reading.

    Raises:
        NetworkError: the file does not exist, is truncated or is not HDF5.
    """
    path = Path(path)
    require_file(path)
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError) as error:
        raise NetworkError.of(
            "the file is truncated or is not HDF5", path, error, "build or copy the file again"
        ) from None
    with file:
        try:
            yield file
        except NetworkError:
            raise
        except Exception as error:  # the header was whole, the data are not
            if not isinstance(error, OSError) and not _is_of_library(error):
                raise
            raise NetworkError.of(
                "the file is damaged", path, error, "build or copy the file again"
            ) from None


def _is_of_library(error: Exception) -> bool:
    """Whether an error was raised inside h5py, and not by our own code."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and "h5py" in trace.tb_frame.f_code.co_filename


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
                try:
                    yield file
                    file.flush()
                except BaseException:
                    _write_no_more(file, temporary)
                    raise
        except (OSError, RuntimeError) as error:
            # A full disk comes to light when HDF5 flushes: an error whose number is in its text.
            number = _ERRNO.search(str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _write_no_more(file: H5File, path: Path) -> None:
    """Let HDF5 put what it still holds of a file that is thrown away where there is room: into memory.

    Where the disk is full it would try again to write it, at the latest when the process ends, and crash.
    """
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create(path.name)
        os.dup2(memory, file.id.get_vfd_handle())
        os.close(memory)
    else:  # not Linux: the room that the file itself had
        os.truncate(path, 0)


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


def datasets_in(group: H5Group) -> Iterator[tuple[str, H5Dataset]]:
    """The datasets that lie directly in a group, by name. One without values (a null dataspace) is absent.

    Raises:
        NetworkError: a link leads nowhere, or a dataset is not one that can be read (`open_dataset`).
    """
    for name in group:
        item = group.get(name)
        if item is None or (isinstance(item, h5py.Dataset) and item.shape is not None):
            yield name, open_dataset(group, name)


def open_dataset(group: H5Group, name: str) -> H5Dataset:
    """A dataset of a group, of which everything is there.

    Raises:
        NetworkError: there is none, it is no dataset, has no values (a null dataspace), is made of parts of
            other files, or declares far more than the file holds.
    """
    where = f"{group.file.filename}, {str(group.name).rstrip('/')}/{name}"
    item = group.get(name)
    if item is None:
        gone = name in group
        what = "a link leads nowhere" if gone else "a dataset is missing"
        raise NetworkError.of(what, where, fix="write the file again")
    if not isinstance(item, h5py.Dataset):
        raise NetworkError.of("this is a group, not a dataset", where, fix="write the file again")
    if item.shape is None:
        raise NetworkError.of(
            "a dataset has no values", where, "a null dataspace", "leave it out, or fill it"
        )
    if item.is_virtual or item.external:
        raise NetworkError.of(
            "a dataset is made of parts of other files",
            where,
            "virtual dataset" if item.is_virtual else "external storage",
            "copy the values into the file, for example with h5repack",
        )
    declared, held = item.size * item.dtype.itemsize, item.id.get_storage_size()
    if declared > max(_ALWAYS_READ, _MOST_DENSE * held):
        raise NetworkError.of(
            "a dataset declares far more than the file holds",
            where,
            f"{item.size:.3g} values, of which {held} bytes are stored",
            "write the file again",
        )
    return item


def read_array(dataset: H5Dataset, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Read `dataset[start:stop]`: numbers, or text as an array of `str` objects.

    Raises:
        NetworkError: the values are neither.
    """
    part = slice(start, stop)
    where = f"{dataset.file.filename}, {dataset.name}"
    if dataset.ndim == 0:
        raise NetworkError.of("a dataset is one value, not a list", where, fix="write it again")
    if h5py.check_string_dtype(dataset.dtype) is not None:
        try:
            return np.asarray(dataset.asstr()[part], dtype=object)
        except UnicodeDecodeError as error:
            raise NetworkError.of("a text is not UTF-8", where, error, "write it again") from None
    names = h5py.check_enum_dtype(dataset.dtype)
    if names is not None:
        return _enumerated(np.asarray(dataset[part]), names, where)
    if dataset.dtype.kind not in "iufb":
        raise NetworkError.of(
            "values are neither numbers nor text", where, dataset.dtype, "write the file again"
        )
    return np.asarray(dataset[part])


def _enumerated(codes: NDArray[Any], names: Mapping[str, int], where: str) -> NDArray[Any]:
    """Values of an enumeration by their names; of true and false as such."""
    if {name.upper() for name in names} == {"TRUE", "FALSE"}:
        return codes.astype(bool)
    by_code = {code: name for name, code in names.items()}
    unknown = [int(code) for code in np.unique(codes) if int(code) not in by_code]
    if unknown:
        raise NetworkError.of(
            "a value is not one of its enumeration", where, unknown[0], ", ".join(names)
        )
    return np.array([by_code[int(code)] for code in codes.ravel()], object).reshape(codes.shape)


def read_integers(
    dataset: H5Dataset, start: int = 0, stop: int | None = None, *, least: int | None = 0
) -> NDArray[np.int64]:
    """Read `dataset[start:stop]`, one whole number per row, as int64.

    Raises:
        NetworkError: a value is not a whole number, lies below `least`, or there are several per row.
    """
    where = f"{dataset.file.filename}, {dataset.name}"
    if dataset.ndim != 1:
        raise NetworkError.of("a dataset has not one value per row", where, f"{dataset.shape}")
    return integers(read_array(dataset, start, stop), where, start, least=least)


def integers(
    values: NDArray[Any], where: object, start: int = 0, *, least: int | None = 0
) -> NDArray[np.int64]:
    """Values of a file as int64.

    Args:
        values: [n] what was read.
        where: for messages.
        start: row of the first.
        least: smallest that is allowed; None for any.

    Raises:
        NetworkError: one is not a whole number, or out of range.
    """
    if values.dtype.kind not in "iuf":
        raise NetworkError.of(
            "values are not numbers", where, f"type {values.dtype}", "write whole numbers"
        )
    wrong = np.zeros(len(values), dtype=bool)
    if values.dtype.kind == "f":
        wrong = ~(np.isfinite(values) & (values == np.trunc(values)) & (abs(values) < 2.0**53))
    elif values.dtype.kind == "u":
        wrong = values > np.iinfo(np.int64).max
    if least is not None:
        wrong |= values < least
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        low = values[row] < (least or 0)
        raise NetworkError.of(
            "a number is negative" if low and least == 0 else "a number is not whole",
            f"{where}, row {start + row}",
            f"{values[row]} ({np.count_nonzero(wrong)} in all)",
            "correct the file: ids and indices are whole numbers from 0",
        )
    return values.astype(np.int64)


def only_population(group: H5Group, population: str | None, where: object) -> H5Group:
    """The group of `population`, or of the only population of the file.

    Raises:
        NetworkError: there is no such population, or several and none was named.
    """
    if not isinstance(group, h5py.Group):
        raise NetworkError.of("this is a dataset, not a group of populations", where)
    names = list(group)
    if population is None and len(names) == 1:
        population = names[0]
    if population is None or not isinstance(group.get(population), h5py.Group):
        raise NetworkError.of(
            f"no population '{population}' in the file"
            if population
            else "name the population to read",
            where,
            ", ".join(names) or "no population",
            "use one of the populations the file has",
        )
    return group[population]
