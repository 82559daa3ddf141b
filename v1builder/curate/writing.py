"""Writing a table as the stores hold it: text that reads back to the same table."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from v1builder.schema.files import atomic_file, sha256_of


def write_table(path: Path, frame: pd.DataFrame) -> dict[str, Any]:
    """Write CSV with 10 significant digits, as the embedded tables have.

    Returns:
        {"sha256": ..., "rows": ...} for the provenance.
    """
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(frame.columns)
        for row in frame.itertuples(index=False):
            writer.writerow([_cell(value) for value in row])
    return {"sha256": sha256_of(path), "rows": len(frame)}


def _cell(value: Any) -> str:
    if value is None or value != value:  # NaN
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)
