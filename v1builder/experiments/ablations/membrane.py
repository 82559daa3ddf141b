"""Ablations of cells: what makes cells differ is averaged, scaled, exchanged or resampled.

Notation: theta as in `load.coordinates` with the background as one more coordinate, m the mean of a group
weighted by its numbers of cells. Cells that share a row of parameters before share one afterwards where
that is possible, so a mean over populations leaves one row per population. Kinetics of receptors, delays
and wiring stay; weights are carried to the new membranes (`load.carrying`).
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.experiments.ablations.base import Ablation, Details, Draw
from v1builder.experiments.ablations.rows import rows_of, with_points
from v1builder.load.coordinates import ASPECTS, Matrix, require_glif
from v1builder.load.groups import check_level, group_cells
from v1builder.load.network import Network
from v1builder.schema.errors import ConfigError, unknown_name

_DOSE_MAX: Final = 2.0
_WITHIN_POPULATIONS: Final = ("cell", "cell_model", "population")


@dataclass(frozen=True)
class Intact(Ablation):
    """Change nothing."""

    word: ClassVar[str] = "intact"

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """The network as it is."""
        del draw
        return network, {}


@dataclass(frozen=True)
class _AtLevel(Ablation):
    level: str

    def __post_init__(self) -> None:
        check_level(self.level, f"ablation {self.word}")

    @property
    def keeps_charge(self) -> bool:
        """Whether populations keep their own mean: not where cells of several are averaged."""
        return self.level in _WITHIN_POPULATIONS


class Mean(_AtLevel):
    """theta -> m: every cell becomes the mean of its group; differences between groups stay."""

    word: ClassVar[str] = "mean"

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """One row of parameters per group."""
        rows = rows_of(network, self.level)
        groups = rows.groups
        return with_points(
            network, rows.group_means(), rows.space, groups.of_cell, groups.labels, draw
        )


class Archetype(_AtLevel):
    """Every cell becomes the medoid of its group: the real cell nearest to all others.

    Distances are Euclidean in theta without E_L, each column divided by its standard deviation over
    all cells; other cells count by their number.
    """

    word: ClassVar[str] = "archetype"

    @property
    def keeps_charge(self) -> bool:
        """False: a real cell stands for the mean."""
        return False

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """One row of parameters per group, with the covariance of a real cell."""
        rows = rows_of(network, self.level)
        deviation = rows.theta - rows.global_mean()
        spread = np.sqrt(rows.n_cells @ deviation**2 / rows.n_cells.sum())
        used = rows.space.dynamics & (spread > 0)
        scaled = deviation[:, used] / spread[used]
        medoids = np.empty(len(rows.groups), np.int64)
        for group in range(len(rows.groups)):
            members = np.flatnonzero(rows.group == group)
            medoids[group] = members[_medoid(scaled[members], rows.n_cells[members])]
        ablated, details = with_points(
            network, rows.theta[medoids], rows.space, rows.groups.of_cell, rows.groups.labels, draw
        )
        chosen = zip(rows.groups.labels, medoids, strict=True)
        return ablated, details | {"archetypes": {name: rows.labels[row] for name, row in chosen}}


def _medoid(points: Matrix, weight: NDArray[np.int64]) -> int:
    """Index of the point with the smallest weighted sum of distances; the first one of equals."""
    cost = [weight @ np.sqrt(((points - point) ** 2).sum(axis=1)) for point in points]
    return int(np.argmin(cost))


class WithinOnly(_AtLevel):
    """theta - m + global mean: differences between groups vanish, those within stay."""

    word: ClassVar[str] = "within_only"

    @property
    def keeps_charge(self) -> bool:
        """False: every group is shifted."""
        return False

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Shift every group onto the mean of all cells."""
        rows = rows_of(network, self.level)
        theta = rows.theta - rows.group_means()[rows.group] + rows.global_mean()
        return with_points(network, theta, rows.space, rows.of_cell, rows.labels, draw)


