"""SONATA spike files: who spiked when.

Layout: /spikes/<population>/{timestamps, node_ids}, times in ms; `sorting` says the order.
The older layout, /spikes/{timestamps, gids}, has no population names; it is read as population "".
CSV files, as BMTK writes them, have the columns timestamps (ms), node_ids (older: gids) and population,
separated by spaces (older: commas).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from v1builder.schema.errors import NetworkError
from v1builder.sonata.hdf5 import H5Group, open_to_read, open_to_write, write_dataset

#: The HDF5 enum that libsonata requires for `sorting`.
SORTING = {"none": 0, "by_id": 1, "by_time": 2}


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


def write_spikes(path: Path | str, spikes: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> None:
    """Write spikes sorted by time, then by node id.

    Args:
        path: file to create.
        spikes: (timestamps in ms, node ids) by population name.

    Raises:
        NetworkError: unequal lengths, or a time that is negative or not finite.
        StorageError: the file system refused.
    """
    checked: dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]] = {}
    for population, (timestamps, node_ids) in spikes.items():
        times = np.asarray(timestamps, dtype=np.float64)
        ids = np.asarray(node_ids, dtype=np.int64)
        _check(path, population, times, ids)
        order = np.lexsort((ids, times))
        checked[population] = times[order], ids[order]
    with open_to_write(path) as file:
        root = file.create_group("spikes")
        for population, (times, ids) in checked.items():
            group = root.create_group(population)
            kind = h5py.enum_dtype(SORTING, basetype=np.uint8)
            group.attrs.create("sorting", SORTING["by_time"], dtype=kind)
            write_dataset(group, "timestamps", times).attrs["units"] = "milliseconds"
            write_dataset(group, "node_ids", ids.astype(np.uint64))


def read_spikes(path: Path | str) -> dict[str, Spikes]:
    """Read the spikes of all populations of a file, sorted by time.

    Raises:
        NetworkError: the file is missing, damaged, or is not a SONATA spike file.
    """
    if Path(path).suffix.lower() == ".csv":
        return _read_csv(Path(path))
    found = {}
    with open_to_read(path) as file:
        root = file.get("spikes")
        if not isinstance(root, h5py.Group):
            raise NetworkError.of(
                "the file has no spikes", path, ", ".join(file), "name a SONATA spike file"
            )
        groups: dict[str, H5Group] = {"": root} if "timestamps" in root else dict(root.items())
        for population, group in groups.items():
            id_name = next((name for name in ("node_ids", "gids") if name in group), None)
            if id_name is None or "timestamps" not in group:
                raise NetworkError.of(
                    "a dataset is missing",
                    f"{path}, {group.name}",
                    ", ".join(group),
                    "a spike population has timestamps and node_ids",
                )
            times = group["timestamps"][()].astype(np.float64)
            ids = group[id_name][()].astype(np.int64)
            _check(path, population, times, ids)
            order = np.argsort(times, kind="stable")
            found[population] = Spikes(times[order], ids[order])
    return found


def _read_csv(path: Path) -> dict[str, Spikes]:
    try:
        with path.open(encoding="utf-8") as file:
            comma = "," in file.readline()
        table = pd.read_csv(path, sep="," if comma else " ")
    except OSError as error:
        raise NetworkError.of("a file is missing", path, error.strerror or error) from None
    except (ValueError, pd.errors.ParserError) as error:
        raise NetworkError.of("the file is not a table of spikes", path, error) from None
    table = table.rename(columns={"gids": "node_ids"})
    if not {"timestamps", "node_ids"} <= set(table):
        raise NetworkError.of(
            "a column is missing",
            path,
            ", ".join(map(str, table.columns)),
            "a table of spikes has timestamps, population and node_ids, separated by spaces",
        )
    groups = table.groupby("population") if "population" in table else [("", table)]
    found = {}
    for population, rows in groups:
        times = rows["timestamps"].to_numpy(np.float64)
        ids = rows["node_ids"].to_numpy(np.int64)
        _check(path, str(population), times, ids)
        order = np.argsort(times, kind="stable")
        found[str(population)] = Spikes(times[order], ids[order])
    return found


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
    wrong = ~(np.isfinite(times) & (times >= 0))
    if wrong.any():
        raise NetworkError.of(
            "a spike time is negative or not finite",
            where,
            f"{times[wrong][0]} at spike {int(np.flatnonzero(wrong)[0])}",
            "spike times are ms from the start of the simulation",
        )
