"""How near cells are to recorded units: 1 - Kolmogorov-Smirnov distance of two samples, by cell type.

Where quantiles are all that is known see `analysis.invivo`; here both samples are, so it is the plain
two-sample statistic. A type is judged where at least 15 units and 10 cells have a value. Where no layer of a
class has as many units, the class is judged as a whole ("SST"), every layer by its cells.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from v1builder.schema.recordings import MIN_UNITS

Array = NDArray[np.float64]
#: Of a type that have a value.
CELLS_MIN: Final = 10
COLUMNS: Final = (
    "cell_type", "metric", "n_cells", "n_units", "median", "recorded_median", "score", "reason",
)  # fmt: skip


def agreement_by_type(
    measured: Mapping[str, Array], types: NDArray[np.str_], units: pd.DataFrame
) -> pd.DataFrame:
    """Compare cells with units, type by type.

    Args:
        measured: [n_cells] by column of the units (mean_rate_Hz, osi ...), NaN where a cell has none.
        types: [n_cells], of `invivo.types_of`; an empty text for cells that are not judged.
        units: those to compare with.

    Returns:
        Columns `COLUMNS`; the score is NaN, with a reason, where there are too few units or cells.
    """
    kinds = units["cell_type"].to_numpy(str)
    rows = []
    for metric, values in measured.items():
        recorded = units[metric].to_numpy(np.float64)
        for name in _judged_types(np.unique(types[types != ""]), kinds[np.isfinite(recorded)]):
            own = values[_is_of(types, name)]
            unit = recorded[_is_of(kinds, name)]
            rows.append(_row(name, metric, own[np.isfinite(own)], unit[np.isfinite(unit)]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(name: str, metric: str, cells: Array, units: Array) -> dict[str, object]:
    reason = ""
    if len(units) < MIN_UNITS:
        reason = f"fewer than {MIN_UNITS} units"
    elif len(cells) < CELLS_MIN:
        reason = f"fewer than {CELLS_MIN} cells have a value"
    test: Any = None if reason else stats.ks_2samp(cells, units)
    score = np.nan if test is None else 1 - float(test.statistic)
    medians = (float(np.median(each)) if len(each) else np.nan for each in (cells, units))
    return dict(
        zip(COLUMNS, (name, metric, len(cells), len(units), *medians, score, reason), strict=True)
    )


def _judged_types(present: NDArray[np.str_], units: NDArray[np.str_]) -> list[str]:
    """The types of the network, those of a class together where no layer of it has enough units."""
    found: dict[str, None] = {}
    for name in present.tolist():
        kind = name.split(" ")[-1]
        of_class = units[_is_of(units, kind)]
        whole = not any(np.sum(of_class == each) >= MIN_UNITS for each in np.unique(of_class))
        found[kind if whole else name] = None
    return list(found)


def _is_of(types: NDArray[np.str_], name: str) -> NDArray[np.bool_]:
    """Which are of a type, or of a class."""
    if " " in name:
        return types == name
    return np.array([each.split(" ")[-1] == name for each in types.tolist()], dtype=bool)


def mean_score(table: pd.DataFrame, metric: str) -> float | None:
    """Mean over the types that are judged; None without any."""
    scores = table.loc[table["metric"] == metric, "score"].to_numpy(np.float64)
    scores = scores[np.isfinite(scores)]
    return float(scores.mean()) if len(scores) else None
