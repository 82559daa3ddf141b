"""PSP amplitudes of the edges of a network against the measured ones the builder drew them from.

An edge of weight w onto a cell model evokes a PSP of |w| A, A the cell's PSP per pA. The measured
amplitudes of a connection are lognormal (shape s_p, scale m_p; Campagnola et al. 2022, 90th percentile
responses). The weight rule makes

    |w| A = m_p nsyn_scale/target_size exp(s_w z),   s_w^2 = s_p^2 - s_n^2 (0.001^2 if negative), z ~ N(0, 1)

with target_size lognormal (s_n, nsyn_scale). Over target CELLS these amplitudes have the measured shape and
scale. Over EDGES they do not: a cell of size k receives k times as many of them, so edges see sizes that
are larger by e^(s_n^2) in the median, and their median amplitude is m_p e^(-s_n^2). The comparison is
therefore given both over edges, and with each edge weighted by 1/target_size, which counts cells alike.
The residual (ln(|w| A target_size/(m_p nsyn_scale)))/s_w of every edge must be N(0, 1); that is the test
of the weights that no choice of weighting can blur.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

#: s_w where the measured spread is smaller than that of the synapse numbers.
SMALLEST_SHAPE: Final = 0.001
_ENOUGH: Final = 30


def weighted_quantile(values: NDArray[np.float64], weights: NDArray[np.float64], q: float) -> float:
    """The smallest value below or at which a share q of the weight lies."""
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(share, q * share[-1])])


def ks_distance(
    values: NDArray[np.float64], weights: NDArray[np.float64], shape: float, scale: float
) -> float:
    """Largest distance of a weighted sample's distribution function from a lognormal's."""
    order = np.argsort(values)
    upto = np.cumsum(weights[order]) / weights.sum()
    before = np.concatenate([[0.0], upto[:-1]])
    F = stats.norm.cdf(np.log(values[order] / scale) / shape)
    return float(np.maximum(np.abs(upto - F), np.abs(before - F)).max())


def compare_psps(edges: pd.DataFrame, lognormals: pd.DataFrame) -> pd.DataFrame:
    """Achieved amplitudes of each connection against the measured lognormal.

    Args:
        edges: one row per edge: connection, psp_mV (> 0), target_size, nsyn_shape and nsyn_scale (of the
            target's population).
        lognormals: by connection: logn_shape_90th, logn_scale_90th (mV), N_90th (pairs measured).

    Returns:
        One row per connection: n_edges, n_measured; mean_mV, median_mV, sd_mV over edges;
        cell_mean_mV, cell_median_mV, cell_sd_mV with every edge weighted by 1/target_size;
        table_mean_mV, table_median_mV, table_sd_mV of the measured lognormal; expected_median_mV over
        edges by the size bias; ks_edges, ks_cells, distances to the measured lognormal;
        narrower_than_sizes, the share of edges whose measured spread is smaller than that of the sizes;
        residual_mean, residual_sd and residual_ks_p of the others (NaN below 30).
    """
    rows = []
    for name, of in edges.groupby("connection", sort=True):
        shape = float(lognormals.loc[name, "logn_shape_90th"])  # pyright: ignore[reportArgumentType]
        scale = float(lognormals.loc[name, "logn_scale_90th"])  # pyright: ignore[reportArgumentType]
        psp = of["psp_mV"].to_numpy(np.float64)
        size = of["target_size"].to_numpy(np.float64)
        s_n = of["nsyn_shape"].to_numpy(np.float64)
        even, by_cell = np.ones(len(psp)), 1 / size
        cell_mean = np.average(psp, weights=by_cell)
        table_mean = scale * np.exp(shape**2 / 2)
        wide = shape > s_n
        middle = np.log(psp * size / (scale * of["nsyn_scale"].to_numpy(np.float64)))
        residual = middle[wide] / np.sqrt(shape**2 - s_n[wide] ** 2)
        enough = len(residual) >= _ENOUGH
        rows.append(
            {
                "connection": name,
                "n_edges": len(psp),
                "n_measured": int(lognormals.loc[name, "N_90th"]),  # pyright: ignore[reportArgumentType]
                "mean_mV": psp.mean(),
                "median_mV": np.median(psp),
                "sd_mV": psp.std(),
                "cell_mean_mV": cell_mean,
                "cell_median_mV": weighted_quantile(psp, by_cell, 0.5),
                "cell_sd_mV": np.sqrt(np.average((psp - cell_mean) ** 2, weights=by_cell)),
                "table_mean_mV": table_mean,
                "table_median_mV": scale,
                "table_sd_mV": table_mean * np.sqrt(np.expm1(shape**2)),
                "expected_median_mV": float(np.median(scale * np.exp(-(s_n**2)))),
                "ks_edges": ks_distance(psp, even, shape, scale),
                "ks_cells": ks_distance(psp, by_cell, shape, scale),
                "narrower_than_sizes": 1 - wide.mean(),
                "residual_mean": residual.mean() if enough else np.nan,
                "residual_sd": residual.std() if enough else np.nan,
                "residual_ks_p": stats.kstest(residual, "norm").pvalue if enough else np.nan,
            }
        )
    return pd.DataFrame(rows)
