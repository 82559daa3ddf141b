"""Cells that are near one another, and cells that are tuned alike: what exchanging cells among them keeps.

The finer the parts, the better distance or tuning is kept, but a part of one cell cannot be exchanged at
all. So groups of few cells have fewer and larger parts: about `_CELLS` cells in each, or one part.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from v1builder.load.network import NodePopulation

Indices = NDArray[np.int64]

#: Cells of a group in a part, on average, at least.
_CELLS: Final = 10
#: Smallest side of a tile, um; the published widths of connection probability are 100 um and more.
_TILE_UM: Final = 50.0
#: Most bins of preferred directions: 45 deg each.
_BINS: Final = 8


def tuning_bins(nodes: NodePopulation, group: Indices) -> Indices:
    """Bin of the preferred direction of every cell, at most eight for each group; 0 without tuning.

    Args:
        nodes: the cells.
        group: [n] group of each.
    """
    angle = nodes.attributes.get("tuning_angle")
    if angle is None:
        return np.zeros(len(nodes), np.int64)
    n_bins = np.clip(np.bincount(group) // _CELLS, 1, _BINS)[group]
    turn = np.nan_to_num(angle.astype(np.float64)) % 360 / 360
    return np.minimum((turn * n_bins).astype(np.int64), n_bins - 1)


def tiles(nodes: NodePopulation, group: Indices) -> Indices:
    """Tile of the cortical surface (x, z) that every cell lies in; 0 without positions.

    Args:
        nodes: the cells.
        group: [n] group of each; its tiles are square and at least 50 um wide.
    """
    if not {"x", "z"} <= set(nodes.attributes) or not len(nodes):
        return np.zeros(len(nodes), np.int64)
    x, z = (nodes.attributes[name].astype(np.float64) for name in ("x", "z"))
    radius = float(np.hypot(x, z).max())
    side = np.sqrt(np.pi * radius**2 * _CELLS / np.bincount(group).clip(min=1))
    side = np.maximum(side, _TILE_UM)[group]
    column, row = (np.floor((at + radius) / side).astype(np.int64) for at in (x, z))
    return row * (int(column.max()) + 1) + column
