"""Carrying: a cell that gets another membrane also gets the weights that the builder would have given it.

Weights in pA are made for a cell: a recurrent or LGN weight is a PSP (mV) divided by the PSP per pA of the
target, and the background's weight is tuned to its rheobase. Exchanged under weights that were made for
another membrane cells fire several times as much or not at all, and an ablation would show that, not what
it ablates. So

    w' = w A_old/A_new             every edge keeps its PSP; A as in `load.psp`
    w_bkg' = b' rheobase'          b = w_bkg/rheobase, a coordinate of the cell like any other

with rheobase = g (V_th - E_L) and w_bkg the mean weight of the background edges of a cell. b is averaged
linearly: cell models that fire enough from their other input were tuned to (almost) no background, and
the logarithm of next to nothing would rule a mean.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v1builder.load.coordinates import rheobase
from v1builder.load.network import EdgePopulation, GroupedValues, Network
from v1builder.load.psp import unit_psp
from v1builder.schema.names import BKG

Array = NDArray[np.float64]


def background_edges(network: Network) -> dict[str, EdgePopulation]:
    """The edges from the background onto simulated cells."""
    return {
        name: edges
        for name, edges in network.edges.items()
        if edges.source == BKG and edges.target == network.simulated
    }


def background_weight(network: Network) -> Array:
    """[n_cells] pA, mean weight of the background edges of each cell; 0 where it has none."""
    total, count = np.zeros(network.n_cells), np.zeros(network.n_cells)
    for edges in background_edges(network).values():
        total += np.bincount(edges.target_index, edges.weight, network.n_cells)
        count += np.bincount(edges.target_index, minlength=network.n_cells)
    return total / np.maximum(count, 1)


def background_ratio(network: Network) -> Array | None:
    """The ratio b of every cell, [n_cells]; 0 where it has no background.

    Returns:
        None for a network without background.
    """
    weight = background_weight(network)
    if not weight.any():
        return None
    return weight / rheobase(network.membrane)[network.membrane.group_of]


def with_membrane(
    network: Network, membrane: GroupedValues, ratio: Array | None
) -> tuple[Network, dict[str, Any]]:
    """The network with other membranes and the weights that belong to them.

    Args:
        network: as it was.
        membrane: of the same cells.
        ratio: [n_cells] b' of every cell; None leaves the background's weights as they are.

    Returns:
        The network, and for its record by edge population the median and the range of w'/w.

    Raises:
        NetworkError: a port that edges reach has no PSP.
    """
    before, after = unit_psp(network), unit_psp(network, membrane)
    changed, record = {}, {}
    background = background_edges(network)
    for name, edges in network.edges.items():
        if edges.target != network.simulated:
            continue
        if name in background:
            if ratio is None:
                continue
            factor = _background_factor(network, membrane, ratio)[edges.target_index]
        else:
            factor = before.of(edges) / after.of(edges)
        changed[name] = dataclasses.replace(edges, weight=edges.weight * factor)
        if len(factor):
            low, middle, high = np.quantile(factor, [0.0, 0.5, 1.0])
            record[name] = {"median": float(middle), "range": [float(low), float(high)]}
    carried = dataclasses.replace(network, membrane=membrane, edges=network.edges | changed)
    return carried, record


def _background_factor(network: Network, membrane: GroupedValues, ratio: Array) -> Array:
    """[n_cells] w_bkg'/w_bkg; 1 for cells without background, whose edges stay as they are."""
    weight = background_weight(network)
    wanted = ratio * rheobase(membrane)[membrane.group_of]
    return np.divide(wanted, weight, out=np.ones_like(weight), where=weight != 0)
