"""Turn a finished comparison into one self-contained HTML page, its figures as files, and a table."""

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from v1builder.report import comparison_tables as tables
from v1builder.report import figures
from v1builder.report.canvas import save_figures, write_html
from v1builder.report.further_tasks import further_tasks
from v1builder.report.measured_figures import explanation_figure, measured_figures
from v1builder.schema.citations import write_citations
from v1builder.schema.errors import NetworkError
from v1builder.schema.files import write_text
from v1builder.schema.records import read_json, read_record

#: What the page is made of.
_KEYS = ("cells", "summary", "differences", "experiment", "sources", "provenance")


def _read(run: Path) -> dict[str, Any]:
    path = run / "comparison.json"
    fix = "run `v1builder compare EXPERIMENT.toml --out RUN` to its end"
    if not path.exists():
        raise NetworkError.of(
            "the folder holds no finished comparison", path, "no such file", f"{fix} first"
        )
    return read_record(path, fix=f"{fix} again", keys=_KEYS, error=NetworkError)


def _example(run: Path) -> Figure | None:
    """The network in a trial, where one was kept."""
    path = run / "example_trial.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as trial:
            return figures.network_figure(
                pd.DataFrame({name: trial[name] for name in ("x", "y", "ei", "pop_name")}),
                pd.DataFrame({"time": trial["spike_time"], "cell": trial["spike_cell"]}),
                (float(trial["stimulus"][0]), float(trial["stimulus"][1])),
            )
    except (OSError, ValueError, LookupError, TypeError, EOFError, BadZipFile) as error:
        fix = "remove it: the page is then made without its figure"
        raise NetworkError.of("a file is damaged", path, error, fix) from None


def _draw(comparison: dict[str, Any], run: Path) -> dict[str, Figure]:
    summary = pd.DataFrame(tables.shown(comparison))
    cells = pd.DataFrame(comparison["cells"])
    cells = cells.merge(summary[["protocol", "ablation"]].drop_duplicates())
    drawn = {}
    if (example := _example(run)) is not None:
        drawn["network"] = example
    scores = tables.scores_of(comparison)
    primary, main = scores[tables.primary_of(comparison)], next(iter(scores.values()))
    invalid = {(row["protocol"], row["ablation"]) for row in comparison.get("invalid", [])}
    drawn["outcome"] = figures.outcome_figure(cells, summary, primary, invalid)
    if curves := _learning_curves(comparison):
        drawn["learning"] = figures.learning_figure(curves, main)
    fitted = [curve for curve in comparison.get("dose", []) if "coefficients" in curve]
    if fitted:
        drawn["dose"] = figures.dose_figure(fitted, primary["label"])
    if comparison.get("rates"):
        drawn["rates"] = figures.rates_figure(
            pd.DataFrame(comparison["rates"]).set_index("population")
        )
    return drawn


def _learning_curves(comparison: dict[str, Any]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """By protocol that trains every condition, and ablation: [seed, point, 2] of (step, score)."""
    trained = {
        (row["protocol"], row["ablation"])
        for row in tables.shown(comparison)
        if row["metric"] == "area_under_curve"
    }
    curves: dict[str, dict[str, list[Any]]] = {}
    for cell in comparison["cells"]:
        if (cell["protocol"], cell["ablation"]) in trained:
            by_ablation = curves.setdefault(cell["protocol"], {})
            by_ablation.setdefault(cell["ablation"], []).append(cell["learning_curve"])
    return {
        protocol: {ablation: np.array(curve) for ablation, curve in by_ablation.items()}
        for protocol, by_ablation in curves.items()
    }


def headline(comparison: dict[str, Any]) -> list[str]:
    """What came out, in sentences, also when nothing did: the answer, its validity, and whether it learned.

    Judged by Student's t, not by the bootstrap interval: with few seeds that is too narrow.
    """
    main = next(iter(tables.scores_of(comparison).values()))
    intact = next(
        row
        for row in comparison["summary"]
        if row["ablation"] == "intact" and row["metric"] == main["name"]
    )
    low, high = intact["t_interval"]
    above = low is not None and low > main["chance"]
    proportion = main["unit"] == "proportion"
    form = ".1%" if proportion else ".2f"
    between = "no interval" if low is None else f"95 % interval {low:{form}} to {high:{form}}"
    said = (
        f"answers {intact['mean']:.1%} of held-out trials correctly"
        if main["name"] == "accuracy"
        else f"reaches {main['label']} {intact['mean']:{form}} on held-out trials"
    )
    chance = f"{main['chance']:.0%}" if proportion else f"{main['chance']:g}"
    answer = comparison.get(
        "sentence", "Made by an earlier version, without verdicts: run `v1builder compare` again."
    )
    return [
        answer,
        tables.validity(comparison),
        f"The intact network {said} ({between}, {intact['n']} seeds; chance {chance}): "
        f"{'above' if above else 'not distinguishable from'} chance.",
    ]


def _judged(run: Path) -> dict[str, Any] | None:
    """What `v1builder judge RUN --out RUN/judge.md` found; None where it was not asked."""
    path = run / "judge.json"
    if not path.is_file():
        return None
    return read_json(path, fix="run `v1builder judge` again", error=NetworkError)


def write_report(run: Path | str) -> Path:
    """Write RUN/report/: index.html, comparison.csv, the figures as PNG, and what to cite.

    Args:
        run: folder of a finished `compare`.

    Returns:
        Path of the page.

    Raises:
        NetworkError: the folder holds no finished comparison.
        StorageError: the report cannot be written.
    """
    run = Path(run)
    comparison = _read(run)
    folder = run / "report"
    shown = measured_figures(comparison)
    explained = tables.explanations(comparison)
    images = save_figures(
        folder,
        _draw(comparison, run)
        | {name: drawn.figure for name, drawn in shown.items()}
        | {
            row["name"]: explanation_figure(one)
            for row, one in zip(explained, comparison.get("explanation", []), strict=True)
            if row["drawn"]
        },
    )
    table = pd.DataFrame(
        [
            {name: value for name, value in cell.items() if not isinstance(value, dict | list)}
            for cell in comparison["cells"]
        ]
    )
    write_text(folder / "comparison.csv", table.to_csv(index=False, lineterminator="\n"))
    if comparison["sources"]:
        write_citations(folder, comparison)
    return write_html(
        folder / "index.html",
        "page.html.jinja",
        comparison=comparison,
        headline=headline(comparison),
        results=tables.results(comparison),
        further=further_tasks(comparison),
        learning=tables.learning(comparison),
        points=tables.operating_points(comparison),
        judged=_judged(run),
        measured=tables.measured(comparison),
        drawn=shown,
        explained=explained,
        named=tables.named,
        number=tables.number,
        span=tables.span,
        dose=tables.dose,
        primary=tables.scores_of(comparison)[tables.primary_of(comparison)]["label"],
        images=images,
        settings=json.dumps(comparison["experiment"], indent=2),
        versions=comparison["provenance"]["versions"],
    )
