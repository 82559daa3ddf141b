"""The points an ablation of cells works on, and the way back into a network."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from v1builder.experiments.ablations.base import Details
from v1builder.experiments.ablations.theta import Matrix, Space, from_theta, to_theta
from v1builder.load.groups import Groups, group_cells
from v1builder.load.network import GroupedValues, Network


@dataclass(frozen=True)
class Rows:
    """The distinct (row of parameters, group) pairs among the cells: what ablations work on.

    Attributes:
        theta: [n, p] point of each pair.
        space: meaning of the columns.
        groups: partition of the cells.
        group: [n] group of each pair.
        n_cells: [n] number of cells that are this pair.
        of_cell: [n_cells] pair of each cell.
        labels: [n] name of each pair.
    """

    theta: Matrix
    space: Space
    groups: Groups
    group: NDArray[np.int64]
    n_cells: NDArray[np.int64]
    of_cell: NDArray[np.int64]
    labels: tuple[str, ...]

    def group_means(self) -> Matrix:
        """[n_groups, p] mean of each group, weighted by numbers of cells."""
        sums = np.zeros((len(self.groups), self.theta.shape[1]))
        np.add.at(sums, self.group, self.theta * self.n_cells[:, None])
        return sums / self.groups.sizes[:, None]

    def global_mean(self) -> Matrix:
        """[p] mean over all cells."""
        return self.n_cells @ self.theta / self.n_cells.sum()


def rows_of(network: Network, level: str) -> Rows:
    """The cells of `network` as points, grouped at `level`."""
    theta, space = to_theta(network.membrane)
    groups = group_cells(network.cells, level)
    key = network.membrane.group_of * len(groups) + groups.of_cell
    pairs, of_cell, n_cells = np.unique(key, return_inverse=True, return_counts=True)
    row, group = np.divmod(pairs, max(len(groups), 1))
    names = network.membrane.labels
    labels = tuple(names[r] for r in row)
    if len(set(labels)) < len(labels):
        labels = tuple(f"{groups.labels[g]}/{names[r]}" for r, g in zip(row, group, strict=True))
    return Rows(theta[row], space, groups, group, n_cells, of_cell, labels)


def with_membrane(
    network: Network,
    theta: Matrix,
    space: Space,
    of_cell: NDArray[np.int64],
    labels: tuple[str, ...],
) -> tuple[Network, Details]:
    """The network with rows of parameters `theta`; records the number of rows and clipped cells."""
    values, clipped = from_theta(theta, space)
    membrane = GroupedValues(values, of_cell, labels)
    details: Details = {
        "n_rows": len(labels),
        "clipped_cells": {name: int(mask[of_cell].sum()) for name, mask in clipped.items()},
    }
    return dataclasses.replace(network, membrane=membrane), details
