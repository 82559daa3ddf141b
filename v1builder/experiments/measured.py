"""What was measured of the tested networks, compared: a table of all rows, and paired differences."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from v1builder.experiments.outcomes import BASELINE
from v1builder.experiments.statistics.paired import t_interval
from v1builder.schema.files import write_text

TABLE: Final = "measures.csv"
#: What a value is of, besides the condition and the seed.
_OF: Final = ["measure", "unit", "window", "level", "group"]


def measured_rows(results: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """One row per protocol, ablation, seed, measure, window, level and group: value, n and reason.

    `results` lose their rows, which are too many to stand in them twice.
    """
    rows = [
        {name: result[name] for name in ("protocol", "ablation", "seed")} | row
        for result in results
        for row in result.pop("measures", [])
    ]
    columns = ["protocol", "ablation", "seed", *_OF, "value", "n", "reason"]
    return pd.DataFrame(rows, columns=columns).astype({"value": float})


def write_measured(rows: pd.DataFrame, out: Path) -> None:
    """Write all rows as a table."""
    write_text(out / TABLE, rows.to_csv(index=False, lineterminator="\n"))


def summarise_measured(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """By condition and group: the mean over seeds, and the paired difference from intact, with t intervals.

    Descriptive: no tests. Only seeds count in which there is a value, for a difference in both networks.
    """
    found = []
    for _, of_key in rows.groupby(["protocol", *_OF], sort=False):
        named = of_key[["protocol", *_OF]].iloc[0].to_dict()
        by_ablation = {
            str(ablation): own.set_index("seed")["value"]
            for ablation, own in of_key.groupby("ablation", sort=False)
        }
        for ablation, values in by_ablation.items():
            row = named | {"ablation": ablation} | _estimate("", values)
            if ablation != BASELINE and BASELINE in by_ablation:
                row |= _estimate("difference_", values - by_ablation[BASELINE])
            if not row["n"]:
                reasons = of_key.loc[of_key["ablation"] == ablation, "reason"]
                row["reason"] = "; ".join(dict.fromkeys(reasons))
            found.append(row)
    return found


def _estimate(prefix: str, by_seed: Any) -> dict[str, Any]:
    """Mean, interval and number of the values of a series; None where there is none."""
    values = by_seed.dropna().to_list()
    low, high = t_interval(values) if len(values) > 1 else (np.nan, np.nan)
    mean = float(np.mean(values)) if values else np.nan
    numbers = {"mean": mean, "low": low, "high": high}
    known = {f"{prefix}{name}": float(x) if np.isfinite(x) else None for name, x in numbers.items()}
    return known | {f"{prefix}n": len(values)}
