"""Variability over trials as a function of how long spikes are counted.

The Fano factor of `fano_factor` in counting windows of several lengths, which lie side by side from the begin
of the window on: variance and mean are those of the trials of each condition in each of them, pooled. So
changes of the rate within a trial that are the same in all trials do not count. 1 at every length for a
Poisson process. Fluctuations that last make it grow with the length: a gain with the coefficient of variation
c that is constant in a trial gives 1 + c^2 r T, at rate r and length T. The value is that at 100 ms, which
can be compared between windows of different lengths. Teich et al. 1997, J. Opt. Soc. Am. A 14:529;
Churchland et al. 2010, Nat. Neurosci. 13:369.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

import numpy as np
from scipy import sparse

from v1builder.load.groups import Groups
from v1builder.measures.activity import Array
from v1builder.measures.counts import OfCounts
from v1builder.measures.fano_factor import REPEATS_MIN
from v1builder.measures.measure import Axis, ByGroup

#: Lengths, multiples of the bin.
LENGTHS_MS: Final = (10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
VALUE_AT_MS: Final = 100.0


class FanoByWindow(OfCounts):
    """Fano factor in windows of 100 ms, mean over cells; as a curve, in windows of 10 to 1000 ms."""

    name: ClassVar[str] = "fano_by_window"
    unit: ClassVar[str] = "1"
    bin_ms: ClassVar[float | None] = 10.0
    axis: ClassVar[Axis | None] = Axis("counting window", "ms", "Fano factor", "1")

    def of_cells(self, length_ms: float) -> Array:
        """[n_cells] the factor in windows of that length; NaN for cells that do not fire."""
        counts = self.counts().coarser(round(length_ms / (self.bin_steps * self.design.dt)))
        shown, of_trial, n = np.unique(counts.condition, return_inverse=True, return_counts=True)
        trial, bin_ = np.divmod(np.arange(counts.n_trials * counts.n_bins), counts.n_bins)
        of_row = of_trial[trial] * counts.n_bins + bin_
        at = of_row, np.arange(len(of_row))
        shape = len(shown) * counts.n_bins, len(of_row)
        total = sparse.coo_array((np.ones(len(of_row)), at), shape).tocsr() @ counts.table
        square = (counts.table**2).sum(axis=0)
        repeats = np.repeat(n, counts.n_bins)
        variance = square - (total**2).T @ (1 / repeats)
        mean = total.T @ (1 - 1 / repeats)
        none = np.full(self.design.n_cells, np.nan)
        return np.divide(variance, mean, out=none, where=mean > 0)

    def at(self, groups: Groups, length_ms: float) -> ByGroup:
        """The values by group in windows of that length."""
        reason = self.too_few_repeats(REPEATS_MIN)
        if not reason and length_ms > self.design.n_steps * self.design.dt:
            reason = f"the window is shorter than {length_ms:g} ms"
        if reason:
            return ByGroup.missing(groups, reason)
        value = self.of_cells(length_ms)
        known = np.isfinite(value)
        n = np.bincount(groups.of_cell[known], minlength=len(groups))
        total = np.bincount(groups.of_cell[known], value[known], len(groups))
        reason = "no spikes in trials of a repeated condition"
        return ByGroup.where(n > 0, total / np.maximum(n, 1), n, reason)

    def compute(self, groups: Groups) -> ByGroup:
        """In windows of 100 ms."""
        return self.at(groups, VALUE_AT_MS)

    def curve(self, groups: Groups) -> Mapping[float, ByGroup]:
        """In all windows that fit."""
        longest = self.design.n_steps * self.design.dt
        return {ms: self.at(groups, ms) for ms in LENGTHS_MS if ms <= longest}
