"""Synchrony: the spike time tiling coefficient.

    STTC = 1/2 ((P_A - T_B) / (1 - P_A T_B) + (P_B - T_A) / (1 - P_B T_A))

P_A is the share of the spikes of A with one of B within 5 ms in the same trial, T_A the share of the time
within 5 ms of a spike of A. Unlike a correlation it does not fall with the rate. 1 for equal trains, 0 for
independent ones; what stimuli do to both counts. Cutts & Eglen 2014, J. Neurosci. 34:14288.

Spikes are a whole number of steps apart, and so time is tiled in whole steps: up to 5 ms before and after
that of a spike. In one trial this is elephant's `spike_time_tiling_coefficient` with half a step more
than 5 ms; with 5 ms that has .02 for independent cells of 20 Hz in steps of 1 ms.

The mean is over at most 500 pairs of a group, drawn once with a fixed seed: 4 000 cells have 8 million.
"""

from typing import ClassVar, Final

import numpy as np

from v1builder.load.groups import Groups
from v1builder.measures.activity import Design, Indices
from v1builder.measures.counts import SAMPLE_SEED, OfCounts, members
from v1builder.measures.groups import SEVERAL_CELLS
from v1builder.measures.measure import ByGroup

#: ms, as elephant's default.
WITHIN_MS: Final = 5.0
PAIRS_MAX: Final = 500
#: Of both cells in all trials.
SPIKES_MIN: Final = 10


class STTC(OfCounts):
    """Spike time tiling coefficient, mean over a sample of pairs of cells of a group."""

    name: ClassVar[str] = "sttc"
    unit: ClassVar[str] = "1"
    groups: ClassVar[tuple[str, ...]] = SEVERAL_CELLS

    def __init__(self, design: Design):
        super().__init__(design)
        self.bin_steps, self.n_bins = 1, max(1, design.n_steps)

    def compute(self, groups: Groups) -> ByGroup:
        """Mean over the sample of each group."""
        counts = self.counts()
        if not counts.n_trials:
            return ByGroup.missing(groups, "nothing was observed")
        table = counts.table.tocsc()
        fires = np.flatnonzero(np.diff(table.indptr) >= SPIKES_MIN)
        trains = {
            int(cell): np.sort(table.indices[slice(*table.indptr[[cell, cell + 1]])]).astype(
                np.int64
            )
            for cell in fires
        }
        within = int(WITHIN_MS / self.design.dt + 1e-9)
        tiled = {
            cell: self._tiled(spikes, within, counts.n_trials) for cell, spikes in trains.items()
        }
        value, n = np.full(len(groups), np.nan), np.zeros(len(groups), np.int64)
        for group, cells in enumerate(members(groups.of_cell, len(groups), fires)):
            n[group] = len(cells)
            if len(cells) > 1:
                pairs = [
                    self._of_pair(trains[a], trains[b], tiled[a], tiled[b], within)
                    for a, b in cells[sampled_pairs(len(cells))].tolist()
                ]
                value[group] = np.mean(pairs)
        reason = f"fewer than 2 cells with {SPIKES_MIN} spikes"
        return ByGroup.where(n > 1, value, n, reason)

    def _of_pair(
        self, a: Indices, b: Indices, tiled_a: float, tiled_b: float, within: int
    ) -> float:
        """The coefficient of two cells from the increasing numbers (trial x steps + step) of spikes."""
        near_a, near_b = self._near(a, b, within), self._near(b, a, within)
        terms = [
            1.0 if near * tiled == 1 else (near - tiled) / (1 - near * tiled)
            for near, tiled in ((near_a, tiled_b), (near_b, tiled_a))
        ]
        return sum(terms) / 2

    def _near(self, spikes: Indices, others: Indices, within: int) -> float:
        """Share of the spikes with another within that many steps of the same trial."""
        steps = self.n_bins
        one, other = (each + each // steps * (within + 1) for each in (spikes, others))
        at = np.searchsorted(other, one)
        after = np.abs(other[np.minimum(at, len(other) - 1)] - one)
        before = np.abs(one - other[np.maximum(at - 1, 0)])
        return float((np.minimum(before, after) <= within).mean())

    def _tiled(self, spikes: Indices, within: int, n_trials: int) -> float:
        """Share of the steps that are within so many of a spike of the same trial."""
        start = spikes // self.n_bins * self.n_bins
        first = np.maximum(spikes - within, start)
        last = np.minimum(spikes + within + 1, start + self.n_bins)
        free = np.maximum(first, np.append(-1, last[:-1]))
        return float((last - free).sum() / (n_trials * self.n_bins))


def sampled_pairs(n: int) -> Indices:
    """[k, 2] different positions among n, all pairs or `PAIRS_MAX` of them at random."""
    n_pairs = n * (n - 1) // 2
    if n_pairs > PAIRS_MAX:
        number = np.random.default_rng(SAMPLE_SEED).choice(n_pairs, PAIRS_MAX, replace=False)
    else:
        number = np.arange(n_pairs)
    larger = ((1 + np.sqrt(1 + 8 * number)) / 2).astype(np.int64)
    return np.stack([larger, number - larger * (larger - 1) // 2], axis=1)
