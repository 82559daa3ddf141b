"""The recordings that travel with a network, reference/*.csv. A network made by others has none.

Whoever needs them asks before hours of training, not after.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from v1builder.schema.errors import DataError

#: In a network folder: quantiles of rates, OSI and DSI by cell type, see `analysis.invivo`.
IN_VIVO: Final = "reference/in_vivo.csv"
#: What was recorded, whatever the network that is compared with it.
RECORDINGS: Final = (IN_VIVO, "reference/background_target_rate.csv")
_IN_VIVO_COLUMNS: Final = (
    "cell_type", "metric", "n_units", "q05", "q25", "median", "q75", "q95",
)  # fmt: skip


def read_in_vivo(folder: Path | str) -> pd.DataFrame | None:
    """Quantiles of what was recorded in living mice, by cell type and metric.

    Args:
        folder: of a network, or its circuit configuration.

    Returns:
        Columns cell_type, metric, n_units, q05, q25, median, q75, q95; None when the network has none.

    Raises:
        DataError: the file cannot be read, lacks columns, or holds something other than numbers.
    """
    folder = Path(folder)
    path = (folder.parent if folder.is_file() else folder) / IN_VIVO
    if not path.exists():
        return None
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError.of("the recordings of a network cannot be read", path, error) from None
    missing = [name for name in _IN_VIVO_COLUMNS if name not in table]
    if missing:
        raise DataError.of(
            "the recordings of a network lack columns",
            path,
            ", ".join(missing),
            f"columns: {', '.join(_IN_VIVO_COLUMNS)}",
        )
    for name in _IN_VIVO_COLUMNS[2:]:
        numbers = np.asarray(pd.to_numeric(table[name], errors="coerce"), np.float64)
        if np.isnan(numbers).any():
            row = int(np.isnan(numbers).argmax())
            raise DataError.of(
                "a recorded value is not a number",
                f"{path}, row {row + 2}, column {name}",
                table[name].iloc[row],
                "restore the published table",
            )
    return table
