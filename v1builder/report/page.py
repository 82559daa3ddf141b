"""Turn a comparison, finished or not, into one self-contained page, a table, and what to cite."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from v1builder.load import load_network
from v1builder.report import comparison_tables as tables
from v1builder.report.answers import answer_plots
from v1builder.report.column import (
    COLUMN,
    ShownColumn,
    column_data,
    column_of,
    column_plot,
    read_column,
)
from v1builder.report.figures import (
    difference_plots,
    dose_plots,
    explanation_plot,
    learning_plots,
    outcome_plots,
)
from v1builder.report.further_tasks import further_tasks
from v1builder.report.headline import headline, rests
from v1builder.report.measured_figures import change_plots, measured_plots
from v1builder.report.plots import Plot
from v1builder.report.rate_figures import operating_plots, rates_plot
from v1builder.report.templates import write_interactive
from v1builder.report.trial import Trial, read_trial, trial_plot
from v1builder.schema.citations import write_citations
from v1builder.schema.errors import NetworkError, V1BuilderError
from v1builder.schema.files import write_text
from v1builder.schema.records import read_json, read_record

#: A finished comparison, and what there is of one that is still running.
FINISHED: Final = "comparison.json"
UNFINISHED: Final = "unfinished.json"
#: What the page is made of.
_KEYS: Final = ("cells", "summary", "differences", "experiment", "sources", "provenance")
_TITLES: Final = {
    "operating-point": "Operating point",
    "network": "The network",
    "learning": "Learning",
    "differences": "Results",
    "dose": "Dose",
    "parts": "Parts",
    "explained": "Explanations",
    "answers": "Answers",
    "changes": "Changes of weights",
    "judged": "Recordings",
    "measures": "Measures",
    "matching": "Rate matching",
    "sources": "Sources",
}


def _read(run: Path) -> dict[str, Any]:
    fix = "run `v1builder compare EXPERIMENT.toml --out RUN` to its end"
    for name in (UNFINISHED, FINISHED):
        path = run / name
        if path.exists():
            return read_record(path, fix=f"{fix} again", keys=_KEYS, error=NetworkError)
    raise NetworkError.of(
        "the folder holds no comparison with results",
        run / FINISHED,
        "no such file",
        f"{fix} first",
    )


def _judged(run: Path) -> dict[str, Any] | None:
    """What `v1builder judge RUN --out RUN/judge.md` found; None where it was not asked."""
    path = run / "judge.json"
    if not path.is_file():
        return None
    return read_json(path, fix="run `v1builder judge` again", error=NetworkError)


def write_report(run: Path | str) -> Path:
    """Write RUN/report/: index.html, comparison.csv, and what to cite.

    Args:
        run: folder of a `compare`; of one that is still running the page says what there is.

    Returns:
        Path of the page.

    Raises:
        NetworkError: the folder holds no results of a comparison, or a file in it is damaged.
        StorageError: the report cannot be written.
    """
    run = Path(run)
    comparison = _read(run)
    folder = run / "report"
    trial = read_trial(run)
    column, column_note = _column(run, comparison, trial)
    explained = tables.explanations(comparison)
    drawn = measured_plots(comparison)
    judged = _judged(run)
    plots = _plots(comparison, trial, column, explained)
    _write_tables(folder, comparison)
    absent = {name for name in ("network", "learning", "answers", "changes") if not plots[name]}
    absent |= {name for name in ("dose",) if not comparison.get(name)}
    absent |= {"parts"} if not (comparison.get("mixed") or comparison.get("shapley")) else set()
    absent |= {"explained"} if not explained else set()
    absent |= {"judged"} if not judged else set()
    absent |= {"measures"} if not drawn else set()
    shown = {"measures": [plot for one in drawn for plot in one.plots]}
    return write_interactive(
        folder / "index.html",
        "page.html.jinja",
        plots | shown,
        {} if column is None else {"column": column_data(column)},
        comparison=comparison,
        headline=headline(comparison),
        rests=rests(comparison),
        sections=[(name, title) for name, title in _TITLES.items() if name not in absent],
        column_note=column_note,
        results=tables.results(comparison),
        further=further_tasks(comparison),
        learning=tables.learning(comparison),
        points=tables.operating_points(comparison),
        judged=judged,
        measured=tables.measured(comparison),
        drawn=drawn,
        explained=explained,
        named=tables.named,
        number=tables.number,
        span=tables.span,
        dose=tables.dose,
        primary=tables.scores_of(comparison)[tables.primary_of(comparison)]["label"],
        settings=json.dumps(comparison["experiment"], indent=2),
        versions=comparison["provenance"]["versions"],
    )


def _write_tables(folder: Path, comparison: dict[str, Any]) -> None:
    """The results as a table, and what to cite."""
    table = pd.DataFrame(
        [
            {name: value for name, value in cell.items() if not isinstance(value, dict | list)}
            for cell in comparison["cells"]
        ]
    )
    write_text(folder / "comparison.csv", table.to_csv(index=False, lineterminator="\n"))
    if comparison["sources"]:
        write_citations(folder, comparison)


def _plots(
    comparison: dict[str, Any],
    trial: Trial | None,
    column: ShownColumn | None,
    explained: list[dict[str, Any]],
) -> dict[str, list[Plot]]:
    """Figures by section."""
    summary = tables.shown(comparison)
    conditions = {(row["protocol"], row["ablation"]) for row in summary}
    cells = [c for c in comparison["cells"] if (c["protocol"], c["ablation"]) in conditions]
    scores = tables.scores_of(comparison)
    primary, main = scores[tables.primary_of(comparison)], next(iter(scores.values()))
    invalid = {(row["protocol"], row["ablation"]) for row in comparison.get("invalid", [])}
    differences = [
        row for row in comparison["differences"] if (row["protocol"], row["ablation"]) in conditions
    ]
    return {
        "operating": operating_plots(cells, comparison.get("bars")),
        "network": [
            *([] if column is None else [column_plot(column)]),
            *([] if trial is None else [trial_plot(trial)]),
            *([rates_plot(comparison["rates"])] if comparison.get("rates") else []),
        ],
        "learning": learning_plots(_learning_curves(cells, summary), main),
        "differences": difference_plots(differences, primary, invalid),
        "outcome": outcome_plots(cells, summary, primary, invalid),
        "dose": dose_plots(
            [curve for curve in comparison.get("dose", []) if "coefficients" in curve],
            primary["label"],
        ),
        "explained": [
            explanation_plot(row["name"], one)
            for row, one in zip(explained, comparison.get("explanation", []), strict=True)
            if row["drawn"]
        ],
        "answers": answer_plots(cells),
        "changes": change_plots(comparison),
    }


def _learning_curves(
    cells: list[dict[str, Any]], summary: list[dict[str, Any]]
) -> dict[str, dict[str, dict[int, Any]]]:
    """By protocol that trains every condition, ablation and seed: pairs of (step, score)."""
    trained = {(r["protocol"], r["ablation"]) for r in summary if r["metric"] == "area_under_curve"}
    curves: dict[str, dict[str, dict[int, Any]]] = {}
    for cell in cells:
        if (cell["protocol"], cell["ablation"]) in trained:
            by_ablation = curves.setdefault(cell["protocol"], {})
            by_ablation.setdefault(cell["ablation"], {})[cell["seed"]] = cell["learning_curve"]
    return curves


def _column(
    run: Path, comparison: dict[str, Any], trial: Trial | None
) -> tuple[ShownColumn | None, str]:
    """The column that the run kept, or that of its network if it is still there; and what to know of it."""
    if (column := read_column(run / COLUMN)) is not None:
        return column, "Connections are those of the first seed's intact network after training."
    path = comparison["experiment"].get("network", {}).get("path")
    if trial is None or path is None:
        return None, ""
    try:
        network = load_network(path.format(seed=comparison["seeds"][0]))
    except V1BuilderError:
        return None, "The network is no longer where it was, so its cells are not shown."
    names = network.cells.attributes.get("pop_name")
    if names is None or not np.array_equal(names.astype(str), trial.population):
        return None, "The network is not the one that was trained, so its cells are not shown."
    return column_of(network), "Connections are those of the network as built."
