"""A verdict (`experiments.judge`) as tables for people."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from v1builder.schema.files import write_json, write_text


def markdown(result: Mapping[str, Any]) -> str:
    """The tables of a verdict."""
    networks = result["networks"]
    names = list(networks)
    lines = [f"> {note}\n" for note in result["notes"]]
    lines += _table(
        ["aim", *names],
        [
            [
                row["aim"] + _bound(row),
                *(_verdict(networks[name]["aims"], row["aim"]) for name in names),
            ]
            for row in networks[names[-1]]["aims"]
        ],
    )
    lines += _table(
        ["cell type", "metric", "units", "recorded median",
         *(f"{name}: {what}" for name in names for what in ("median", "1 - KS"))],
        [
            [row["cell_type"], row["metric"], row["n_units"], _number(row["recorded_median"]),
             *(text for name in names for text in _of_type(networks[name]["by_type"][index]))]
            for index, row in enumerate(networks[names[-1]]["by_type"])
        ],
    )  # fmt: skip
    for title, key in (("contrast slope (Hz/octave)", "contrast_slope"),):
        groups = networks[names[-1]][key]
        rows = [[group, *(_number(networks[n][key].get(group)) for n in names)] for group in groups]
        lines += _table([title, *names], rows)
    for window in networks[names[-1]]["population_fano"]:
        cells = networks[names[-1]]["population_cells"]
        lengths = networks[names[-1]]["population_fano"][window]
        rows = [
            [length, *(_number(networks[n]["population_fano"][window][length]) for n in names)]
            for length in lengths
        ]
        lines += _table([f"Fano factor of {cells} cells, {window}", *names], rows)
    lines += _table(
        ["rate on images (Hz)", "recorded, gratings", *names],
        [
            [
                group,
                _number(row["recorded_Hz"]),
                *(_number(networks[n]["images"][group]["rate_Hz"]) for n in names),
            ]
            for group, row in networks[names[-1]]["images"].items()
        ],
    )
    return "\n".join(lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return [*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""]


def _bound(row: Mapping[str, Any]) -> str:
    if "least" in row:
        return f" >= {row['least']:g}"
    return f" <= {row['most']:g}" if "most" in row else ""


def _verdict(rows: Sequence[Mapping[str, Any]], aim: str) -> str:
    row = next((row for row in rows if row["aim"] == aim), None)
    if row is None:
        return ""
    said = {True: "met", False: "not met", None: "cannot be said"}[row["met"]]
    if "vip" in row and row["met"] is not None:
        return f"{row['vip']:.3g}, {row['sst']:.3g}: {said}"
    return said if row["value"] is None else f"{row['value']:.3g}: {said}"


def _of_type(row: Mapping[str, Any]) -> tuple[str, str]:
    return _number(row["median"]), row["reason"] or _number(row["score"])


def _number(value: float | None) -> str:
    return "" if value is None or not np.isfinite(value) else f"{value:.3g}"


def write(result: Mapping[str, Any], out: Path) -> None:
    """Write OUT, the tables as Markdown; beside it, as .json, all of it."""
    write_text(out, markdown(result))
    write_json(out.with_suffix(".json"), dict(result))
