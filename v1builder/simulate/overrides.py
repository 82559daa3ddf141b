"""libsonata's `connection_overrides`: weights between two node sets are multiplied, 0 silences them."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v1builder.load import Network, NodePopulation
from v1builder.load.populations import split
from v1builder.schema.errors import ConfigError
from v1builder.sonata.node_sets import nobody_problem, resolve_node_set
from v1builder.sonata.simulation_config import Simulation


def with_overrides(network: Network, simulation: Simulation) -> Network:
    """The network with the weights of a simulation; overrides of the same edges multiply.

    Raises:
        ConfigError: a node set is not valid or selects nobody, or no edge lies between two.
    """
    edges = dict(network.edges)
    for index, override in enumerate(simulation.config.connection_overrides):
        where = f"{simulation.path}, connection_overrides[{index}]"
        source = _selected(network, override.source, simulation, f"{where}.source")
        target = _selected(network, override.target, simulation, f"{where}.target")
        n_edges = 0
        for name, own in edges.items():
            chosen = source[own.source][own.source_index] & target[own.target][own.target_index]
            n_edges += np.count_nonzero(chosen)
            weight = np.where(chosen, override.weight * own.weight, own.weight)
            edges[name] = replace(own, weight=weight)
        if n_edges == 0:
            raise ConfigError.of(
                "no edge lies between two node sets",
                where,
                f"{override.source} to {override.target}",
                "correct them, or remove the entry",
            )
    return replace(network, edges=edges)


def _selected(
    network: Network, node_set: str, simulation: Simulation, where: str
) -> dict[str, NDArray[np.bool_]]:
    """[n] which nodes of each population a set selects; it need only fit one of them."""
    masks, errors, found = {}, [], 0
    populations: dict[str, Any] = {}
    for name, nodes in network.nodes.items():
        masks[name] = np.zeros(len(nodes), dtype=bool)
        for here, part in split(nodes):
            populations[part.name] = part.attributes
            try:
                masks[name][here.start + _resolved(node_set, part, simulation, where)] = True
                found += 1
            except ConfigError as error:
                errors.append(error)
    if not found:
        raise errors[0]
    if not any(mask.any() for mask in masks.values()):
        raise ConfigError(
            [nobody_problem(node_set, populations, simulation.node_sets, where, "node")]
        )
    return masks


def _resolved(
    node_set: str, part: NodePopulation, simulation: Simulation, where: str
) -> NDArray[np.int64]:
    return resolve_node_set(
        node_set, part.name, part.node_id, part.attributes, simulation.node_sets, where
    )
