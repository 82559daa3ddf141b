"""What the networks of a comparison score in their further tasks (`[[also]]`)."""

from typing import Any

import numpy as np

Row = dict[str, Any]


def further_tasks(comparison: Row) -> list[Row]:
    """One row per condition and further task: mean over seeds of its main score, and that of every seed."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for cell in comparison["cells"]:
        for task, also in cell.get("also", {}).items():
            if "main_score" in also:
                condition = (task, cell["ablation"], cell["protocol"])
                found.setdefault(condition, []).append(also["main_score"])
    rows = []
    for (task, ablation, protocol), scores in found.items():
        values = [score["value"] for score in scores]
        known = [value for value in values if value is not None]
        rows.append(
            {
                "task": task,
                "ablation": ablation,
                "protocol": protocol,
                "label": scores[0]["label"],
                "mean": f"{np.mean(known):.3f}" if known else "-",
                "seeds": ", ".join("-" if value is None else f"{value:.3f}" for value in values),
            }
        )
    return sorted(rows, key=lambda row: row["task"])
