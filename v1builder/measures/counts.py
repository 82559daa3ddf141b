"""Spike counts of every trial in bins: what measures that look at trials one by one have in common."""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from scipy import sparse

from v1builder.measures.activity import Activity, Array, Design, Indices
from v1builder.measures.measure import Measure


@dataclass(frozen=True)
class Counts:
    """Numbers of spikes of b trials in t bins of n cells.

    Attributes:
        condition: [b] what was shown, -1 for nothing; trials are in the order of their numbers.
        n_bins: of a trial.
        n_cells: number of cells.
        table: [(b, t), n], a row for each bin of each trial.
    """

    condition: Indices
    n_bins: int
    n_cells: int
    table: sparse.csr_array

    @property
    def n_trials(self) -> int:
        """Number of trials."""
        return len(self.condition)

    def of(self, cells: Indices) -> Array:
        """[b, t, k] counts of some cells."""
        dense = self.table[:, cells].toarray().astype(np.float64)
        return dense.reshape(self.n_trials, self.n_bins, len(cells))

    def coarser(self, n: int) -> "Counts":
        """The same in bins of n; bins left over at the end of a trial are dropped."""
        n_bins = self.n_bins // n
        found = self.table.tocoo()
        row, cell = found.coords
        trial, bin_ = row // self.n_bins, row % self.n_bins // n
        kept = bin_ < n_bins
        at = (trial * n_bins + bin_)[kept], cell[kept]
        shape = self.n_trials * n_bins, self.n_cells
        table = sparse.coo_array((found.data[kept], at), shape).tocsr()
        return Counts(self.condition, n_bins, self.n_cells, table)


class OfCounts(Measure):
    """A measure of the spike counts of single trials.

    It takes activity part by part, and needs memory for it: 8 bytes per spike of the window while it sees
    them, and as many again while it computes. Only trials that were seen to their end count.

    Attributes:
        bin_ms: length of a bin; None for one bin, the window.
    """

    bin_ms: ClassVar[float | None] = None

    def __init__(self, design: Design):
        super().__init__(design)
        whole = max(1, design.n_steps)
        self.bin_steps: int = (
            whole if self.bin_ms is None else max(1, round(self.bin_ms / design.dt))
        )
        self.n_bins: int = whole // self.bin_steps
        self._keys: list[Indices] = []
        self._seen: list[tuple[Indices, Indices, int]] = []
        self._counts: Counts | None = None

    def see(self, activity: Activity) -> None:
        """Keep the bin of every spike."""
        self._counts = None
        bin_ = activity.step // self.bin_steps
        kept = bin_ < self.n_bins
        row = activity.trials[activity.trial[kept]] * self.n_bins + bin_[kept]
        self._keys.append(row * self.design.n_cells + activity.cell[kept])
        n_steps = activity.stop - activity.start
        self._seen.append((activity.trials, activity.condition, n_steps))

    def counts(self) -> Counts:
        """Counts of the trials that were seen to their end."""
        if self._counts is None:
            self._counts = self._made()
        return self._counts

    def _made(self) -> Counts:
        n_cells = self.design.n_cells
        numbers, condition, n_steps = self._trials()
        whole = n_steps == self.design.n_steps
        numbers, condition = numbers[whole], condition[whole]
        keys = np.concatenate(self._keys) if self._keys else np.zeros(0, np.int64)
        row, cell = keys // n_cells, keys % n_cells
        trial, bin_ = row // self.n_bins, row % self.n_bins
        at = np.searchsorted(numbers, trial)
        kept = at < len(numbers)
        kept[kept] = numbers[at[kept]] == trial[kept]
        where = (at * self.n_bins + bin_)[kept], cell[kept]
        shape = len(numbers) * self.n_bins, n_cells
        table = sparse.coo_array((np.ones(len(where[0]), np.int64), where), shape)
        return Counts(condition, self.n_bins, n_cells, table.tocsr())

    def _trials(self) -> tuple[Indices, Indices, Indices]:
        """Numbers in increasing order, conditions, and steps that were seen of each."""
        if not self._seen:
            nothing = np.zeros(0, np.int64)
            return nothing, nothing, nothing
        numbers = np.concatenate([trials for trials, _, _ in self._seen])
        condition = np.concatenate([shown for _, shown, _ in self._seen])
        n_steps = np.concatenate([np.full(len(trials), n) for trials, _, n in self._seen])
        numbers, first, of = np.unique(numbers, return_index=True, return_inverse=True)
        return numbers, condition[first], np.bincount(of, n_steps).astype(np.int64)

    def too_few_repeats(self, least: int) -> str:
        """Why trials of a condition cannot be compared with each other; empty where they can.

        Args:
            least: trials beyond the first of every condition, all together.
        """
        if not self.design.repeats:
            return "trials of one condition show different things"
        condition = self.counts().condition
        repeats = len(condition) - len(np.unique(condition))
        return "" if repeats >= least else f"{repeats} repeats of a condition, fewer than {least}"


def without_condition(counts: Array, condition: Indices) -> Array:
    """[b, ...] counts minus their mean over the trials of the same condition."""
    residual = counts.astype(np.float64)
    for one in np.unique(condition):
        own = condition == one
        residual[own] -= residual[own].mean(axis=0)
    return residual


#: Seed of what measures draw at random: the same cells and pairs in every network.
SAMPLE_SEED: Final = 20240607


def members(of_cell: Indices, n_groups: int, chosen: Indices | None = None) -> list[Indices]:
    """The cells of each group, or those of some that are `chosen`, in increasing order."""
    cells = np.arange(len(of_cell)) if chosen is None else np.sort(chosen)
    order = np.argsort(of_cell[cells], kind="stable")
    sizes = np.bincount(of_cell[cells], minlength=n_groups)
    return np.split(cells[order], np.cumsum(sizes)[:-1])
