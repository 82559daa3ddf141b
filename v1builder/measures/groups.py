"""Groups of cells that measures have values of."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from v1builder.load.groups import Groups, group_cells
from v1builder.load.network import NodePopulation
from v1builder.schema.errors import ConfigError, NetworkError, unknown_name

#: From the coarsest to the finest.
GROUP_LEVELS: Final = ("network", "layer", "class", "population", "cell")


def measured_groups(cells: NodePopulation, level: str) -> Groups:
    """The groups of a level: as `group_cells`, all cells as "network", layers by the attribute `location`.

    Raises:
        ConfigError: the level is unknown.
        NetworkError: the cells lack the attribute that the level needs, or their populations have no class.
    """
    if level not in GROUP_LEVELS:
        raise ConfigError([unknown_name("level", level, GROUP_LEVELS, "measures")])
    if level == "network":
        return Groups(np.zeros(len(cells), np.int64), ("network",))
    if level != "layer":
        return group_cells(cells, level)
    if "location" not in cells.attributes:
        raise NetworkError.of(
            "the cells cannot be grouped by layer: they have no attribute 'location'",
            f"node population {cells.name}",
            ", ".join(sorted(cells.attributes)),
            "add a column 'location' to the node types table, or choose another level",
        )
    names = np.asarray(cells.attributes["location"]).astype(str)
    labels, of_cell = np.unique(names, return_inverse=True)
    return Groups(of_cell.astype(np.int64), tuple(str(label) for label in labels))


def group_mean(groups: Groups, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n_groups, ...] mean over the cells of each group of `values`, [n_cells, ...]; NaN without cells."""
    total = np.zeros((len(groups), *values.shape[1:]))
    np.add.at(total, groups.of_cell, values)
    sizes = groups.sizes.reshape(-1, *[1] * (values.ndim - 1))
    return np.divide(total, sizes, out=np.full_like(total, np.nan), where=sizes > 0)
