"""Cells that a simulation configuration names, as positions."""

import numpy as np
from numpy.typing import NDArray

from v1builder.load import NodePopulation
from v1builder.load.populations import split
from v1builder.schema.errors import ConfigError
from v1builder.sonata.node_sets import resolve_node_set
from v1builder.sonata.simulation_config import Simulation


def select(
    node_set: object, nodes: NodePopulation, simulation: Simulation, where: str
) -> NDArray[np.int64]:
    """Positions in one population.

    Raises:
        ConfigError: the node set is not valid for it.
    """
    return resolve_node_set(
        node_set, nodes.name, nodes.node_id, nodes.attributes, simulation.node_sets, where
    )


def select_cells(
    node_set: object, cells: NodePopulation, simulation: Simulation, where: str
) -> NDArray[np.int64]:
    """Positions on the axis of cells. Of several populations a set need only fit one."""
    found, errors = [], []
    for here, population in split(cells):
        try:
            found.append(here.start + select(node_set, population, simulation, where))
        except ConfigError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return np.concatenate(found)
