"""Tiles of cells, the order in which these kernels keep what every port of every cell has.

The fields of a tile lie at constant distances from one another, which lets the compiler vectorise.
"""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

Array = NDArray[Any]

WIDTH: Final = 64  # cells per tile: a loop long enough to be vectorised, short enough for level 1


def to_tiles(fields: Tensor, n_padded: int) -> Tensor:
    """[k, b, n, r] to [b, tile, r, k*WIDTH], the cells that fill the last tile being 0."""
    k, b, n, r = fields.shape
    padded = pad(fields.detach(), (0, 0, 0, n_padded - n)).view(k, b, -1, WIDTH, r)
    tiles = padded.permute(1, 2, 4, 0, 3).reshape(b, -1, r, k * WIDTH)
    return tiles.clone(memory_format=torch.contiguous_format)


def from_tiles(tiles: Tensor, n_cells: int) -> Tensor:
    """The inverse of `to_tiles`."""
    b, n_tiles, r, width = tiles.shape
    fields = tiles.view(b, n_tiles, r, width // WIDTH, WIDTH)
    return fields.permute(3, 0, 1, 4, 2).reshape(-1, b, n_tiles * WIDTH, r)[:, :, :n_cells]


def first_alike(tiles: Array) -> Array:
    """[tile] the first of the tiles that, one after the other, are equal to this one."""
    first = np.arange(len(tiles), dtype=np.int32)
    first[1:][(tiles[1:] == tiles[:-1]).all(axis=(1, 2))] = 0
    return np.maximum.accumulate(first)
