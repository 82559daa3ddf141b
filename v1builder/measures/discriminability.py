"""How well two conditions can be told apart from the spike counts of a few cells: d'^2.

`analysis.fisher.discriminability` of 10 cells of every group, so that groups of different sizes compare: the
mean over 100 sets of 10 drawn with a fixed seed from the cells with at least 10 spikes in both
conditions together. In a design with directions the mean over pairs of neighbouring directions; in others
there have to be two conditions.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from v1builder.analysis.fisher import discriminability, enough_trials
from v1builder.load.groups import Groups
from v1builder.measures.activity import Array, Indices
from v1builder.measures.counts import SAMPLE_SEED, OfCounts, members
from v1builder.measures.groups import SEVERAL_CELLS
from v1builder.measures.measure import ByGroup

#: Of every group.
CELLS: Final = 10
SETS: Final = 100
SPIKES_MIN: Final = 10


@dataclass(frozen=True)
class Pair:
    """Two stimuli: positions of their trials, and how many degrees they are apart (NaN: not in degrees)."""

    first: Indices
    second: Indices
    apart: float


class Discriminability(OfCounts):
    """Linear d'^2 of two conditions, or of neighbouring directions, from 10 cells of each group."""

    name: ClassVar[str] = "discriminability"
    unit: ClassVar[str] = "1"
    groups: ClassVar[tuple[str, ...]] = SEVERAL_CELLS

    def scaled(self, squared: Array, pair: Pair) -> Array:
        """What is shown of d'^2."""
        del pair
        return squared

    def pairs(self) -> tuple[list[Pair], str]:
        """Pairs of stimuli with enough trials, or why there are none."""
        condition = self.counts().condition
        if not self.design.repeats:
            return [], "trials of one condition show different things"
        if self.design.directions is not None:
            shown = np.where(condition >= 0, self.design.directions[condition], np.nan)
        else:
            shown = np.where(condition >= 0, condition, np.nan).astype(np.float64)
        values = np.unique(shown[np.isfinite(shown)])
        if len(values) < 2:
            return [], "fewer than 2 conditions"
        if self.design.directions is None and len(values) > 2:
            return [], f"{len(values)} conditions that are no directions, not 2"
        after = np.roll(values, -1) if len(values) > 2 else values[1:]
        found = [
            Pair(
                np.flatnonzero(shown == one),
                np.flatnonzero(shown == other),
                np.nan if self.design.directions is None else (other - one) % 360,
            )
            for one, other in zip(values, after, strict=False)
        ]
        # Directions that do not go round have no neighbours across the gap.
        found = [pair for pair in found if not pair.apart > 180]
        enough = [pair for pair in found if enough_trials(len(pair.first), len(pair.second), CELLS)]
        if not enough:
            most = max(len(trials) for pair in found for trials in (pair.first, pair.second))
            return [], f"{most} trials of a condition, too few for {CELLS} cells"
        return enough, ""

    def compute(self, groups: Groups) -> ByGroup:
        """Mean over pairs of stimuli and sets of cells."""
        pairs, reason = self.pairs()
        if reason:
            return ByGroup.missing(groups, reason)
        table = self.counts().table
        by_pair = np.full((len(pairs), len(groups)), np.nan)
        n = np.zeros(len(groups), np.int64)
        for row, pair in enumerate(pairs):
            trials = np.concatenate([pair.first, pair.second])
            fires = np.flatnonzero(table[trials].sum(axis=0) >= SPIKES_MIN)
            for group, cells in enumerate(members(groups.of_cell, len(groups), fires)):
                if len(cells) >= CELLS:
                    counts = self.counts().of(cells)[:, 0][:, sets_of_cells(len(cells))]
                    squared = discriminability(counts[pair.first], counts[pair.second])
                    squared = squared[np.isfinite(squared)]
                    if len(squared):
                        by_pair[row, group] = self.scaled(squared, pair).mean()
                        n[group] = max(n[group], len(cells))
        known = np.isfinite(by_pair)
        value = np.where(known, by_pair, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        reason = f"fewer than {CELLS} cells with {SPIKES_MIN} spikes in a pair of conditions"
        return ByGroup.where(n > 0, value, n, reason)


def sets_of_cells(n: int) -> Indices:
    """[sets, CELLS] different positions among n: one set where that is all, else 100."""
    generator = np.random.default_rng(SAMPLE_SEED)
    n_sets = 1 if n == CELLS else SETS
    return np.stack([generator.choice(n, CELLS, replace=False) for _ in range(n_sets)])
