"""How few of the cells respond to a condition: `analysis.sparsity` over cells, mean over conditions."""

from typing import ClassVar, Final

import numpy as np

from v1builder.analysis.sparsity import sparsity
from v1builder.load.groups import Groups
from v1builder.measures.conditions import OfConditions
from v1builder.measures.counts import members
from v1builder.measures.groups import SEVERAL_CELLS
from v1builder.measures.measure import ByGroup

_CELLS_MIN: Final = 10


class PopulationSparsity(OfConditions):
    """Population sparsity of the cells of a group: 0 where all fire alike, 1 where one fires alone.

    Mean over the conditions in which one of them fires.
    """

    name: ClassVar[str] = "population_sparsity"
    unit: ClassVar[str] = "1"
    groups: ClassVar[tuple[str, ...]] = SEVERAL_CELLS

    def compute(self, groups: Groups) -> ByGroup:
        """By group."""
        rates = self.rates()
        if not len(rates):
            return ByGroup.missing(groups, "no trial in which something is shown")
        sizes, value = groups.sizes, np.full(len(groups), np.nan)
        reason = [f"fewer than {_CELLS_MIN} cells"] * len(groups)
        for group, cells in enumerate(members(groups.of_cell, len(groups))):
            if len(cells) < _CELLS_MIN:
                continue
            found = sparsity(rates[:, cells], axis=1)
            found = found[np.isfinite(found)]
            reason[group] = "" if len(found) else "no spikes"
            value[group] = found.mean() if len(found) else np.nan
        return ByGroup(value, np.where(np.isfinite(value), sizes, 0), tuple(reason))
