"""SONATA node files: one population per file, attributes in node group 0."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from v1builder.schema.errors import NetworkError
from v1builder.sonata.hdf5 import (
    H5Dataset,
    only_population,
    open_to_read,
    open_to_write,
    read_array,
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
        return list(file.get("nodes", {}))


def read_nodes(path: Path | str, population: str | None = None) -> NodeTable:
    """Read one population with all its node groups.

    Raises:
        NetworkError: the file is missing, damaged, lacks a dataset or lacks the population.
    """
    with open_to_read(path) as file:
        if "nodes" not in file:
            raise NetworkError.of(
                "the file has no nodes", path, ", ".join(file), "name a SONATA node file"
            )
        group = only_population(file["nodes"], population, path)
        name = str(group.name).rsplit("/", 1)[-1]
        if "node_type_id" not in group:
            raise NetworkError.of(
                "a dataset is missing",
                f"{path}, /nodes/{name}/node_type_id",
                fix="write the file again",
            )
        type_ids = read_array(group["node_type_id"]).astype(np.int64)
        n = len(type_ids)
        ids = read_array(group["node_id"]).astype(np.int64) if "node_id" in group else np.arange(n)
        group_id = (
            read_array(group["node_group_id"])
            if "node_group_id" in group
            else np.zeros(n, np.uint32)
        )
        index = (
            read_array(group["node_group_index"]) if "node_group_index" in group else np.arange(n)
        )
        attributes: dict[str, NDArray[Any]] = {}
        for key in np.unique(group_id) if n else (0,):
            members = np.flatnonzero(group_id == key)
            for attribute, dataset in _datasets(group.get(str(key), {})):
                _spread(attributes, attribute, read_array(dataset), members, index[members], n)
    return NodeTable(name, ids, type_ids, attributes)


def _datasets(group: Mapping[str, Any]) -> Iterator[tuple[str, H5Dataset]]:
    """The attributes of a node group; those of its subgroup as "dynamics_params/<name>"."""
    for name, item in group.items():
        if isinstance(item, h5py.Dataset):
            yield name, item
        elif name == "dynamics_params":
            yield from ((f"{name}/{key}", value) for key, value in item.items())


def _spread(
    attributes: dict[str, NDArray[Any]],
    name: str,
    values: NDArray[Any],
    members: NDArray[np.intp],
    rows: NDArray[Any],
    n: int,
) -> None:
    """Put the values of one node group to the places of its members."""
    if len(members) == n and name not in attributes:
        attributes[name] = values if np.array_equal(rows, np.arange(n)) else values[rows]
        return
    if name not in attributes:
        text = values.dtype == object
        kind = object if text else np.result_type(values.dtype, np.float32)
        attributes[name] = np.full(n, "" if text else np.nan, dtype=kind)
    attributes[name][members] = values[rows]
