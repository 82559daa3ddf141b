"""The recordings that travel with a network, reference/*.csv. A network made by others has none.

Whoever needs them asks before hours of training, not after.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from v1builder.schema.errors import DataError

#: In a network folder: quantiles of rates, OSI and DSI by cell type, see `analysis.invivo`.
IN_VIVO: Final = "reference/in_vivo.csv"
#: Single units behind them, each a target of training or held out, see `schema.recordings`.
IN_VIVO_UNITS: Final = "reference/in_vivo_units.csv"
#: What was recorded, whatever the network that is compared with it.
RECORDINGS: Final = (IN_VIVO, IN_VIVO_UNITS, "reference/background_target_rate.csv")
_IN_VIVO_COLUMNS: Final = (
    "cell_type", "metric", "n_units", "q05", "q25", "median", "q75", "q95",
)  # fmt: skip
_UNIT_COLUMNS: Final = (
    "cell_type", "split", "osi", "dsi", "preferred_rate_Hz", "mean_rate_Hz", "spontaneous_rate_Hz",
)  # fmt: skip


def home_of(network: Path | str) -> Path:
    """The folder of a network that is given by its folder or by its circuit configuration."""
    path = Path(network)
    return path.parent if path.is_file() else path


def read_in_vivo(folder: Path | str) -> pd.DataFrame | None:
    """Quantiles of what was recorded in living mice, by cell type and metric.

    Args:
        folder: of a network, or its circuit configuration.

    Returns:
        Columns cell_type, metric, n_units, q05, q25, median, q75, q95; None when the network has none.

    Raises:
        DataError: the file cannot be read, lacks columns, or holds something other than numbers.
    """
    return _read(folder, IN_VIVO, _IN_VIVO_COLUMNS, _IN_VIVO_COLUMNS[2:], ())


def read_in_vivo_units(folder: Path | str) -> pd.DataFrame | None:
    """The single units of which some are targets of training and the others are held out.

    Args:
        folder: of a network, or its circuit configuration.

    Returns:
        Columns cell_type, split ("target" or "judge"), osi and dsi (NaN where no tuning was found),
        preferred_rate_Hz, mean_rate_Hz, spontaneous_rate_Hz; None when the network has none.

    Raises:
        DataError: the file cannot be read, lacks columns, or has a value that is no number or below 0.
    """
    return _read(folder, IN_VIVO_UNITS, _UNIT_COLUMNS, _UNIT_COLUMNS[2:], ("osi", "dsi"))


def _read(
    folder: Path | str,
    name: str,
    columns: Sequence[str],
    numbers: Sequence[str],
    may_be_empty: Sequence[str],
) -> pd.DataFrame | None:
    """A table of recordings, checked; None where there is no such file."""
    path = home_of(folder) / name
    if not path.exists():
        return None
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError.of("the recordings of a network cannot be read", path, error) from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise DataError.of(
            "the recordings of a network lack columns",
            path,
            ", ".join(missing),
            f"columns: {', '.join(columns)}",
        )
    for column in numbers:
        values = np.asarray(pd.to_numeric(table[column], errors="coerce"), np.float64)
        empty = table[column].isna().to_numpy() if column in may_be_empty else False
        for wrong, what in (
            (np.isnan(values) & ~np.asarray(empty), "a recorded value is not a number"),
            (values < 0, "a recorded value is negative"),
        ):
            if wrong.any():
                row = int(wrong.argmax())
                raise DataError.of(
                    what,
                    f"{path}, row {row + 2}, column {column}",
                    table[column].iloc[row],
                    "restore the published table",
                )
    return table
