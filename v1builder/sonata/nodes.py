"""SONATA node files: one population per file, attributes in node group 0."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from v1builder.schema.errors import NetworkError
from v1builder.sonata.groups import (
    OVERRIDE,
    attributes_of,
    check_rows,
    populations_in,
    read_attribute,
)
from v1builder.sonata.hdf5 import (
    H5Dataset,
    only_population,
    open_dataset,
    open_to_read,
    open_to_write,
    read_integers,
    write_dataset,
)


@dataclass(frozen=True)
class NodeTable:
    """What a node file says about one population; the types table is not joined.

    Attributes:
        population: its name.
        node_id: [n] ids.
        node_type_id: [n] ids into the types table.
        attributes: [n]-arrays by name. With several node groups, a value that a group lacks is NaN
            (numbers) or "" (text). Overrides of a node's model are "dynamics_params/<name>".
    """

    population: str
    node_id: NDArray[np.int64]
    node_type_id: NDArray[np.int64]
    attributes: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.node_id)


def write_nodes(
    path: Path | str,
    population: str,
    node_type_id: ArrayLike,
    attributes: Mapping[str, ArrayLike],
    node_id: ArrayLike | None = None,
) -> None:
    """Write one population.

    Args:
        path: file to create.
        population: SONATA population name.
        node_type_id: [n] ids into the types table.
        attributes: [n]-arrays by name; numbers or text.
        node_id: [n] ids; 0..n-1 unless given. libsonata needs them to be 0..n-1.

    Raises:
        NetworkError: the arrays differ in length.
        StorageError: the file system refused.
    """
    type_ids = np.asarray(node_type_id, dtype=np.int64)
    n = len(type_ids)
    ids = np.arange(n, dtype=np.int64) if node_id is None else np.asarray(node_id, dtype=np.int64)
    columns = {name: np.asarray(values) for name, values in attributes.items()}
    for name, values in {"node_id": ids, **columns}.items():
        if values.shape != (n,):
            raise NetworkError.of(
                f"node attribute '{name}' does not have one value per node",
                f"{path}, population {population}",
                f"shape {values.shape} for {n} nodes",
                "give one value per node",
            )
    with open_to_write(path) as file:
        group = file.create_group(f"nodes/{population}")
        write_dataset(group, "node_id", ids.astype(np.uint64))
        write_dataset(group, "node_type_id", type_ids)
        write_dataset(group, "node_group_id", np.zeros(n, dtype=np.uint32))
        write_dataset(group, "node_group_index", np.arange(n, dtype=np.uint64))
        own = group.create_group("0")
        for name, values in sorted(columns.items()):  # HDF5 lists them by name; so do the bytes
            write_dataset(own, name, values)


def node_populations(path: Path | str) -> list[str]:
    """Names of the node populations in a file.

    Raises:
        NetworkError: the file is missing or damaged.
    """
    with open_to_read(path) as file:
        return populations_in(file, "nodes", path)


def read_nodes(path: Path | str, population: str | None = None) -> NodeTable:
    """Read one population with all its node groups.

    Raises:
        NetworkError: the file is missing, damaged, lacks a dataset or the population, or a dataset is not
            what it has to be.
    """
    with open_to_read(path) as file:
        if "nodes" not in file:
            raise NetworkError.of(
                "the file has no nodes", path, ", ".join(file), "name a SONATA node file"
            )
        group = only_population(file["nodes"], population, path)
        name = str(group.name).rsplit("/", 1)[-1]
        type_ids = read_integers(open_dataset(group, "node_type_id"), least=None)
        n = len(type_ids)

        def column(key: str, default: NDArray[np.int64]) -> NDArray[np.int64]:
            found = read_integers(open_dataset(group, key)) if key in group else default
            if len(found) != n:
                raise NetworkError.of(
                    "datasets differ in length",
                    f"{path}, population {name}, dataset {key}",
                    f"{len(found)} values for {n} nodes",
                    "write the file again",
                )
            return found

        ids = column("node_id", np.arange(n))
        group_id = column("node_group_id", np.zeros(n, np.int64))
        index = column("node_group_index", np.arange(n))
        attributes: dict[str, NDArray[Any]] = {}
        for key in np.unique(group_id) if n else (0,):
            members = np.flatnonzero(group_id == key)
            if len(members) == n and "node_group_index" not in group:
                index = np.arange(n)
            for attribute, values in _attributes(attributes_of(group, int(key))):
                where = f"{path}, population {name}, dataset {key}/{attribute}"
                check_rows(index[members], len(values), where)
                _spread(attributes, attribute, values, members, index[members], n, where)
    return NodeTable(name, ids, type_ids, attributes)


def _attributes(
    datasets: Iterable[tuple[str, H5Dataset]],
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name and values of the attributes of a node group.

    One of several numbers per node becomes one for each: `positions` x, y and z (BMTK's builder wrote
    positions so), any other name_0, name_1 and so on. Parameters of a model keep their shape.
    """
    for name, dataset in datasets:
        values = read_attribute(dataset)
        if name.startswith(OVERRIDE) and values.dtype.kind not in "iuf":
            where = f"{dataset.file.filename}, {dataset.name}"
            raise NetworkError.of("a parameter of a cell model is not a number", where)
        if values.ndim == 1 or name.startswith(OVERRIDE):
            yield name, values
            continue
        flat = values.reshape(len(values), -1)
        axes = "xyz" if name == "positions" and flat.shape[1] == 3 else ()
        for column, own in enumerate(flat.T):
            yield axes[column] if axes else f"{name}_{column}", own


def _spread(
    attributes: dict[str, NDArray[Any]],
    name: str,
    values: NDArray[Any],
    members: NDArray[np.intp],
    rows: NDArray[Any],
    n: int,
    where: str,
) -> None:
    """Put the values of one node group to the places of its members."""
    if len(members) == n:
        if name in attributes:
            raise NetworkError.of("an attribute occurs twice", where, name, "remove one of them")
        attributes[name] = values if np.array_equal(rows, np.arange(n)) else values[rows]
        return
    if name not in attributes:
        text = values.dtype == object
        kind = object if text else np.result_type(values.dtype, np.float32)
        shape = (n, *values.shape[1:])
        attributes[name] = np.full(shape, "" if text else np.nan, dtype=kind)
    column = attributes[name]
    if (column.dtype == object) != (values.dtype == object) or column.shape[1:] != values.shape[1:]:
        raise NetworkError.of(
            "groups disagree on what an attribute is",
            where,
            f"{values.dtype} of shape {values.shape}",
            "give it the same type and shape in all groups",
        )
    if values.dtype != object:
        column = attributes[name] = column.astype(np.result_type(column.dtype, values.dtype))
    column[members] = values[rows]
