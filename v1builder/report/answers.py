"""Figures of answers: confusions, and how answers depend on what was asked."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from v1builder.report.comparison_tables import named
from v1builder.report.palette import color_of, faint
from v1builder.report.plots import Plot, blank, harmless, level, named_axis

Row = dict[str, Any]

#: Up to so many classes the counts stand in the squares.
_COUNTS_MAX: Final = 12
#: What is drawn of a kind of question: the first there is, with its label and what chance gives.
_OF_KINDS: Final = {"share_1": "share of answers 1", "accuracy": "accuracy", "d_prime": "d'"}


def answer_plots(cells: Sequence[Row]) -> list[Plot]:
    """What there is of confusions and of answers by kind of question, by protocol.

    Args:
        cells: results with protocol, ablation and seed.
    """
    plots = []
    for protocol in dict.fromkeys(cell["protocol"] for cell in cells):
        own: dict[str, list[Row]] = {}
        for cell in cells:
            if cell["protocol"] == protocol:
                own.setdefault(cell["ablation"], []).append(cell)
        plots += [_kinds(protocol, own), _confusions(protocol, own)]
    return [plot for plot in plots if plot is not None]


def _confusions(protocol: str, by_ablation: dict[str, list[Row]]) -> Plot | None:
    """Answers by right answer, summed over seeds, a variant for every condition."""
    counts = {
        ablation: np.sum([run["confusion"] for run in runs], axis=0)
        for ablation, runs in by_ablation.items()
        if all(run.get("confusion") for run in runs)
    }
    if not counts:
        return None
    figure = blank("answer", "right answer", height=420, legend=False)
    for place, (ablation, count) in enumerate(counts.items()):
        asked = count.sum(axis=1, keepdims=True)
        share = np.divide(count, asked, out=np.zeros(count.shape), where=asked > 0)
        n = len(count)
        figure.add_heatmap(
            z=share,
            x=list(range(n)),
            y=list(range(n)),
            customdata=count,
            text=count.astype(int).astype(str) if n <= _COUNTS_MAX else None,
            colorscale="Blues",
            zmin=0,
            zmax=1,
            visible=place == 0,
            colorbar={"title": {"text": "share"}, "thickness": 12},
            texttemplate="%{text}" if n <= _COUNTS_MAX else None,
            hovertemplate="asked %{y}, answered %{x}: %{customdata} trials, %{z:.1%}<extra></extra>",
            name=harmless(ablation),
        )
    classes = list(range(len(next(iter(counts.values())))))
    if len(classes) <= _COUNTS_MAX:
        figure.update_xaxes(**named_axis(classes))
        figure.update_yaxes(**named_axis(classes))
    figure.update_yaxes(autorange="reversed", range=None, showgrid=False)
    figure.update_xaxes(showgrid=False)
    said = "; ".join(f"{a} {np.trace(c) / max(c.sum(), 1):.0%} right" for a, c in counts.items())
    return Plot(
        f"confusion-{protocol}",
        f"Confusions, {named(protocol)}",
        f"Answers by right answer, summed over seeds: {said}.",
        figure,
        "Numbers of test trials, summed over seeds; colours are shares of the trials with that right answer.",
        variants={ablation: [place] for place, ablation in enumerate(counts)},
    )


def _kinds(protocol: str, by_ablation: dict[str, list[Row]]) -> Plot | None:
    """Answers against what was asked: a psychometric curve where kinds have values."""
    runs = [run for of in by_ablation.values() for run in of]
    key = next((k for k in ("by_kind", "d_prime_by_kind") if all(run.get(k) for run in runs)), None)
    if key is None:
        return None
    quantity = next(
        (q for q in _OF_KINDS if all(q in row for run in runs for row in run[key])), None
    )
    if quantity is None:
        return None
    kinds = list(dict.fromkeys((row["kind"], row["value"]) for run in runs for row in run[key]))
    scaled = all(value is not None for _, value in kinds)
    order = sorted(kinds, key=lambda kind: kind[1]) if scaled else kinds
    place = {kind: (kind[1] if scaled else at) for at, kind in enumerate(order)}
    figure = blank("what was asked", _OF_KINDS[quantity])
    said = []
    for index, (ablation, of) in enumerate(by_ablation.items()):
        color, name = color_of(index), harmless(ablation)
        total: dict[float, list[tuple[float, int]]] = {}
        for run in of:
            seen = sorted(
                (place[row["kind"], row["value"]], row[quantity], row["n"])
                for row in run[key]
                if row[quantity] is not None
            )
            figure.add_scatter(
                x=[x for x, _, _ in seen],
                y=[y for _, y, _ in seen],
                mode="lines",
                line={"color": faint(color, 0.3), "width": 1},
                legendgroup=name,
                showlegend=False,
                name=f"{name}, seed {run['seed']}",
            )
            for x, y, n in seen:
                total.setdefault(x, []).append((y, n))
        x = sorted(total)
        y = [_pooled(total[at]) for at in x]
        threshold = _threshold(of)
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines+markers",
            line={"color": color, "width": 3},
            marker={"size": 7},
            legendgroup=name,
            name=name + threshold,
            hovertemplate="%{y:.3f}",
        )
        said.append(f"{ablation}{threshold}")
    if not scaled:
        figure.update_xaxes(**named_axis([kind for kind, _ in order], angle=-40))
    if quantity == "share_1":
        level(figure, 0.5, "")
        figure.update_yaxes(range=[-0.02, 1.02])
    thresholds = any("threshold" in each for each in said)
    return Plot(
        f"kinds-{protocol}",
        f"{'Psychometric curve' if scaled else 'Answers by kind of question'}, {named(protocol)}",
        f"{_OF_KINDS[quantity].capitalize()} against what was asked, for {', '.join(said)}.",
        figure,
        "Thick: all trials of all seeds; thin: every seed."
        + (" Threshold: three of four answers right, median over seeds." if thresholds else ""),
    )


def _pooled(values: Sequence[tuple[float, int]]) -> float:
    """Mean of (value, number of trials)."""
    return float(np.average([y for y, _ in values], weights=[n for _, n in values]))


def _threshold(runs: Sequence[Row]) -> str:
    found = [(run.get("psychometric") or {}).get("threshold_75") for run in runs]
    values = [value for value in found if value is not None]
    return f", threshold {np.median(values):.2g}" if values else ""
