"""Synaptic ports that need not be kept apart.

The current through a port is linear in what arrives there. So ports of a cell that have the same kinetics
add up to one port where the spikes of all of them arrive. The published cells have ten ports of four to
eight kinetics; where an ablation makes all kinetics equal one is left. Synaptic state, and the time it
takes, shrink with them.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from v1builder.load.integers import Integers
from v1builder.load.network import EdgePopulation, GroupedValues, Network
from v1builder.schema.parameters import RECEPTOR_UNITS


def distinct_ports(receptors: GroupedValues) -> tuple[GroupedValues, NDArray[np.int64]]:
    """The kinetics of ports without repetition, group by group.

    Returns:
        receptors: kinetics, [n_groups, k]; a cell of fewer than k kinetics repeats its own.
        place: [n_groups, n_receptors] which of the k took the place of a port.
    """
    kinetics = np.stack([receptors.values[name] for name in RECEPTOR_UNITS], axis=-1)
    found = [np.unique(ports, axis=0, return_index=True, return_inverse=True) for ports in kinetics]
    k = max((len(first) for _, first, _ in found), default=0)
    first = np.array([np.resize(first, k) for _, first, _ in found], dtype=np.int64).reshape(-1, k)
    place = np.array([inverse for _, _, inverse in found], np.int64).reshape(kinetics.shape[:2])
    values = {
        name: np.take_along_axis(column, first, axis=1) for name, column in receptors.values.items()
    }
    return replace(receptors, values=values), place


def merge_ports(network: Network) -> Network:
    """The network with ports of equal kinetics made one, and its edges led there."""
    receptors, place = distinct_ports(network.receptors)

    def led(edges: EdgePopulation) -> EdgePopulation:
        def ports(here: slice) -> NDArray[np.int64]:
            return place[receptors.group_of[edges.target_index[here]], edges.receptor[here]]

        return replace(edges, receptor=Integers.filled(len(edges), ports))

    edges = {name: led(population) for name, population in network.edges.items()}
    return replace(network, receptors=receptors, edges=edges)
