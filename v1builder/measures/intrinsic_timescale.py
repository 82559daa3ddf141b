"""Intrinsic timescale of a group of cells: `analysis.timescale` of spike counts in bins of 50 ms.

Correlations are over trials: the mean of each condition in each bin is taken away, so that what stimuli do
to rates does not count. The autocorrelation of a group is the sum of its cells' covariances over the sum of
their variances: cells with few spikes, which have none of their own, count by what they have. Murray et al.
2014, Nat. Neurosci. 17:1661, take the mean of those of cells; elephant's `spike_train_timescale` is another
definition, the integral of the squared autocorrelation of one long stationary train.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

import numpy as np

from v1builder.analysis.timescale import fitted_timescale, lagged_covariance
from v1builder.load.groups import Groups
from v1builder.measures.activity import Array, Design, Indices
from v1builder.measures.counts import OfCounts, without_condition
from v1builder.measures.groups import SEVERAL_CELLS
from v1builder.measures.measure import Axis, ByGroup

#: Trials beyond the first of every condition.
REPEATS_MIN: Final = 19
LAG_MAX_MS: Final = 500.0
#: Cells whose counts are dense at once.
_CELLS_AT_ONCE: Final = 512


class IntrinsicTimescale(OfCounts):
    """Time constant of the autocorrelation of spike counts; as a curve, the autocorrelation."""

    name: ClassVar[str] = "intrinsic_timescale"
    unit: ClassVar[str] = "ms"
    groups: ClassVar[tuple[str, ...]] = SEVERAL_CELLS
    bin_ms: ClassVar[float | None] = 50.0
    axis: ClassVar[Axis | None] = Axis("lag", "ms", "autocorrelation of spike counts", "1")

    def __init__(self, design: Design):
        super().__init__(design)
        self._of_cells: tuple[object, Array, Array] | None = None

    @property
    def dt(self) -> float:
        """Length of a bin, ms."""
        return self.bin_steps * self.design.dt

    def _lagged(self) -> tuple[Array, Array]:
        """[lags, n_cells] covariances and scales of all cells."""
        counts = self.counts()
        if self._of_cells is None or self._of_cells[0] is not counts:
            n_lags = min(self.n_bins - 1, round(LAG_MAX_MS / self.dt))
            every = np.arange(self.design.n_cells)
            parts = [
                lagged_covariance(without_condition(counts.of(cells), counts.condition), n_lags)
                for cells in np.array_split(every, -(-len(every) // _CELLS_AT_ONCE))
            ]
            covariance, scale = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
            self._of_cells = counts, covariance, scale
        return self._of_cells[1:]

    def autocorrelation(self, groups: Groups) -> tuple[Array, Indices]:
        """[lags, n_groups] from lag 0 on, NaN without variance; and the number of cells that have some."""
        covariance, scale = self._lagged()
        varies = scale[0] > 1e-9
        sums = [
            np.stack([np.bincount(groups.of_cell, row, len(groups)) for row in table])
            for table in (covariance, scale)
        ]
        n = np.bincount(groups.of_cell[varies], minlength=len(groups))
        return np.divide(*sums, out=np.full_like(sums[0], np.nan), where=sums[1] > 1e-9), n

    def compute(self, groups: Groups) -> ByGroup:
        """Time constant by group."""
        reason = self.too_few_repeats(REPEATS_MIN)
        if reason:
            return ByGroup.missing(groups, reason)
        found, n = self.autocorrelation(groups)
        fits = [
            fitted_timescale(own[1:], self.dt)
            if np.isfinite(own).all()
            else (np.nan, "no spikes that vary over trials in some bins")
            for own in found.T
        ]
        value = np.array([tau for tau, _ in fits])
        return ByGroup(
            value, np.where(np.isfinite(value), n, 0), tuple(reason for _, reason in fits)
        )

    def curve(self, groups: Groups) -> Mapping[float, ByGroup]:
        """Autocorrelation by group at every lag."""
        if self.too_few_repeats(REPEATS_MIN):
            return {}
        found, n = self.autocorrelation(groups)
        return {
            k * self.dt: ByGroup.where(np.isfinite(row), row, n, "no spikes that vary over trials")
            for k, row in enumerate(found)
        }
