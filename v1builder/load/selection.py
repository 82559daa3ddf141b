"""Cells by SONATA node set, on the one axis of a network's simulated cells."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v1builder.load.network import Network, NodePopulation
from v1builder.load.populations import split
from v1builder.schema.errors import ConfigError
from v1builder.sonata.node_sets import nobody_problem, resolve_node_set


def select_nodes(
    cells: NodePopulation, node_set: Any, where: object, node_sets: Mapping[str, Any]
) -> NDArray[np.int64]:
    """As `select_cells`, of cells that are known without their network.

    Raises:
        ConfigError: the set is not valid for any population.
    """
    found, errors = [], []
    for here, population in split(cells):
        try:
            chosen = resolve_node_set(
                node_set,
                population.name,
                population.node_id,
                population.attributes,
                node_sets,
                where,
            )
            found.append(here.start + chosen)
        except ConfigError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return np.concatenate(found)


def select_cells(
    network: Network, node_set: Any, where: object, node_sets: dict[str, Any] | None = None
) -> NDArray[np.int64]:
    """Positions of the simulated cells that a node set selects, ascending.

    Where a network simulates several populations a set need only fit one of them.

    Args:
        network: whose cells.
        node_set: a name, conditions on attributes, a list of names or of node ids: see `sonata.node_sets`.
        where: where the set is used, for messages.
        node_sets: named sets, where others are known than those of the network's configuration.

    Raises:
        ConfigError: the set is not valid for any population.
    """
    named = network.node_sets if node_sets is None else node_sets
    return select_nodes(network.cells, node_set, where, named)


def some_cells(
    network: Network, node_set: Any, where: object, node_sets: dict[str, Any] | None = None
) -> NDArray[np.int64]:
    """As `select_cells`, where a set without cells is of no use.

    Raises:
        ConfigError: the set is not valid, or selects no simulated cell; then the nearest population or value
            that cells have is named.
    """
    chosen = select_cells(network, node_set, where, node_sets)
    if len(chosen):
        return chosen
    named = network.node_sets if node_sets is None else node_sets
    populations = {part.name: part.attributes for _, part in split(network.cells)}
    raise ConfigError([nobody_problem(node_set, populations, named, where)])
