"""How near a network's rates and selectivities are to those recorded in living mice.

The reference is a table of quantiles per cell type (5, 25, 50, 75, 95 %), so the reference distribution
function F is known at five points. Between them it is taken as linear; below the 5 % quantile it is only
known to lie in [0, 0.05], above the 95 % quantile in [0.95, 1]. The score of a sample with empirical
distribution function G is

    score = 1 - sup_x distance(G(x), values F(x) can have)

that is 1 - Kolmogorov-Smirnov distance, forgiving the tails that were not published: 1 is a perfect match
and 0.05 the least possible. It is given only where the reference has at least 15 units: below that five
quantiles are noise.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.load.groups import group_cells
from v1builder.load.network import NodePopulation
from v1builder.schema.errors import (
    ConfigError,
    DataError,
    Problem,
    raise_if_any,
    unknown_name,
)
from v1builder.schema.recordings import MIN_UNITS, QUANTILES, reference_type


def ks_score(sample: NDArray[np.float64], quantiles: NDArray[np.float64]) -> float:
    """The score described above.

    Args:
        sample: [n] values of the network's cells; NaN (silent cells have no selectivity) are left out.
        quantiles: [5] values at the probabilities `QUANTILES`, not decreasing.

    Returns:
        Between 0.05 and 1; NaN for an empty sample.
    """
    x = np.sort(sample[np.isfinite(sample)])
    if not len(x):
        return float("nan")
    p = np.array(list(QUANTILES.values()))
    # G is a step function and F monotone, so the largest distance is at a step of G or of F, or just
    # before one. A step of F is a value that several quantiles share.
    at = np.unique(np.concatenate([x, quantiles]))
    upto = np.searchsorted(x, at, side="right") / len(x)
    before = np.searchsorted(x, at, side="left") / len(x)
    distance = np.maximum(
        _outside(upto, *_reference_range(at, quantiles, p, "right")),
        _outside(before, *_reference_range(at, quantiles, p, "left")),
    )
    return float(1 - distance.max())


def _reference_range(
    x: NDArray[np.float64],
    q: NDArray[np.float64],
    p: NDArray[np.float64],
    side: Literal["left", "right"],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smallest and largest value F can have at each x ("right") or just before it ("left")."""
    above = np.searchsorted(q, x, side=side)  # first quantile beyond x
    inside = (above > 0) & (above < len(q))
    j = above[inside]
    at = p[j - 1] + (p[j] - p[j - 1]) * (x[inside] - q[j - 1]) / (q[j] - q[j - 1])
    lowest = np.where(above == 0, 0.0, p[-1])
    highest = np.where(above == 0, p[0], 1.0)
    lowest[inside] = highest[inside] = at
    return lowest, highest


def _outside(
    g: NDArray[np.float64], lowest: NDArray[np.float64], highest: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of g from the interval [lowest, highest]; 0 inside it."""
    return np.maximum(0.0, np.maximum(lowest - g, g - highest))


def types_of(nodes: NodePopulation) -> NDArray[np.str_]:
    """[n_cells] type of every cell, as the recordings name them.

    Raises:
        NetworkError: a population the recordings do not know, or cells without populations.
    """
    groups = group_cells(nodes, "population")
    return np.array([reference_type(name) for name in groups.labels])[groups.of_cell]


def compare_with_recordings(
    measured: Mapping[str, NDArray[np.float64]], nodes: NodePopulation, reference: pd.DataFrame
) -> pd.DataFrame:
    """Compare a network with recordings, type by type.

    Args:
        measured: [n_cells] by metric of the reference: mean_rate_Hz, preferred_rate_Hz and
            spontaneous_rate_Hz in Hz, osi and dsi as `tuning.osi_vector` and `tuning.dsi_vector`.
        nodes: the cells, with V1 population names.
        reference: the table neuropixels_reference: cell_type, metric, n_units and `QUANTILES`.

    Returns:
        One row per (cell type in the network, metric) that the reference has: cell_type, metric,
        n_cells with a value, n_units, median, reference_median, score (NaN where n_units < 15 or
        n_cells is 0).

    Raises:
        ConfigError: an unknown metric, or not one value per cell.
        DataError: the reference lacks columns, or its quantiles decrease.
        NetworkError: a population the recordings do not know.
    """
    _check_reference(reference)
    known = list(dict.fromkeys(reference["metric"]))
    problems = [
        unknown_name("metric", name, known, "measured") for name in measured if name not in known
    ]
    problems += [
        Problem(
            "not one value per cell", f"measured, {name}", str(values.shape), f"give [{len(nodes)}]"
        )
        for name, values in measured.items()
        if values.shape != (len(nodes),)
    ]
    raise_if_any(problems, ConfigError)
    type_of_cell = types_of(nodes)
    rows = []
    for row in reference.to_dict("records"):
        cells = type_of_cell == row["cell_type"]
        if row["metric"] not in measured or not cells.any():
            continue
        sample = measured[row["metric"]][cells]
        sample = sample[np.isfinite(sample)]
        quantiles = np.array([row[name] for name in QUANTILES], np.float64)
        rows.append(
            {
                "cell_type": row["cell_type"],
                "metric": row["metric"],
                "n_cells": len(sample),
                "n_units": row["n_units"],
                "median": float(np.median(sample)) if len(sample) else np.nan,
                "reference_median": row["median"],
                "score": ks_score(sample, quantiles) if row["n_units"] >= MIN_UNITS else np.nan,
            }
        )
    columns = ["cell_type", "metric", "n_cells", "n_units", "median", "reference_median", "score"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def _check_reference(reference: pd.DataFrame) -> None:
    where = "table neuropixels_reference"
    needed = ["cell_type", "metric", "n_units", *QUANTILES]
    missing = [name for name in needed if name not in reference.columns]
    if missing:
        raise DataError.of(
            "the table lacks columns", where, ", ".join(missing), f"columns: {', '.join(needed)}"
        )
    steps = np.diff(reference[list(QUANTILES)].to_numpy(np.float64), axis=1)
    wrong = np.flatnonzero(~(steps >= 0).all(axis=1))
    if len(wrong):
        raise DataError.of(
            "quantiles must be numbers that do not decrease",
            f"{where}, row {wrong[0]}",
            reference.iloc[wrong[0]].to_dict(),
            "restore the published table",
        )
