"""Groups of nodes and of edges: where the attributes of each lie.

A population says of every member in which group (node_group_id, edge_group_id) and in which row of it
(node_group_index, edge_group_index) its attributes are. Groups may have different attributes. Parameters
of a model lie in a subgroup `dynamics_params`.
"""

from collections.abc import Iterator
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from v1builder.schema.errors import NetworkError
from v1builder.sonata.hdf5 import H5Dataset, H5Group, datasets_in

#: Prefix of the attributes that override a parameter of a model.
OVERRIDE: Final = "dynamics_params/"


def populations_in(file: H5Group, kind: str, path: object) -> list[str]:
    """Names of the populations of a file; `kind` is "nodes" or "edges".

    Raises:
        NetworkError: one is not a group.
    """
    root = file.get(kind, {})
    if not isinstance(root, h5py.Group | dict):
        raise NetworkError.of("this is a dataset, not a group of populations", f"{path}, /{kind}")
    for name in root:
        if not isinstance(root.get(name), h5py.Group):
            raise NetworkError.of(
                "a population is not a group", f"{path}, /{kind}/{name}", fix="write it again"
            )
    return list(root)


def attributes_of(population: H5Group, key: int) -> Iterator[tuple[str, H5Dataset]]:
    """The attributes of a group: its datasets, and the overrides in its subgroup.

    Raises:
        NetworkError: the group is a dataset, has a subgroup of another name, or a dataset is not one that
            can be read.
    """
    where = f"{population.file.filename}, {population.name}/{key}"
    group = population.get(str(key))
    if group is None:
        return
    if not isinstance(group, h5py.Group):
        raise NetworkError.of("this is a dataset, not a group of attributes", where)
    yield from datasets_in(group)
    for name in group:
        item = group.get(name)
        if not isinstance(item, h5py.Group):
            continue
        if name != OVERRIDE.rstrip("/"):
            raise NetworkError.of(
                "a subgroup is not one of the format",
                where,
                name,
                "attributes are datasets; parameters of a model lie in dynamics_params",
            )
        for parameter, dataset in datasets_in(item):
            yield OVERRIDE + parameter, dataset


def check_rows(rows: NDArray[np.integer[Any]], n: int, where: object) -> None:
    """Raise NetworkError where members point at rows that their group does not have."""
    if len(rows) and int(rows.max()) >= n:
        raise NetworkError.of(
            "an index points behind the end of its group",
            where,
            f"row {int(rows.max())} of {n}",
            "write the file again",
        )
