"""What a cell model is tuned to: the spontaneous rate recorded in its population."""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.load import Network
from v1builder.load.groups import group_cells
from v1builder.schema.errors import DataError, Problem, raise_if_any

#: In a network folder: columns population, target_median_rate_Hz.
TARGETS: Final = "reference/background_target_rate.csv"
_COLUMNS = ("population", "target_median_rate_Hz")


def read_targets(path: Path) -> pd.Series:
    """Target rates in Hz by population.

    Raises:
        DataError: the file is missing, lacks a column, or a rate is not a positive number.
    """
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise DataError.of(
            "the network has no target rates",
            path,
            "no such file",
            f"build the network again, or give --targets a CSV file with {', '.join(_COLUMNS)}",
        ) from None
    except (OSError, ValueError) as error:
        raise DataError.of("the target rates cannot be read", path, error) from None
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        raise DataError.of(
            "the target rates lack columns", path, ", ".join(missing), f"add {', '.join(_COLUMNS)}"
        )
    numbers = pd.to_numeric(table["target_median_rate_Hz"], errors="coerce")
    rates = np.asarray(numbers, dtype=np.float64)
    problems = [
        Problem("a target rate is not positive", f"{path}, {name}", str(got), "give a rate in Hz")
        for name, rate, got in zip(
            table["population"], rates, table["target_median_rate_Hz"], strict=True
        )
        if not (np.isfinite(rate) and rate > 0)
    ]
    problems += [
        Problem("a population has two target rates", f"{path}, {name}", str(name), "keep one")
        for name in table.loc[table["population"].duplicated(), "population"]
    ]
    raise_if_any(problems, DataError)
    return pd.Series(rates, index=table["population"].astype(str))


def cell_models(network: Network, targets: pd.Series) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The cell models of a network that have cells, and which one each cell is of.

    Returns:
        One row per cell model: cell_model (node type id), population, borrowed_from, n_cells,
        target_Hz; and [n_cells] the row of each cell.

    Raises:
        DataError: a population has no target.
        NetworkError: the cells have no `pop_name`.
    """
    models = group_cells(network.cells, "cell_model")
    populations = group_cells(network.cells, "population")
    unknown = [name for name in populations.labels if name not in targets.index]
    raise_if_any(
        [
            Problem("a population has no target rate", "target rates", name, "add its row")
            for name in unknown
        ],
        DataError,
    )
    first = np.unique(models.of_cell, return_index=True)[1]
    names = np.array(populations.labels)[populations.of_cell[first]]
    home = network.cells.attributes.get("borrowed_from")
    borrowed = [""] * len(first) if home is None else [_text(value) for value in home[first]]
    table = pd.DataFrame(
        {
            "cell_model": [int(label) for label in models.labels],
            "population": names,
            "borrowed_from": borrowed,
            "n_cells": models.sizes,
            "target_Hz": targets.loc[names].to_numpy(),
        }
    )
    return table, models.of_cell


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)
