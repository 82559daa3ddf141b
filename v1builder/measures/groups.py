"""Groups of cells that measures have values of."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.load.groups import Groups, group_cells
from v1builder.load.network import NodePopulation
from v1builder.load.selection import select_nodes
from v1builder.schema.errors import ConfigError, NetworkError, unknown_name

#: From the coarsest to the finest.
GROUP_LEVELS: Final = ("network", "layer", "class", "population", "cell")
#: Those whose groups have several cells.
SEVERAL_CELLS: Final = GROUP_LEVELS[:-1]
#: What is known of node sets where there is no network.
NO_SETS: Final[Mapping[str, Any]] = MappingProxyType({})


def measured_groups(
    cells: NodePopulation, level: str, node_sets: Mapping[str, Any] = NO_SETS
) -> Groups:
    """The groups of a level: as `group_cells`, all cells as "network", layers by the attribute `location`.

    The name of a SONATA node set is a level, too: the cells of the set, and all others as "not NAME".

    Raises:
        ConfigError: the level is unknown, or a set selects no cell.
        NetworkError: the cells lack the attribute that the level needs, or their populations have no class.
    """
    if level not in GROUP_LEVELS:
        return _in_and_out(cells, level, node_sets)
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


def _in_and_out(cells: NodePopulation, name: str, node_sets: Mapping[str, Any]) -> Groups:
    if name not in node_sets:
        raise ConfigError([unknown_name("level", name, [*GROUP_LEVELS, *node_sets], "measures")])
    chosen = select_nodes(cells, name, "measures", node_sets)
    if not len(chosen):
        fix = "name a set of simulated cells"
        raise ConfigError.of("a node set selects no cell", "measures", name, fix)
    of_cell = np.ones(len(cells), np.int64)
    of_cell[chosen] = 0
    return Groups(of_cell, (name, f"not {name}") if of_cell.any() else (name,))


def all_groups(
    cells: NodePopulation,
    levels: Sequence[str] | None = None,
    node_sets: Mapping[str, Any] = NO_SETS,
) -> dict[str, Groups]:
    """Groups by level, from the coarsest to the finest, then those of node sets.

    Args:
        cells: to be grouped.
        levels: of groups, also names of node sets; unless given, all that the cells can be grouped by but
            "cell".
        node_sets: of the network.

    Raises:
        ConfigError: a level is unknown, or a node set selects no cell.
        NetworkError: the cells cannot be grouped by a level that was asked for.
    """
    if levels is not None:
        found = {level: measured_groups(cells, level, node_sets) for level in levels}
        ordered = [level for level in GROUP_LEVELS if level in found]
        return {level: found[level] for level in (*ordered, *found)}
    found = {}
    for level in SEVERAL_CELLS:
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
