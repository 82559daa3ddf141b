"""Cells by SONATA node set, on the one axis of a network's simulated cells."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v1builder.load.network import Network
from v1builder.load.populations import split
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.sonata.node_sets import resolve_node_set


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
    found, errors = [], []
    for here, population in split(network.cells):
        try:
            chosen = resolve_node_set(
                node_set, population.name, population.node_id, population.attributes, named, where
            )
            found.append(here.start + chosen)
        except ConfigError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return np.concatenate(found)


def some_cells(network: Network, node_set: Any, where: object) -> NDArray[np.int64]:
    """As `select_cells`, where a set without cells is of no use.

    Raises:
        ConfigError: the set is not valid, or selects no simulated cell; then the nearest value that cells
            have is named.
    """
    chosen = select_cells(network, node_set, where)
    if len(chosen):
        return chosen
    asked = network.node_sets.get(node_set, node_set) if isinstance(node_set, str) else node_set
    conditions = asked if isinstance(asked, Mapping) else {}
    for attribute, wanted in conditions.items():
        values = network.cells.attributes.get(attribute)
        known = [] if values is None else sorted(set(values.astype(str)))
        if isinstance(wanted, str) and wanted not in known:
            raise ConfigError(
                [unknown_name(attribute, wanted, known, f"{where}, node set {asked}")]
            )
    raise ConfigError.of(
        "the node set selects no simulated cell",
        where,
        asked,
        f"choose conditions that cells of '{network.simulated}' fulfil",
    )
