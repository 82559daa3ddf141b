"""The points an ablation of cells works on, and the way back into a network."""

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from v1builder.experiments.ablations.base import Details, Draw
from v1builder.load.carrying import background_ratio, with_membrane
from v1builder.load.coordinates import BACKGROUND, Matrix, Space, from_theta, to_theta
from v1builder.load.groups import Groups, group_cells
from v1builder.load.network import GroupedValues, Network

#: Background of a cell whose extrapolated one is negative, as a part of what the cell had: not 0, since
#: tuning (`experiments.background`) multiplies it.
BACKGROUND_MIN: Final = 0.1


@dataclass(frozen=True)
class Rows:
    """The distinct (row of parameters, background, group) among the cells: what ablations work on.

    Attributes:
        theta: [n, p] point of each.
        space: meaning of the columns.
        groups: partition of the cells.
        group: [n] group of each.
        n_cells: [n] number of cells that are this one.
        of_cell: [n_cells] row of each cell.
        labels: [n] name of each.
    """

    theta: Matrix
    space: Space
    groups: Groups
    group: NDArray[np.int64]
    n_cells: NDArray[np.int64]
    of_cell: NDArray[np.int64]
    labels: tuple[str, ...]

    def group_means(self, left_out: NDArray[np.bool_] | None = None) -> Matrix:
        """[n_groups, p] mean of each group, weighted by numbers of cells.

        Args:
            left_out: [n] rows that do not count; the mean of a group without any other is 0.
        """
        weight = self.n_cells if left_out is None else self.n_cells * ~left_out
        sums = np.zeros((len(self.groups), self.theta.shape[1]))
        np.add.at(sums, self.group, self.theta * weight[:, None])
        sizes = np.bincount(self.group, weight, len(self.groups))
        return sums / np.maximum(sizes, 1)[:, None]

    def global_mean(self) -> Matrix:
        """[p] mean over all cells."""
        return self.n_cells @ self.theta / self.n_cells.sum()


def cell_points(network: Network) -> tuple[Matrix, Space]:
    """[n_cells, p] the point of every single cell."""
    rows = rows_of(network, "global")
    return rows.theta[rows.of_cell], rows.space


def rows_of(network: Network, level: str) -> Rows:
    """The cells of `network` as points, grouped at `level`."""
    theta, space = to_theta(network.membrane)
    groups = group_cells(network.cells, level)
    ratio = background_ratio(network)
    ratios, ratio_of = np.zeros(1), np.zeros(network.n_cells, np.int64)
    if ratio is not None:
        ratios, ratio_of = np.unique(ratio, return_inverse=True)
    key = network.membrane.group_of.astype(np.int64)
    key = (key * len(ratios) + ratio_of) * len(groups) + groups.of_cell
    kinds, of_cell, n_cells = np.unique(key, return_inverse=True, return_counts=True)
    rest, group = np.divmod(kinds, max(len(groups), 1))
    row, background = np.divmod(rest, len(ratios))
    theta = theta[row]
    if ratio is not None:
        theta = np.column_stack([theta, ratios[background]])
        space = space.with_background()
    labels = _distinct([network.membrane.labels[r] for r in row])
    return Rows(theta, space, groups, group, n_cells, of_cell, labels)


def _distinct(labels: list[str]) -> tuple[str, ...]:
    """The labels, numbered where one occurs several times."""
    seen: dict[str, int] = {}
    result = []
    for label in labels:
        seen[label] = seen.get(label, -1) + 1
        result.append(f"{label}/{seen[label]}" if seen[label] else label)
    return tuple(result)


def with_points(
    network: Network,
    theta: Matrix,
    space: Space,
    of_cell: NDArray[np.int64],
    labels: tuple[str, ...],
    draw: Draw,
) -> tuple[Network, Details]:
    """The network whose cells are the points `theta`.

    Args:
        network: as it was.
        theta: [n, p] points.
        space: of `theta`.
        of_cell: [n_cells] point of each cell.
        labels: [n] name of each point.
        draw: says whether weights are carried.

    Returns:
        The network; the number of rows, cells brought back into the physical range, and factors of weights.
    """
    values, clipped = from_theta(theta, space)
    ratio = None
    if space.of((BACKGROUND,)).any():
        ratio = theta[:, space.of((BACKGROUND,))][of_cell, 0]
        # Extrapolation and Gaussian draws can ask for less background than none.
        before = background_ratio(network)
        if (ratio < 0).any() and before is not None:
            clipped[BACKGROUND] = theta[:, space.of((BACKGROUND,))][:, 0] < 0
            ratio = np.where(ratio < 0, BACKGROUND_MIN * before, ratio)
    counts = {name: int(mask[of_cell].sum()) for name, mask in clipped.items()}
    details: Details = {"n_rows": len(labels), "clipped_cells": counts}
    ablated, carried = carry(network, GroupedValues(values, of_cell, labels), ratio, draw)
    return ablated, details | carried


def carry(
    network: Network, membrane: GroupedValues, ratio: NDArray[np.float64] | None, draw: Draw
) -> tuple[Network, Details]:
    """The network with other membranes; its weights carried if `draw` says so, and a record of it."""
    if draw.carry == "none":
        return dataclasses.replace(network, membrane=membrane), {"carry": "none"}
    ablated, factors = with_membrane(network, membrane, ratio)
    return ablated, {"carry": draw.carry, "weight_factors": factors}
