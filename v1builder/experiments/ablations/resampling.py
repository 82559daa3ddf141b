"""Ablations that hand cells the parameters of other cells or of cells drawn anew; all random."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.experiments.ablations.base import Ablation, Details, Draw
from v1builder.experiments.ablations.rows import carry, cell_points, with_points
from v1builder.load.carrying import background_ratio
from v1builder.load.coordinates import Matrix, Space
from v1builder.load.groups import Groups, group_cells
from v1builder.load.network import Network
from v1builder.schema.errors import ConfigError, unknown_name

#: Directions with less than this fraction of the standardised variance count as having none.
_NO_VARIANCE: Final = 1e-10


class _Random(Ablation):
    @property
    def is_random(self) -> bool:
        """True: the seed decides who gets what."""
        return True


class _Exchange(_Random):
    """Whole parameter vectors change hands among the cells of a group."""

    level: ClassVar[str]

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Permute which cell has which row of parameters and background; the rows themselves stay."""
        groups = group_cells(network.cells, self.level)
        order = _permutation_within(groups, draw.generator(self.name))
        membrane, ratio = network.membrane, background_ratio(network)
        membrane = dataclasses.replace(membrane, group_of=membrane.group_of[order])
        return carry(network, membrane, None if ratio is None else ratio[order], draw)


class ShuffleWithin(_Exchange):
    """Permute whole cells inside each population: which cell sits where. The negative control."""

    word: ClassVar[str] = "shuffle_within"
    level: ClassVar[str] = "population"


class ShuffleAcross(_Exchange):
    """Permute whole cells between the populations of one sign: types lose their own dynamics."""

    word: ClassVar[str] = "shuffle_across"
    level: ClassVar[str] = "ei"

    @property
    def keeps_charge(self) -> bool:
        """False: cells leave their populations."""
        return False


class ShuffleIndependent(_Random):
    """Permute each coordinate separately inside each population: marginals stay, covariance goes.

    Each column of theta moves on its own, also the two after-spike currents and the background.
    """

    word: ClassVar[str] = "shuffle_independent"

    @property
    def extrapolates(self) -> bool:
        """True: the new cells are combinations that were not recorded."""
        return True

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """One row of parameters per cell; spared cells keep theirs, the others exchange."""
        cells, space = cell_points(network)
        groups = group_cells(network.cells, "population")
        generator = draw.generator(self.name)
        for column in range(cells.shape[1]):
            order = _without(draw.spared, _permutation_within(groups, generator))
            cells[:, column] = cells[order, column]
        single = group_cells(network.cells, "cell")
        return with_points(network, cells, space, single.of_cell, single.labels, draw)


@dataclass(frozen=True)
class GaussianMatched(_Random):
    """Draw every cell anew with its population's mean and covariance, but no other structure.

    In the space "log" that is the mean and covariance of theta: positive quantities come out lognormal, as
    skewed as a lognormal is. In "linear" it is those of the quantities themselves (tau_m in ms, g in nS ...):
    nothing is skewed. A Gaussian reaches zero; there such a quantity is brought back to half the
    smallest value that the population has.

    The draws are centred and whitened before they are scaled, so mean and covariance over the cells
    of each population are matched exactly, not only in expectation (except where a value had to be
    brought back into the physical range, which is recorded).
    """

    word: ClassVar[str] = "gaussian_matched"
    space: str

    def __post_init__(self) -> None:
        if self.space not in ("log", "linear"):
            where = f"ablation {self.word}"
            raise ConfigError([unknown_name("space", self.space, ("log", "linear"), where)])

    @property
    def extrapolates(self) -> bool:
        """True: the new cells were not recorded."""
        return True

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """One row of parameters per cell; spared cells keep theirs, the others are drawn like themselves."""
        cells, space = cell_points(network)
        groups = group_cells(network.cells, "population")
        generator = draw.generator(self.name)
        drawn = np.ones(network.n_cells, bool) if draw.spared is None else ~draw.spared
        raised = 0
        for group in range(len(groups)):
            members = np.flatnonzero(groups.of_cell == group)
            # The same draws whoever is spared.
            normals = generator.standard_normal((len(members), cells.shape[1]))
            chosen = drawn[members]
            members = members[chosen]
            cells[members], n = self._drawn(cells[members], space, normals[chosen])
            raised += n
        single = group_cells(network.cells, "cell")
        ablated, details = with_points(network, cells, space, single.of_cell, single.labels, draw)
        return ablated, details | ({"raised_values": raised} if self.space == "linear" else {})

    def _drawn(self, points: Matrix, space: Space, normals: Matrix) -> tuple[Matrix, int]:
        """Gaussian points for one population, [n, p]; how many values were raised above 0."""
        if self.space == "log":
            return _gaussian_like(points, normals), 0
        logs = space.logarithmic
        linear = points.copy()
        linear[:, logs] = np.exp(linear[:, logs])
        new = _gaussian_like(linear, normals)
        least = np.where(logs, linear.min(axis=0, initial=np.inf) / 2, -np.inf)
        low = new < least
        new = np.where(low, least, new)
        new[:, logs] = np.log(new[:, logs])
        return new, int(low.sum())


def _permutation_within(groups: Groups, generator: np.random.Generator) -> NDArray[np.int64]:
    """[n_cells] a permutation of the cells that maps every group onto itself."""
    order = np.empty(len(groups.of_cell), np.int64)
    for group in range(len(groups)):
        members = np.flatnonzero(groups.of_cell == group)
        order[members] = generator.permutation(members)
    return order


def _without(spared: NDArray[np.bool_] | None, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """The permutation with the spared left where they are: their givers give to who would get theirs."""
    if spared is None:
        return order
    givers = order.copy()
    while (passed_on := spared[givers] & ~spared).any():
        givers[passed_on] = order[givers[passed_on]]
    return np.where(spared, np.arange(len(order)), givers)


def _gaussian_like(points: Matrix, normals: Matrix) -> Matrix:
    """As many Gaussian points with exactly the mean and covariance of `points`; all [n, p].

    Args:
        points: what they are to be like.
        normals: independent standard normal numbers.
    """
    if not len(points):
        return points
    mean = points.mean(axis=0)
    spread = points.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    standard = (points - mean) / scale
    variance, axes = np.linalg.eigh(standard.T @ standard / len(points))
    kept = variance > _NO_VARIANCE * points.shape[1]
    if not kept.any():
        return np.broadcast_to(mean, points.shape)
    draws = normals[:, kept]
    draws = draws - draws.mean(axis=0)
    # Whitening: Q of the thin QR has orthonormal, still centred columns. n points span at most n -
    # 1 directions, so there are always enough draws. R's diagonal made positive keeps Q
    # Gaussian-shaped.
    q, r = np.linalg.qr(draws)
    white = q * np.sign(np.diag(r)) * np.sqrt(len(points))
    return mean + scale * ((white * np.sqrt(variance[kept])) @ axes[:, kept].T)