@dataclass(frozen=True)
class Dose(Ablation):
    """m + alpha (theta - m): 0 is `Mean`, 1 the intact network, 2 doubles the spread."""

    word: ClassVar[str] = "dose"
    alpha: float
    level: str

    def __post_init__(self) -> None:
        check_level(self.level, f"ablation {self.word}")
        if not 0 <= self.alpha <= _DOSE_MAX:
            raise ConfigError.of(
                "the dose is out of range",
                f"ablation {self.word}",
                self.alpha,
                f"choose alpha from 0 to {_DOSE_MAX:g}",
            )

    @property
    def keeps_charge(self) -> bool:
        """Whether populations keep their own mean: not where cells of several are averaged."""
        return self.level in _WITHIN_POPULATIONS

    @property
    def extrapolates(self) -> bool:
        """Whether cells become more unusual than they were recorded."""
        return self.alpha > 1

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Scale the differences from the group means; spared cells are no part of their group."""
        rows = rows_of(network, self.level)
        spared = np.zeros(len(rows.theta), bool)
        if draw.spared is not None:
            spared[rows.of_cell[draw.spared]] = True
        means = rows.group_means(spared)[rows.group]
        theta = self.alpha * rows.theta + (1 - self.alpha) * means
        theta[spared] = rows.theta[spared]
        return with_points(network, theta, rows.space, rows.of_cell, rows.labels, draw)


@dataclass(frozen=True)
class _OfAspect(Ablation):
    aspect: str
    level: str

    def __post_init__(self) -> None:
        where = f"ablation {self.word}"
        if self.aspect not in ASPECTS:
            raise ConfigError([unknown_name("aspect", self.aspect, ASPECTS, where)])
        check_level(self.level, where)

    @property
    def keeps_charge(self) -> bool:
        """Whether populations keep their own mean: not where cells of several are averaged."""
        return self.level in _WITHIN_POPULATIONS

    def _average(
        self, network: Network, coordinates: tuple[str, ...], draw: Draw
    ) -> tuple[Network, Details]:
        rows = rows_of(network, self.level)
        means = rows.group_means()[rows.group]
        theta = np.where(rows.space.of(coordinates), means, rows.theta)
        return with_points(network, theta, rows.space, rows.of_cell, rows.labels, draw)


class Only(_OfAspect):
    """`Mean` restricted to one aspect of the cells (a key of `ASPECTS`); all else stays."""

    word: ClassVar[str] = "only"

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Average the aspect."""
        return self._average(network, ASPECTS[self.aspect], draw)


class AllBut(_OfAspect):
    """`Mean` of every aspect but one; E_L, which is no aspect, stays."""

    word: ClassVar[str] = "all_but"

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Average the other aspects."""
        others = (names for aspect, names in ASPECTS.items() if aspect != self.aspect)
        return self._average(network, tuple(name for names in others for name in names), draw)


class NoAsc(Ablation):
    """q -> 0: no cell has after-spike currents."""

    word: ClassVar[str] = "no_asc"

    @property
    def keeps_charge(self) -> bool:
        """False: there is none left."""
        return False

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Amplitudes 0; decay rates stay, without effect."""
        del draw
        return _without_currents(network), {}


class AscMeanCurrent(Ablation):
    """q -> 0, and each cell receives the measured mean after-spike current of its population."""

    word: ClassVar[str] = "asc_mean_current"

    @property
    def keeps_charge(self) -> bool:
        """False: there is none left."""
        return False

    @property
    def needs_activity(self) -> bool:
        """True: the mean current is that of the network that is ablated."""
        return True

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Amplitudes 0, `bias_current` raised by the mean current of the population (pA)."""
        groups = group_cells(network.cells, "population")
        total = np.bincount(groups.of_cell, draw.measured.asc_current, len(groups))
        mean = total / groups.sizes
        ablated = dataclasses.replace(
            _without_currents(network),
            bias_current=network.bias_current + mean[groups.of_cell],
        )
        added = dict(zip(groups.labels, mean.tolist(), strict=True))
        return ablated, {"added_current_pA": added}


def _without_currents(network: Network) -> Network:
    membrane = network.membrane
    require_glif(membrane)
    values = membrane.values | {"asc_amps": np.zeros_like(membrane.values["asc_amps"])}
    return dataclasses.replace(network, membrane=dataclasses.replace(membrane, values=values))
