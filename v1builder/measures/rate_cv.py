"""Spread of rates within populations.

Standard deviation over mean of the rates of the cells of a population, mean over the populations of a group
weighted by their sizes. Counted are populations of at least 20 cells that fire.
"""

from typing import ClassVar, Final

import numpy as np

from v1builder.load.groups import Groups, group_cells
from v1builder.measures.activity import Array
from v1builder.measures.groups import SEVERAL_CELLS, group_mean
from v1builder.measures.measure import ByGroup, OfRates

CELLS_MIN: Final = 20


def rate_cv(rates: Array, populations: Groups, groups: Groups) -> ByGroup:
    """The spread by group.

    Args:
        rates: [n_cells] Hz.
        populations: within which rates are compared.
        groups: of which there is a value each.
    """
    key = groups.of_cell * len(populations) + populations.of_cell
    keys, part_of_cell = np.unique(key, return_inverse=True)
    parts = Groups(part_of_cell.astype(np.int64), tuple(map(str, keys)))
    mean = group_mean(parts, rates)
    deviation = np.sqrt(group_mean(parts, (rates - mean[parts.of_cell]) ** 2))
    large = parts.sizes >= CELLS_MIN
    counted = large & (mean > 0)
    group_of = keys // len(populations)
    value, n = np.full(len(groups), np.nan), np.zeros(len(groups), np.int64)
    reason = [f"no population of at least {CELLS_MIN} cells"] * len(groups)
    for group in np.unique(group_of[large]):
        own = counted & (group_of == group)
        if not own.any():
            reason[group] = f"no population of at least {CELLS_MIN} cells fires"
            continue
        cv = deviation[own] / mean[own]
        value[group] = np.average(cv, weights=parts.sizes[own])
        n[group], reason[group] = parts.sizes[own].sum(), ""
    return ByGroup(value, n, tuple(reason))


class RateCV(OfRates):
    """Coefficient of variation of rates within populations."""

    name: ClassVar[str] = "rate_cv"
    unit: ClassVar[str] = "1"
    groups: ClassVar[tuple[str, ...]] = SEVERAL_CELLS

    def of_rates(self, rates: Array, groups: Groups) -> ByGroup:
        """Spread by group."""
        if "pop_name" not in self.design.cells.attributes:
            return ByGroup.missing(groups, "the cells have no populations (attribute pop_name)")
        return rate_cv(rates, group_cells(self.design.cells, "population"), groups)
