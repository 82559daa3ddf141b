"""SONATA edge files: written as a stream of sorted blocks, read whole or in chunks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from v1builder.schema.errors import NetworkError
from v1builder.sonata.groups import attributes_of, check_rows, populations_in, read_attribute
from v1builder.sonata.hdf5 import (
    H5Dataset,
    H5File,
    H5Group,
    only_population,
    open_dataset,
    open_to_read,
    open_to_write,
    read_integers,
)
from v1builder.sonata.indices import write_indices

#: Elements per HDF5 chunk; 256 KiB for an 8-byte column.
_CHUNK = 1 << 15

#: Datasets that every edge population must have.
REQUIRED_DATASETS = ("source_node_id", "target_node_id", "edge_type_id")
_OF_GROUPS = ("edge_group_id", "edge_group_index")
#: Types read at once.
_AT_ONCE = 1 << 22


class EdgeWriter:
    """Writes one edge population as a stream of blocks.

    Blocks arrive in the final order, sorted by (target, source). On leaving the context the indices
    of both directions are written and the file gets its name; on any error it does not.

    Example:
        with EdgeWriter(path, "v1_to_v1", "v1", "v1", n, n, {"syn_weight": np.float32}) as writer:
            writer.write(source_ids, target_ids, edge_type_ids, syn_weight=weights)

    Args:
        path: file to create.
        population: SONATA population name of the edges.
        source: name of the source node population.
        target: name of the target node population.
        n_source: number of source nodes; ids are 0..n_source-1.
        n_target: number of target nodes; ids are 0..n_target-1.
        columns: type of every edge attribute by name.
        id_dtype: type of the stored node ids.
        compression: HDF5 filter ("gzip"), or None. libsonata's wheel reads uncompressed files only.
    """

    def __init__(
        self,
        path: Path | str,
        population: str,
        source: str,
        target: str,
        n_source: int,
        n_target: int,
        columns: Mapping[str, DTypeLike],
        id_dtype: DTypeLike = np.uint32,
        compression: str | None = None,
    ):
        self.path = Path(path)
        self.population = population
        self.source, self.target = source, target
        self.n_source, self.n_target = n_source, n_target
        self.columns = {name: np.dtype(kind) for name, kind in columns.items()}
        self.n_edges = 0
        self._id_dtype = np.dtype(id_dtype)
        self._compression = compression
        self._last = (-1, -1)
        self._context: AbstractContextManager[H5File] | None = None
        self._group: H5Group
        # Kept open: errors in the writing of what a closed one still held would be lost.
        self._datasets: dict[str, H5Dataset] = {}

    def __enter__(self) -> Self:
        self._context = open_to_write(self.path)
        file = self._context.__enter__()
        self._group = file.create_group(f"edges/{self.population}")
        self._create("source_node_id", self._id_dtype).attrs["node_population"] = self.source
        self._create("target_node_id", self._id_dtype).attrs["node_population"] = self.target
        self._create("edge_type_id", np.dtype(np.int64))
        self._create("edge_group_id", np.dtype(np.uint8))
        self._create("edge_group_index", np.dtype(np.uint64))
        self._group.create_group("0")
        for name, kind in self.columns.items():
            self._create(f"0/{name}", kind)
        return self

    def write(
        self,
        source_ids: ArrayLike,
        target_ids: ArrayLike,
        edge_type_ids: ArrayLike,
        **columns: ArrayLike,
    ) -> None:
        """Append a block of edges.

        Args:
            source_ids: [e] ids of the sources.
            target_ids: [e] ids of the targets.
            edge_type_ids: [e] ids into the types table.
            columns: [e] values of every column named at construction.

        Raises:
            NetworkError: the block is not sorted by (target, source) or does not follow the block
                before it, an id is out of range, or columns are missing, unknown or too short.
        """
        source, target = np.asarray(source_ids), np.asarray(target_ids)
        values = {name: np.asarray(column) for name, column in columns.items()}
        values["edge_type_id"] = np.asarray(edge_type_ids)
        self._check(source, target, values)
        n = len(source)
        if n == 0:
            return
        start, self.n_edges = self.n_edges, self.n_edges + n
        self._last = (int(target[-1]), int(source[-1]))
        self._append("source_node_id", start, source)
        self._append("target_node_id", start, target)
        self._append("edge_type_id", start, values.pop("edge_type_id"))
        self._append("edge_group_id", start, np.zeros(n, dtype=np.uint8))
        self._append("edge_group_index", start, np.arange(start, start + n, dtype=np.uint64))
        for name, column in values.items():
            self._append(f"0/{name}", start, column)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        context = self._context
        assert context is not None
        if error is None:
            try:
                write_indices(self._group, self.n_source, self.n_target)
            except BaseException as failure:
                context.__exit__(type(failure), failure, failure.__traceback__)
                raise
        context.__exit__(kind, error, trace)

    def _create(self, name: str, dtype: np.dtype[Any]) -> H5Dataset:
        self._datasets[name] = self._group.create_dataset(
            name,
            shape=(0,),
            maxshape=(None,),
            chunks=(_CHUNK,),
            dtype=dtype,
            compression=self._compression,
            track_times=False,
        )
        return self._datasets[name]

    def _append(self, name: str, start: int, values: NDArray[Any]) -> None:
        dataset = self._datasets[name]
        dataset.resize((start + len(values),))
        dataset[start:] = values.astype(dataset.dtype, copy=False)

    def _check(
        self, source: NDArray[Any], target: NDArray[Any], columns: dict[str, NDArray[Any]]
    ) -> None:
        where = f"{self.path}, population {self.population}"
        if set(columns) - {"edge_type_id"} != set(self.columns):
            raise NetworkError.of(
                "the columns of the block are not those of the file",
                where,
                ", ".join(sorted(set(columns) - {"edge_type_id"})),
                f"give exactly: {', '.join(self.columns)}",
            )
        for name, values in {"target_ids": target, **columns}.items():
            if values.shape != source.shape or source.ndim != 1:
                raise NetworkError.of(
                    f"'{name}' does not have one value per edge",
                    where,
                    f"shape {values.shape} for {source.shape} sources",
                    "give one value per edge",
                )
        if len(source) == 0:
            return
        for name, ids, n in (("source", source, self.n_source), ("target", target, self.n_target)):
            if ids.min() < 0 or ids.max() >= n:
                raise NetworkError.of(
                    f"an edge has a {name} that does not exist",
                    where,
                    f"ids {ids.min()} to {ids.max()} for {n} nodes",
                    f"use {name} ids from 0 to {n - 1}",
                )
        same_target = target[1:] == target[:-1]
        sorted_inside = np.all(
            (target[1:] > target[:-1]) | (same_target & (source[1:] >= source[:-1]))
        )
        if not sorted_inside or (int(target[0]), int(source[0])) < self._last:
            raise NetworkError.of(
                "edges do not arrive sorted by (target, source)",
                where,
                f"at edge {self.n_edges} and after",
                "sort the edges before writing them",
            )


@dataclass(frozen=True)
class EdgeTable:
    """Edges `start` to `start + len` of one population; the types table is not joined.

    Attributes:
        population: its name.
        source: name of the source node population.
        target: name of the target node population.
        start: position in the file of the first edge here.
        source_id: [e] ids.
        target_id: [e] ids.
        edge_type_id: [e] ids into the types table.
        attributes: [e]-arrays by name. With several edge groups, a value that a group lacks is NaN
            (numbers) or "" (text). Overrides of an edge's model are "dynamics_params/<name>".
        lacking: [e] which edges are of a group without an attribute, by the name of those that some lack.
    """

    population: str
    source: str
    target: str
    start: int
    source_id: NDArray[Any]
    target_id: NDArray[Any]
    edge_type_id: NDArray[np.int64]
    attributes: dict[str, NDArray[Any]] = field(default_factory=dict)
    lacking: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.source_id)


def edge_populations(path: Path | str) -> list[str]:
    """Names of the edge populations in a file.

    Raises:
        NetworkError: the file is missing or damaged.
    """
    with open_to_read(path) as file:
        return populations_in(file, "edges", path)


def edge_count(path: Path | str, population: str | None = None) -> int:
    """Number of edges of a population.

    Raises:
        NetworkError: the file is missing, damaged, or lacks the population.
    """
    with _open_population(path, population) as group:
        return _count(group)


def read_edges(path: Path | str, population: str | None = None) -> EdgeTable:
    """Read a whole edge population.

    Raises:
        NetworkError: the file is missing, damaged, lacks a dataset or the population, or a dataset is not
            what it has to be.
    """
    with _open_population(path, population) as group:
        return _read_part(group, 0, _count(group))


def iterate_edges(
    path: Path | str, population: str | None = None, chunk: int = 1 << 22
) -> Iterator[EdgeTable]:
    """Read an edge population in chunks of `chunk` edges; without edges, as one empty chunk.

    Raises:
        NetworkError: as `read_edges`.
    """
    with _open_population(path, population) as group:
        n = _count(group)
        for start in range(0, max(n, 1), chunk):
            yield _read_part(group, start, min(start + chunk, n))


def edge_type_ids(path: Path | str, population: str | None = None) -> NDArray[np.int64]:
    """The types that occur in an edge population, ascending.

    Raises:
        NetworkError: as `read_edges`.
    """
    found = np.empty(0, np.int64)
    with _open_population(path, population) as group:
        dataset, n = open_dataset(group, "edge_type_id"), _count(group)
        for start in range(0, n, _AT_ONCE):
            part = read_integers(dataset, start, min(start + _AT_ONCE, n), least=None)
            found = np.union1d(found, part)
    return found


@contextmanager
def _open_population(path: Path | str, population: str | None) -> Iterator[H5Group]:
    with open_to_read(path) as file:
        if "edges" not in file:
            raise NetworkError.of(
                "the file has no edges", path, ", ".join(file), "name a SONATA edge file"
            )
        yield only_population(file["edges"], population, path)


def _count(group: H5Group) -> int:
    """Number of edges, of which every dataset of the population has a value."""
    lengths = {name: open_dataset(group, name).shape for name in REQUIRED_DATASETS}
    lengths |= {name: open_dataset(group, name).shape for name in _OF_GROUPS if name in group}
    if len(set(lengths.values())) > 1 or len(next(iter(lengths.values()))) != 1:
        raise NetworkError.of(
            "datasets differ in length",
            f"{group.file.filename}, {group.name}",
            ", ".join(f"{name} {shape}" for name, shape in lengths.items()),
            "write the file again",
        )
    return next(iter(lengths.values()))[0]


def _read_part(group: H5Group, start: int, stop: int) -> EdgeTable:
    n = stop - start

    def column(name: str, least: int | None = 0) -> NDArray[np.int64]:
        return read_integers(open_dataset(group, name), start, stop, least=least)

    group_id = column("edge_group_id") if "edge_group_id" in group else np.zeros(n, np.int64)
    index = column("edge_group_index") if "edge_group_index" in group else None
    keys = np.unique(group_id) if n else np.zeros(1, np.int64)
    parts: list[tuple[Any, dict[str, NDArray[Any]]]] = []
    for key in keys:
        members = np.flatnonzero(group_id == key) if len(keys) > 1 else slice(None)
        rows = np.arange(start, stop) if index is None else index[members]
        parts.append((members, _rows_of_group(group, int(key), rows)))
    attributes, lacking = _in_one_table(parts, n, f"{group.file.filename}, {group.name}")
    source, target = group["source_node_id"], group["target_node_id"]
    return EdgeTable(
        population=str(group.name).rsplit("/", 1)[-1],
        source=_text(source.attrs.get("node_population", "")),
        target=_text(target.attrs.get("node_population", "")),
        start=start,
        source_id=column("source_node_id"),
        target_id=column("target_node_id"),
        edge_type_id=column("edge_type_id", least=None),
        attributes=attributes,
        lacking=lacking,
    )


def _rows_of_group(group: H5Group, key: int, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Some rows of the attributes of one edge group."""
    first, last = (int(rows.min()), int(rows.max()) + 1) if len(rows) else (0, 0)
    found: dict[str, NDArray[Any]] = {}
    for name, dataset in attributes_of(group, key):
        check_rows(rows, len(dataset) if dataset.ndim else 0, f"{group.name}/{key}/{name}")
        values = read_attribute(dataset, first, last)
        if last - first != len(rows) or np.any(rows[1:] < rows[:-1]):
            values = values[rows - first]
        if values.ndim == 1:
            found[name] = values
        else:  # of several numbers per edge each is an attribute
            flat = values.reshape(len(values), -1) if values.size else values[:, :0].reshape(0, 0)
            found |= {f"{name}_{i}": own for i, own in enumerate(flat.T)}
    return found


def _in_one_table(
    parts: Sequence[tuple[Any, dict[str, NDArray[Any]]]], n: int, where: str
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.bool_]]]:
    """Attributes of n edges from those of the groups they are of, and which edges lack which."""
    if len(parts) == 1:
        return parts[0][1], {}
    attributes: dict[str, NDArray[Any]] = {}
    lacking: dict[str, NDArray[np.bool_]] = {}
    for name in dict.fromkeys(name for _, own in parts for name in own):
        having = [(members, own[name]) for members, own in parts if name in own]
        if len({values.dtype == object for _, values in having}) > 1:
            raise NetworkError.of(
                "groups disagree on what an attribute is", f"{where}, {name}", "numbers and text"
            )
        text = having[0][1].dtype == object
        kinds = [values.dtype for _, values in having]
        kind = object if text else np.result_type(np.float32, *kinds)
        attributes[name] = np.full(n, "" if text else np.nan, dtype=kind)
        absent = np.ones(n, dtype=bool)
        for members, values in having:
            attributes[name][members], absent[members] = values, False
        if absent.any():
            lacking[name] = absent
    return attributes, lacking


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
