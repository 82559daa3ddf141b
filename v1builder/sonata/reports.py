"""SONATA membrane reports of point neurons: one element per cell.

Layout: /report/<population>/data [time, cell] with attributes `units` and `variable` (without which
BMTK's plots fail), and mapping/{node_ids, index_pointers, element_ids, element_pos, time = (start,
stop, step) in ms}. The older name `index_pointer`, which BMTK reads and writes, is a link to the same
dataset.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from v1builder.schema.errors import NetworkError
from v1builder.sonata.hdf5 import (
    only_population,
    open_dataset,
    open_to_read,
    open_to_write,
    read_array,
    read_integers,
    write_dataset,
)


@dataclass(frozen=True)
class Report:
    """A recorded variable of some cells of one population.

    Attributes:
        population: name of the node population.
        node_ids: [n] ids.
        data: [t, n] values; row k is at time start + k * step.
        start: ms, time of the first row.
        step: ms between rows.
        units: unit of the values.
        variable: what they are; empty where the file does not say.
    """

    population: str
    node_ids: NDArray[np.int64]
    data: NDArray[np.floating[Any]]
    start: float
    step: float
    units: str
    variable: str = ""

    @property
    def times(self) -> NDArray[np.float64]:
        """[t] ms."""
        return self.start + self.step * np.arange(len(self.data), dtype=np.float64)


def write_report(
    path: Path | str,
    population: str,
    node_ids: ArrayLike,
    data: ArrayLike,
    *,
    start: float,
    step: float,
    units: str,
    variable: str = "V_m",
) -> None:
    """Write one population's report as float32.

    Args:
        path: file to create.
        population: name of the node population.
        node_ids: [n] ids of the recorded cells.
        data: [t, n] values.
        start: ms, time of the first row.
        step: ms between rows.
        units: unit of the values, for example "mV".
        variable: what they are.

    Raises:
        NetworkError: the shapes disagree.
        StorageError: the file system refused.
    """
    parts = {population: (node_ids, data)}
    write_reports(path, parts, start=start, step=step, units=units, variable=variable)


def write_reports(
    path: Path | str,
    populations: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    start: float,
    step: float,
    units: str,
    variable: str = "V_m",
) -> None:
    """Write the report of several populations, (node ids [n], values [t, n]) by name, into one file.

    Args and errors as `write_report`.
    """
    checked = {}
    for population, (node_ids, data) in populations.items():
        ids, values = np.asarray(node_ids, dtype=np.int64), np.asarray(data, dtype=np.float32)
        if values.ndim != 2 or values.shape[1] != len(ids):
            raise NetworkError.of(
                "a report needs one column per cell",
                f"{path}, population {population}",
                f"shape {values.shape} for {len(ids)} cells",
                "give an array [time, cell]",
            )
        checked[population] = ids, values
    with open_to_write(path) as file:
        for population, (ids, values) in checked.items():
            n = len(ids)
            group = file.create_group(f"report/{population}")
            write_dataset(group, "data", values).attrs.update(units=units, variable=variable)
            mapping = group.create_group("mapping")
            write_dataset(mapping, "node_ids", ids.astype(np.uint64)).attrs["sorted"] = np.uint8(
                bool(np.all(ids[1:] > ids[:-1]))
            )
            write_dataset(mapping, "index_pointers", np.arange(n + 1, dtype=np.uint64))
            mapping["index_pointer"] = mapping["index_pointers"]
            write_dataset(mapping, "element_ids", np.zeros(n, dtype=np.uint32))
            write_dataset(mapping, "element_pos", np.zeros(n, dtype=np.float32))
            # SONATA: `stop` is the end of the recording, not the time of the last row.
            times = np.array([start, start + step * len(values), step], dtype=np.float64)
            write_dataset(mapping, "time", times).attrs["units"] = "ms"


def read_report(path: Path | str, population: str | None = None) -> Report:
    """Read the report of one population, in either of the layouts named above.

    Raises:
        NetworkError: the file is missing, damaged, lacks the population, or has several elements
            per cell.
    """
    with open_to_read(path) as file:
        root = file.get("report")
        if root is None:
            raise NetworkError.of(
                "the file has no report", path, ", ".join(file), "name a SONATA membrane report"
            )
        group = only_population(root, population, path)
        missing = [
            name for name in ("data", "mapping/node_ids", "mapping/time") if name not in group
        ]
        if missing:
            raise NetworkError.of(
                "a dataset is missing",
                f"{path}, {group.name}",
                ", ".join(missing),
                "write it again",
            )
        mapping = group["mapping"]
        ids = read_integers(open_dataset(mapping, "node_ids"))
        stored, time = open_dataset(group, "data"), open_dataset(mapping, "time")
        data = read_array(stored)
        if data.ndim != 2 or data.shape[1] != len(ids) or data.dtype.kind not in "iuf":
            raise NetworkError.of(
                "the report does not have one element per cell",
                f"{path}, {group.name}",
                f"{data.dtype} of shape {data.shape} for {len(ids)} cells",
                "only reports of point neurons can be read",
            )
        ends = read_array(time)
        if ends.shape != (3,) or ends.dtype.kind not in "iuf" or not np.isfinite(ends).all():
            where = f"{path}, {group.name}/mapping/time"
            raise NetworkError.of("times are not start, stop and step", where, ends.tolist()[:5])
        start, _, step = (float(value) for value in ends)
        said = (stored.attrs.get(key, "") for key in ("units", "variable"))
        units, variable = (
            text.decode(errors="replace") if isinstance(text, bytes) else str(text) for text in said
        )
        name = str(group.name).rsplit("/", 1)[-1]
    return Report(name, ids, data, start, step, units, variable)
