"""Halves of trials: what measures of the dimensions of activity have in common (`analysis.dimensions`)."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

import numpy as np

from v1builder.load.groups import Groups
from v1builder.measures.activity import Array, Indices
from v1builder.measures.counts import SAMPLE_SEED, OfCounts, members
from v1builder.measures.groups import SEVERAL_CELLS
from v1builder.measures.measure import ByGroup

#: Trials of both halves; 10 in each have 9 dimensions.
TRIALS_MIN: Final = 20
#: Ways to halve them that a value is the mean of.
SPLITS: Final = 10


class OfHalves(OfCounts):
    """A measure of spike counts in two halves of the trials, as many of each condition in both.

    The trials are halved at random `SPLITS` times with a fixed seed.
    """

    groups: ClassVar[tuple[str, ...]] = SEVERAL_CELLS
    cells_min: ClassVar[int] = 2

    @abstractmethod
    def of_group(self, halves: list[tuple[Array, Array]]) -> tuple[float, str]:
        """The value from halves [trials, cells] of every split, or why there is none."""

    @property
    def missing(self) -> str:
        """Why there is no value in any group; empty where there may be one."""
        n_trials = self.counts().n_trials
        return f"{n_trials} trials, fewer than {TRIALS_MIN}" if n_trials < TRIALS_MIN else ""

    def splits(self) -> Iterator[tuple[Indices, Indices]]:
        """Positions of the trials of both halves; those left over of odd numbers are halved together."""
        condition = self.counts().condition
        generator = np.random.default_rng(SAMPLE_SEED)
        for _ in range(SPLITS):
            halves: tuple[list[Indices], list[Indices]] = [], []
            left: list[Indices] = []
            for one in np.unique(condition):
                own = generator.permutation(np.flatnonzero(condition == one))
                half = len(own) // 2
                halves[0].append(own[:half])
                halves[1].append(own[half : 2 * half])
                left.append(own[2 * half :])
            rest = generator.permutation(np.concatenate(left))
            half = len(rest) // 2
            yield (
                np.concatenate([*halves[0], rest[:half]]),
                np.concatenate([*halves[1], rest[half : 2 * half]]),
            )

    def responses(self, cells: Indices) -> list[tuple[Array, Array]]:
        """Halves [trials, cells] of every split."""
        counts = self.counts().of(cells)[:, 0]
        return [(counts[first], counts[second]) for first, second in self.splits()]

    def compute(self, groups: Groups) -> ByGroup:
        """By group, from its cells that fire."""
        if self.missing:
            return ByGroup.missing(groups, self.missing)
        fires = np.flatnonzero(self.counts().table.sum(axis=0) > 0)
        value, n = np.full(len(groups), np.nan), np.zeros(len(groups), np.int64)
        reasons = []
        for group, cells in enumerate(members(groups.of_cell, len(groups), fires)):
            reason = f"fewer than {self.cells_min} cells that fire"
            if len(cells) >= self.cells_min:
                value[group], reason = self.of_group(self.responses(cells))
            n[group] = 0 if reason else len(cells)
            reasons.append(reason)
        return ByGroup(np.where(n > 0, value, np.nan), n, tuple(reasons))


class OfComponents(OfHalves):
    """A measure that follows from something of every principal component, which is its curve."""

    @abstractmethod
    def along(self, halves: list[tuple[Array, Array]]) -> Array:
        """[components] what the curve shows at components 1, 2, 4, 8 ..."""

    def curve(self, groups: Groups) -> Mapping[float, ByGroup]:
        """By component."""
        if self.missing:
            return {}
        fires = np.flatnonzero(self.counts().table.sum(axis=0) > 0)
        cells = members(groups.of_cell, len(groups), fires)
        found = [
            self.along(self.responses(own)) if len(own) >= self.cells_min else np.zeros(0)
            for own in cells
        ]
        n = np.array([len(own) for own in cells])
        points = 2 ** np.arange(max(len(each) for each in found).bit_length())
        return {
            float(at): ByGroup.where(
                np.array([len(each) >= at for each in found]),
                np.array([each[at - 1] if len(each) >= at else np.nan for each in found]),
                n,
                f"fewer than {at} components",
            )
            for at in points.tolist()
        }
