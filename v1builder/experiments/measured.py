"""What was measured of the networks, compared: tables of all rows, and paired differences."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from v1builder.experiments.outcomes import BASELINE
from v1builder.experiments.statistics.paired import t_interval
from v1builder.schema.files import write_text
from v1builder.train.metric import TRAINED

#: Of activity, and of what training changed.
TABLE: Final = "measures.csv"
LEARNED_TABLE: Final = "learned.csv"
#: What a value is of, besides the condition and the seed. `at` is the point of a curve.
_OF: Final = ["measure", "unit", "phase", "window", "level", "group", "axis", "axis_unit", "at"]
_CONDITION: Final = ["protocol", "ablation", "seed"]
#: Levels of which curves, and changes of weights, are summarised; the rest is in the tables.
_COARSE: Final = ("network", "layer", "class", "class pair")


def measured_rows(results: Iterable[dict[str, Any]], key: str = "measures") -> pd.DataFrame:
    """One row per protocol, ablation, seed and what a value is of: value, n and reason.

    A value that belongs to no curve has no `at`.

    Args:
        results: lose their rows, which are too many to stand in them twice.
        key: of the rows, "measures" or "learned".
    """
    usual = {"phase": TRAINED, "axis": "", "axis_unit": "", "at": np.nan}
    rows = [
        {name: result[name] for name in _CONDITION} | usual | row
        for result in results
        for row in result.pop(key, [])
    ]
    columns = [*_CONDITION, *_OF, "value", "n", "reason"]
    return pd.DataFrame(rows, columns=columns).astype({"value": float, "at": float})


def rows_after_training(result: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The rows of a baseline where it stands for the trained network that other protocols start from."""
    return {
        key: [row for row in result.get(key, []) if row.get("phase", TRAINED) == TRAINED]
        for key in ("measures", "learned")
    }


def read_rows(run: Path, table: str) -> pd.DataFrame:
    """A table of a finished comparison; empty where it is not there."""
    path = run / table
    if not path.is_file():
        return measured_rows([])
    text: Any = dict.fromkeys((*_CONDITION[:2], *_OF[:-1], "reason"), str)
    nothing: Any = {"value": "", "at": ""}
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=nothing)


def together(*tables: pd.DataFrame) -> pd.DataFrame:
    """Tables as one; pandas wants none of them to be empty."""
    return pd.concat([table for table in tables if len(table)] or [tables[0]])


def write_measured(rows: pd.DataFrame, out: Path, table: str = TABLE) -> None:
    """Write all rows as a table."""
    write_text(out / table, rows.to_csv(index=False, lineterminator="\n"))


def coarse(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of coarse groups, of curves and of what training changed; all others as they are."""
    fine = ~rows["level"].isin(_COARSE)
    return rows.loc[~(fine & (rows["at"].notna() | rows["level"].str.endswith(" pair")))]


def summarise_measured(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """By condition and group: the mean over seeds, and the paired difference from intact, with t intervals.

    Descriptive: no tests. Only seeds count in which there is a value, for a difference in both networks.
    `cells` is the smallest number of cells (edges) that a value rests on.
    """
    groups: dict[tuple[Any, ...], dict[str, list[dict[str, Any]]]] = {}
    for row in rows.astype(object).where(rows.notna(), None).to_dict("records"):
        key = tuple(row[name] for name in ("protocol", *_OF))
        groups.setdefault(key, {}).setdefault(str(row["ablation"]), []).append(row)
    found = []
    for key, by_ablation in groups.items():
        named = dict(zip(("protocol", *_OF), key, strict=True))
        if not named["axis"]:
            named = {name: named[name] for name in named if name not in ("axis", "axis_unit", "at")}
        values = {
            ablation: {row["seed"]: row["value"] for row in own if row["value"] is not None}
            for ablation, own in by_ablation.items()
        }
        baseline = values.get(BASELINE)
        for ablation, own in by_ablation.items():
            known = values[ablation]
            row = named | {"ablation": ablation} | _estimate("", list(known.values()))
            sizes = [int(each["n"]) for each in own if each["value"] is not None]
            row["cells"] = min(sizes, default=None)
            if ablation != BASELINE and baseline is not None:
                both = sorted(known.keys() & baseline.keys())
                row |= _estimate("difference_", [known[seed] - baseline[seed] for seed in both])
            if not known:
                row["reason"] = "; ".join(dict.fromkeys(each["reason"] for each in own))
            found.append(row)
    return found


def _estimate(prefix: str, values: Sequence[float]) -> dict[str, Any]:
    """Mean, interval and number of values; None where there is none."""
    low, high = t_interval(values) if len(values) > 1 else (np.nan, np.nan)
    mean = float(np.mean(values)) if len(values) else np.nan
    numbers = {"mean": mean, "low": low, "high": high}
    known = {f"{prefix}{name}": float(x) if np.isfinite(x) else None for name, x in numbers.items()}
    return known | {f"{prefix}n": len(values)}
