"""Cells of a simulation by node set: a set that selects nobody is a mistake, as PointNet has it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v1builder.load import Network
from v1builder.load.populations import split
from v1builder.load.selection import select_cells
from v1builder.schema.errors import ConfigError
from v1builder.sonata.node_sets import nobody_problem


def some_cells(
    network: Network, node_set: Any, where: str, node_sets: Mapping[str, Any]
) -> NDArray[np.int64]:
    """Positions of the simulated cells that a node set selects, at least one.

    Raises:
        ConfigError: the set is not valid, or selects nobody; then the nearest thing that would is named.
    """
    cells = select_cells(network, node_set, where, dict(node_sets))
    if not len(cells):
        populations = {part.name: part.attributes for _, part in split(network.cells)}
        raise ConfigError([nobody_problem(node_set, populations, node_sets, where)])
    return cells
