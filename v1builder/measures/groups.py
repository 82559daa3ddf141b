"""Groups of cells that measures have values of."""

from collections.abc import Sequence
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


def all_groups(cells: NodePopulation, levels: Sequence[str] | None = None) -> dict[str, Groups]:
    """Groups by level, from the coarsest to the finest.

    Args:
        cells: to be grouped.
        levels: of groups; unless given, all that the cells can be grouped by but "cell".

    Raises:
        ConfigError: a level is unknown.
        NetworkError: the cells cannot be grouped by a level that was asked for.
    """
    if levels is not None:
        found = {level: measured_groups(cells, level) for level in levels}
        return {level: found[level] for level in GROUP_LEVELS if level in found}
    found = {}
    for level in GROUP_LEVELS[:-1]:
        try:
            found[level] = measured_groups(cells, level)
        except NetworkError:  # the cells do not say: there are no such groups
            continue
    return found


def group_mean(groups: Groups, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n_groups, ...] mean over the cells of each group of `values`, [n_cells, ...]; NaN without cells."""
    total = np.zeros((len(groups), *values.shape[1:]))
    np.add.at(total, groups.of_cell, values)
    sizes = groups.sizes.reshape(-1, *[1] * (values.ndim - 1))
    return np.divide(total, sizes, out=np.full_like(total, np.nan), where=sizes > 0)
