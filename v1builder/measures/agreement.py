"""Agreement with recordings: what measures that compare cells with those of living mice have in common.

For every cell type of the recordings ("L2/3 PV") with at least 15 units, 1 - Kolmogorov-Smirnov distance of
the cells of a group from the recorded quantiles (`analysis.invivo.ks_score`); a group's value is the mean
over its types, weighted by their cells. 1 for the same distribution; by chance, n cells drawn from it are
about .9 / sqrt(n) below.
"""

from typing import Final

import numpy as np

from v1builder.analysis.agreement import CELLS_MIN
from v1builder.analysis.invivo import ks_score, types_of
from v1builder.load.groups import Groups
from v1builder.measures.activity import Array, Design
from v1builder.measures.counts import members
from v1builder.measures.groups import SEVERAL_CELLS
from v1builder.measures.measure import ByGroup
from v1builder.schema.errors import NetworkError
from v1builder.schema.recordings import MIN_UNITS, QUANTILES

AGREEMENT_LEVELS: Final = SEVERAL_CELLS


def agreement(design: Design, metric: str, values: Array, groups: Groups) -> ByGroup:
    """Agreement by group.

    Args:
        design: of the cells, with recordings.
        metric: of the recordings: mean_rate_Hz, osi, dsi.
        values: [n_cells] NaN where a cell has none.
        groups: of which there is a value each.
    """
    if design.in_vivo is None:
        return ByGroup.missing(groups, "the network has no recordings (reference/in_vivo.csv)")
    try:
        type_of_cell = types_of(design.cells)
    except NetworkError as error:
        return ByGroup.missing(groups, error.problems[0].what)
    table = design.in_vivo
    table = table[(table["metric"] == metric) & (table["n_units"] >= MIN_UNITS)]
    quantiles = table.set_index("cell_type")[list(QUANTILES)].astype(float)
    value, n = np.full(len(groups), np.nan), np.zeros(len(groups), np.int64)
    finite = np.flatnonzero(np.isfinite(values))
    for group, cells in enumerate(members(groups.of_cell, len(groups), finite)):
        scores, sizes = [], []
        for cell_type in np.unique(type_of_cell[cells]):
            own = cells[type_of_cell[cells] == cell_type]
            if cell_type in quantiles.index and len(own) >= CELLS_MIN:
                scores.append(ks_score(values[own], quantiles.loc[cell_type].to_numpy()))
                sizes.append(len(own))
        if scores:
            value[group], n[group] = np.average(scores, weights=sizes), sum(sizes)
    reason = f"no type with {MIN_UNITS} recorded units and {CELLS_MIN} cells that have a value"
    return ByGroup.where(n > 0, value, n, reason)
