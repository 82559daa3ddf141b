"""Firing rates of cells and of groups of cells."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.load.groups import group_cells
from v1builder.load.network import NodePopulation
from v1builder.schema.errors import ConfigError


def rates_of_cells(
    spikes: NDArray[Any], *, dt: float, start: float = 0.0, stop: float | None = None
) -> NDArray[np.float64]:
    """Mean rates from dense spikes.

    Args:
        spikes: [..., time, cell] 0 or 1; leading axes (trials) are averaged.
        dt: ms per time step.
        start: ms, beginning of the window.
        stop: ms, end of the window; None is the end of the recording.

    Returns:
        [n_cells] Hz.

    Raises:
        ConfigError: the window is empty or not within the recording.
    """
    n_steps = spikes.shape[-2]
    first = round(start / dt)
    last = n_steps if stop is None else round(stop / dt)
    if not 0 <= first < last <= n_steps:
        raise ConfigError.of(
            "the time window is empty or outside the recording",
            "rates_of_cells",
            f"{start:g} to {n_steps * dt if stop is None else stop:g} ms of {n_steps * dt:g} ms",
            "choose 0 <= start < stop <= duration",
        )
    window = spikes[..., first:last, :]
    per_step = window.reshape(-1, window.shape[-1]).mean(axis=0, dtype=np.float64)
    return per_step * 1000.0 / dt


def rates_of_spike_times(
    cell: NDArray[np.int64], time: NDArray[np.float64], n_cells: int, *, start: float, stop: float
) -> NDArray[np.float64]:
    """Mean rates from a list of spikes.

    Args:
        cell: [n_spikes] position of the cell.
        time: [n_spikes] ms.
        n_cells: number of cells, silent ones included.
        start: ms, beginning of the window, included.
        stop: ms, end of the window, excluded.

    Returns:
        [n_cells] Hz.
    """
    if not stop > start:
        raise ConfigError.of(
            "the time window is empty",
            "rates_of_spike_times",
            f"{start:g} to {stop:g} ms",
            "stop > start",
        )
    inside = (time >= start) & (time < stop)
    counts = np.bincount(cell[inside], minlength=n_cells).astype(np.float64)
    return counts * 1000.0 / (stop - start)


def summarise_rates(
    rates: NDArray[np.float64], nodes: NodePopulation, level: str = "population"
) -> pd.DataFrame:
    """Rates of groups of cells.

    Args:
        rates: [n_cells] Hz.
        nodes: the cells.
        level: how cells are grouped, see `groups.LEVELS`.

    Returns:
        One row per group (index: its name): n_cells; mean_Hz, median_Hz, q05_Hz, q95_Hz over its
        cells; silent_fraction, the share of cells without a single spike.

    Raises:
        ConfigError: not one rate per cell.
    """
    if rates.shape != (len(nodes),):
        raise ConfigError.of(
            "wrong number of rates", "summarise_rates", rates.shape, f"give {len(nodes)} rates, Hz"
        )
    groups = group_cells(nodes, level)
    by_group = pd.Series(rates).groupby(np.array(groups.labels)[groups.of_cell])
    table = pd.DataFrame(
        {
            "n_cells": by_group.size(),
            "mean_Hz": by_group.mean(),
            "median_Hz": by_group.median(),
            "q05_Hz": by_group.quantile(0.05),
            "q95_Hz": by_group.quantile(0.95),
            "silent_fraction": by_group.agg(lambda values: float((values == 0).mean())),
        }
    )
    return table.loc[list(groups.labels)]
