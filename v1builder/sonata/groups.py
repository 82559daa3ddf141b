"""Groups of nodes and of edges: where the attributes of each lie.

A population says of every member in which group (node_group_id, edge_group_id) and in which row of it
(node_group_index, edge_group_index) its attributes are. Groups may have different attributes. Parameters
of a model lie in a subgroup `dynamics_params`. The texts of an explicit enumeration, whose attribute holds
their numbers, lie in a subgroup `@library` under the attribute's name.
"""

from collections.abc import Iterator
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from v1builder.schema.errors import NetworkError
from v1builder.sonata.hdf5 import (
    H5Dataset,
    H5Group,
    datasets_in,
    integers,
    open_dataset,
    read_array,
)

#: Prefix of the attributes that override a parameter of a model.
OVERRIDE: Final = "dynamics_params/"
_LIBRARY: Final = "@library"


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
        if not isinstance(item, h5py.Group) or name == _LIBRARY:
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


def read_attribute(dataset: H5Dataset, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Read `dataset[start:stop]` of an attribute, the values of an explicit enumeration as their texts.

    Raises:
        NetworkError: as `read_array`; or a value is not one of its enumeration.
    """
    values = read_array(dataset, start, stop)
    library = dataset.parent.get(_LIBRARY)
    name = str(dataset.name).rsplit("/", 1)[-1]
    if not isinstance(library, h5py.Group) or name not in library:
        return values
    texts = read_array(open_dataset(library, name))
    where = f"{dataset.file.filename}, {library.name}/{name}"
    if texts.ndim != 1 or texts.dtype != object or values.ndim != 1:
        raise NetworkError.of("an enumeration is not a list of texts", where, texts.dtype)
    codes = integers(values, f"{dataset.file.filename}, {dataset.name}", start)
    if len(codes) and int(codes.max()) >= len(texts):
        what = "a value is not one of its enumeration"
        raise NetworkError.of(what, where, f"{codes.max()} of {len(texts)}")
    return texts[codes]


def check_rows(rows: NDArray[np.integer[Any]], n: int, where: object) -> None:
    """Raise NetworkError where members point at rows that their group does not have."""
    if len(rows) and int(rows.max()) >= n:
        raise NetworkError.of(
            "an index points behind the end of its group",
            where,
            f"row {int(rows.max())} of {n}",
            "write the file again",
        )
