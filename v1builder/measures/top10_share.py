"""How unequal cells are: the spikes of the tenth of the cells that fires most."""

from typing import ClassVar, Final

import numpy as np

from v1builder.load.groups import Groups
from v1builder.measures.activity import Array
from v1builder.measures.groups import SEVERAL_CELLS
from v1builder.measures.measure import ByGroup, OfRates

_TOP: Final = 0.1
#: Of fewer cells a tenth is none.
_CELLS_MIN: Final = 10


def top10_share(rates: Array) -> float | None:
    """Share of the spikes that come from the tenth of the cells that fires most, at least one cell.

    None where no cell fires.
    """
    total = rates.sum()
    n_top = max(1, round(_TOP * len(rates)))
    return float(np.sort(rates)[-n_top:].sum() / total) if total > 0 else None


class Top10Share(OfRates):
    """Share of a group's spikes that come from the tenth of its cells that fires most: .1 for equal cells."""

    name: ClassVar[str] = "top10_share"
    unit: ClassVar[str] = "1"
    groups: ClassVar[tuple[str, ...]] = SEVERAL_CELLS

    def of_rates(self, rates: Array, groups: Groups) -> ByGroup:
        """Share by group."""
        n = groups.sizes
        value, reason = np.full(len(n), np.nan), [f"fewer than {_CELLS_MIN} cells"] * len(n)
        order = np.argsort(groups.of_cell, kind="stable")
        parts = np.split(rates[order], np.cumsum(n)[:-1])
        for group in np.flatnonzero(n >= _CELLS_MIN):
            found = top10_share(parts[group])
            reason[group] = "no spikes" if found is None else ""
            value[group] = np.nan if found is None else found
        return ByGroup(value, np.where(np.isfinite(value), n, 0), tuple(reason))
