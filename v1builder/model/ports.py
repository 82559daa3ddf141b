"""Synaptic ports that need not be kept apart.

The current through a port is linear in what arrives there. So ports of a cell that have the same kinetics
add up to one port where the spikes of all of them arrive. The published cells have ten ports of four to
eight kinetics; where an ablation makes all kinetics equal one is left. Synaptic state, and the time it
takes, shrink with them.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from v1builder.load.integers import Integers
from v1builder.load.network import EdgePopulation, GroupedValues
from v1builder.schema.names import RECEPTOR_UNITS

_AT_ONCE: Final = 1 << 20  # edges


@dataclass(frozen=True)
class Ports:
    """The ports of a network's cells without repetition.

    Attributes:
        receptors: kinetics, [n_groups, k]; a cell of fewer than k kinetics repeats its own.
        place: [n_groups, n_receptors] which of the k took the place of a port of the network.
    """

    receptors: GroupedValues
    place: NDArray[np.int64]

    def lead(self, edges: EdgePopulation) -> EdgePopulation:
        """The edges, led to these ports."""
        receptor = Integers(len(edges))
        for first in range(0, len(edges), _AT_ONCE):
            here = slice(first, first + _AT_ONCE)
            group = self.receptors.group_of[edges.target_index[here]]
            receptor[here] = self.place[group, edges.receptor[here]]
        return replace(edges, receptor=receptor.values)


def distinct_ports(receptors: GroupedValues) -> Ports:
    """Make ports of equal kinetics one, group by group."""
    kinetics = np.stack([receptors.values[name] for name in RECEPTOR_UNITS], axis=-1)
    found = [np.unique(ports, axis=0, return_index=True, return_inverse=True) for ports in kinetics]
    k = max((len(first) for _, first, _ in found), default=0)
    first = np.array([np.resize(first, k) for _, first, _ in found], dtype=np.int64).reshape(-1, k)
    place = np.array([inverse for _, _, inverse in found], np.int64).reshape(kinetics.shape[:2])
    values = {
        name: np.take_along_axis(column, first, axis=1) for name, column in receptors.values.items()
    }
    return Ports(replace(receptors, values=values), place)
