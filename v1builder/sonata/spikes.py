"""SONATA spike files: who spiked when.

Layout: /spikes/<population>/{timestamps, node_ids}, times in ms unless their attribute `units` says seconds;
`sorting` says the order. The older layout, /spikes/{timestamps, gids}, has no population names; it is read
as population "".
CSV files, as BMTK writes them, have the columns timestamps (ms), node_ids (older: gids) and population,
separated by spaces (older: commas).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from v1builder.schema.errors import NetworkError, unknown_name
from v1builder.sonata.foreign import parsed, read_rows, read_text
from v1builder.sonata.groups import populations_in
from v1builder.sonata.hdf5 import (
    H5Group,
    integers,
    open_dataset,
    open_to_read,
    open_to_write,
    read_array,
    read_integers,
    write_dataset,
)

#: The HDF5 enum that libsonata requires for `sorting`.
SORTING = {"none": 0, "by_id": 1, "by_time": 2}
#: Names of the dataset (or column) of ids, the current one first.
_ID_NAMES = ("node_ids", "gids")
#: Names of units of time in files, in ms.
_MILLISECONDS = {
    "ms": 1.0,
    "millisecond": 1.0,
    "milliseconds": 1.0,
    "msec": 1.0,
    "s": 1000.0,
    "sec": 1000.0,
    "second": 1000.0,
    "seconds": 1000.0,
}
#: ms (thirty years): no run is longer, and steps of a later time could not be counted.
LATEST = 1e12


@dataclass(frozen=True)
class Spikes:
    """Spikes of one population.

    Attributes:
        timestamps: [s] ms.
        node_ids: [s] ids of the nodes.
    """

    timestamps: NDArray[np.float64]
    node_ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.timestamps)


def write_spikes(
    path: Path | str,
    spikes: Mapping[str, tuple[ArrayLike, ArrayLike]],
    sorting: str = "by_time",
) -> None:
    """Write spikes sorted by time, then by node id; or by id, then by time.

    Args:
        path: file to create.
        spikes: (timestamps in ms, node ids) by population name.
        sorting: "by_time" or "by_id".

    Raises:
        NetworkError: unequal lengths, or a time that is negative or not finite.
        StorageError: the file system refused.
    """
    checked: dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]] = {}
    for population, (timestamps, node_ids) in spikes.items():
        times = np.asarray(timestamps, dtype=np.float64)
        ids = np.asarray(node_ids, dtype=np.int64)
        _check(path, population, times, ids)
        order = np.lexsort((times, ids) if sorting == "by_id" else (ids, times))
        checked[population] = times[order], ids[order]
    with open_to_write(path) as file:
        root = file.create_group("spikes")
        for population, (times, ids) in checked.items():
            group = root.create_group(population)
            kind = h5py.enum_dtype(SORTING, basetype=np.uint8)
            group.attrs.create("sorting", SORTING[sorting], dtype=kind)
            write_dataset(group, "timestamps", times).attrs["units"] = "milliseconds"
            write_dataset(group, "node_ids", ids.astype(np.uint64))


def read_spikes(path: Path | str, separator: str | None = None) -> dict[str, Spikes]:
    """Read the spikes of all populations of a file, sorted by time.

    Args:
        path: HDF5, or CSV if its name ends so.
        separator: of the columns of a CSV; a comma where the first line has one, else spaces.

    Raises:
        NetworkError: the file is missing, damaged, or is not a SONATA spike file; a time is not one, or an id
            is not whole.
    """
    if Path(path).suffix.lower() == ".csv":
        return _read_csv(Path(path), separator)
    found = {}
    with open_to_read(path) as file:
        root = file.get("spikes")
        if not isinstance(root, h5py.Group):
            raise NetworkError.of(
                "the file has no spikes", path, ", ".join(file), "name a SONATA spike file"
            )
        older = isinstance(root.get("timestamps"), h5py.Dataset)
        for population in [""] if older else populations_in(file, "spikes", path):
            group: H5Group = root[population] if population else root
            where = f"{path}, population {population}"
            id_name = next((name for name in _ID_NAMES if name in group), None)
            if id_name is None or "timestamps" not in group:
                raise NetworkError.of(
                    "a dataset is missing",
                    f"{path}, {group.name}",
                    ", ".join(group),
                    "a spike population has timestamps and node_ids",
                )
            stored = open_dataset(group, "timestamps")
            times = _times(read_array(stored), where) * _unit(stored.attrs.get("units"), where)
            ids = read_integers(open_dataset(group, id_name))
            found[population] = _sorted(path, population, times, ids)
    return found


def _unit(said: object, where: str) -> float:
    """Milliseconds of the unit of a file; the SONATA guide leaves it open, and all write milliseconds."""
    if said is None:
        return 1.0
    name = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    if name not in _MILLISECONDS:
        raise NetworkError([unknown_name("unit of time", name, _MILLISECONDS, where)])
    return _MILLISECONDS[name]


def _times(values: NDArray[Any], where: str) -> NDArray[np.float64]:
    if values.dtype.kind not in "iuf":
        raise NetworkError.of("spike times are not numbers", where, f"type {values.dtype}")
    return values.astype(np.float64)


def _read_csv(path: Path, separator: str | None) -> dict[str, Spikes]:
    first = read_text(path).partition("\n")[0]
    header, rows = read_rows(path, separator or ("," if "," in first else " "))
    table = pd.DataFrame(rows, columns=header, dtype=object)
    names = [name for name in _ID_NAMES if name in table]
    unknown = set(header) - {"timestamps", "population", *_ID_NAMES}
    if unknown:
        known = ("timestamps", "population", "node_ids")
        raise NetworkError([unknown_name("column", sorted(unknown)[0], known, path)])
    if "timestamps" not in table or len(names) != 1:
        raise NetworkError.of(
            "a column is missing" if not names else "a column is missing or doubled",
            path,
            ", ".join(header),
            "a table of spikes has timestamps, population and node_ids, separated by spaces",
        )
    found = {}
    groups = table.groupby("population") if "population" in table else [("", table)]
    for population, part in groups:
        where = f"{path}, population {population}"
        times, ids = (_numbers(part[name].to_list(), where) for name in ("timestamps", names[0]))
        found[str(population)] = _sorted(path, str(population), times, integers(ids, where))
    return found


def _numbers(column: list[str], where: str) -> NDArray[np.float64]:
    try:
        return np.array([parsed(value, float) for value in column], dtype=np.float64)
    except ValueError as error:
        raise NetworkError.of("a value is not a number", where, error, "correct the file") from None


def _sorted(
    path: Path | str, population: str, times: NDArray[np.float64], ids: NDArray[np.int64]
) -> Spikes:
    _check(path, population, times, ids)
    order = np.argsort(times, kind="stable")
    return Spikes(times[order], ids[order])


def _check(
    path: Path | str, population: str, times: NDArray[np.float64], ids: NDArray[np.int64]
) -> None:
    where = f"{path}, population {population}"
    if times.shape != ids.shape or times.ndim != 1:
        raise NetworkError.of(
            "there is not one node id per time",
            where,
            f"{times.shape} times, {ids.shape} ids",
            "give arrays of one length",
        )
    wrong = ~(np.isfinite(times) & (times >= 0) & (times < LATEST))
    if wrong.any():
        late = times[wrong][0] >= LATEST and np.isfinite(times[wrong][0])
        raise NetworkError.of(
            "a spike time is later than any run"
            if late
            else "a spike time is negative or not finite",
            where,
            f"{times[wrong][0]} at spike {int(np.flatnonzero(wrong)[0])}",
            "spike times are ms from the start of the simulation",
        )
