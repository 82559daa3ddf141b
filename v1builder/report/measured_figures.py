"""Figures of whatever was measured: dots by condition and by type of cell, curves where there is an axis."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from v1builder.report.canvas import STYLE, color_of, new_figure
from v1builder.report.comparison_tables import named

Row = dict[str, Any]

#: From the finest that is drawn; of these the first that a measure has values at.
_TYPES: Final = ("population", "class pair", "class", "layer")
_CONTROL: Final = "_control"
_MARKERS: Final = {"observed": "x", "untrained": "o", "trained": "s", "training": "s"}
#: Beyond so many conditions curves cannot be told apart.
_CURVES_MAX: Final = 8


@dataclass(frozen=True)
class Drawn:
    """A figure and what a reader must know of it."""

    figure: Figure
    title: str
    caption: str


def measured_figures(comparison: Row) -> dict[str, Drawn]:
    """A figure for every measure that has values, by a name for its file."""
    rows = [*comparison.get("measures", []), *comparison.get("learned", [])]
    rows = [row for row in rows if row["n"]]
    drawn = {}
    for measure in dict.fromkeys(row["measure"] for row in rows):
        if measure.endswith(_CONTROL):
            continue  # beside what it is the control of
        own = [row for row in rows if row["measure"] == measure]
        points = [row for row in own if "at" not in row]
        control = [row for row in rows if row["measure"] == measure + _CONTROL]
        if points:
            drawn[f"measure-{measure}"] = _dots(measure, points, control)
        curves = [row for row in own if "at" in row and row["level"] == "network"]
        if curves:
            drawn[f"curve-{measure}"] = _curves(measure, curves)
    return drawn


def _dots(measure: str, rows: list[Row], control: list[Row]) -> Drawn:
    window = _usual([row["window"] for row in rows])
    protocol = rows[0]["protocol"]
    shown = [row for row in rows if (row["window"], row["protocol"]) == (window, protocol)]
    network = [row for row in shown if row["level"] == "network"]
    intact = [row for row in shown if row["ablation"] == "intact"]
    level = next((each for each in _TYPES if any(r["level"] == each for r in intact)), None)
    types = [row for row in intact if row["level"] == level]
    beside = [
        row
        for row in control
        if row["level"] == level and row["ablation"] == "intact" and row["protocol"] == protocol
    ]
    panels = [(part, key) for part, key in ((network, "ablation"), (types, "group")) if part]
    widths = [1.2 + 0.34 * len({row[key] for row in part}) for part, key in panels]
    width = min(12.0, max(4.0, sum(widths)))
    figure, axes = new_figure(width, 3.2, max(1, len(panels)))
    unit = rows[0]["unit"]
    with mpl.rc_context(STYLE):
        for ax, (part, key) in zip(axes, panels, strict=False):
            _groups(ax, part, key, beside if key == "group" else [])
            ax.set_ylabel(measure.replace("_", " ") + ("" if unit == "1" else f" ({unit})"))
            ax.set_title("by condition" if key == "ablation" else f"intact, by {level}")
    return Drawn(figure, measure, _caption(shown, window, protocol))


def _groups(ax: Axes, rows: list[Row], key: str, control: list[Row]) -> None:
    """Mean and interval by group, a marker for every phase, side by side."""
    groups = list(dict.fromkeys(row[key] for row in rows))
    series = [(phase, [r for r in rows if r["phase"] == phase]) for phase in _MARKERS]
    series = [(phase, own) for phase, own in series if own]
    if control:
        series.append(("as many at random", control))
    for number, (name, own) in enumerate(series):
        offset = 0.22 * (number - (len(series) - 1) / 2)
        by_group = {row[key]: row for row in own}
        places = [i + offset for i, group in enumerate(groups) if group in by_group]
        chosen = [by_group[group] for group in groups if group in by_group]
        color = color_of(number + 1)
        marker = _MARKERS.get(name, "o")
        face = "none" if name in ("untrained", "as many at random") else color
        _errorbars(ax, places, chosen, color)
        means = [row["mean"] for row in chosen]
        ax.plot(places, means, marker, color=color, ms=4.5, markerfacecolor=face, label=name)
    ax.set_xticks(range(len(groups)), groups, rotation=60, ha="right", fontsize=7)
    if len(series) > 1:
        ax.legend(fontsize=7)


def _errorbars(ax: Axes, places: Sequence[float], rows: Sequence[Row], color: str) -> None:
    for place, row in zip(places, rows, strict=True):
        if row["low"] is not None:
            ax.plot([place] * 2, [row["low"], row["high"]], color=color, lw=1.4)


def _curves(measure: str, rows: list[Row]) -> Drawn:
    """Mean and interval along the axis, a line for every condition; dashed before training."""
    window, protocol = _usual([row["window"] for row in rows]), rows[0]["protocol"]
    shown = [row for row in rows if (row["window"], row["protocol"]) == (window, protocol)]
    figure, (ax,) = new_figure(6.4, 3.4)
    first = shown[0]
    with mpl.rc_context(STYLE):
        ablations = list(dict.fromkeys(row["ablation"] for row in shown))[:_CURVES_MAX]
        for number, ablation in enumerate(ablations):
            for phase in dict.fromkeys(row["phase"] for row in shown):
                own = sorted(_of(shown, ablation, phase), key=lambda row: row["at"])
                if own:
                    _line(ax, own, color_of(number), ablation, phase)
        ax.set_xlabel(_with_unit(first["axis"], first["axis_unit"]))
        ax.set_ylabel(_with_unit(measure.replace("_", " "), first["unit"]))
        ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return Drawn(figure, measure, _caption(shown, window, protocol))


def _of(rows: list[Row], ablation: str, phase: str) -> Iterator[Row]:
    return (row for row in rows if (row["ablation"], row["phase"]) == (ablation, phase))


def _line(ax: Axes, rows: list[Row], color: str, ablation: str, phase: str) -> None:
    x = [row["at"] for row in rows]
    dashed = phase == "untrained"
    label = f"{ablation}, {phase}" if dashed else ablation
    ax.plot(x, [r["mean"] for r in rows], "--" if dashed else "-", color=color, lw=1.6, label=label)
    ends = np.array([[row["low"], row["high"]] for row in rows], dtype=float)
    if np.isfinite(ends).all() and not dashed:
        ax.fill_between(x, ends[:, 0], ends[:, 1], color=color, alpha=0.12, lw=0)


def _with_unit(name: str, unit: str) -> str:
    return name if unit in ("", "1") else f"{name} ({unit})"


def _usual(windows: Sequence[str]) -> str:
    return "evoked" if "evoked" in windows else windows[0]


def _caption(rows: list[Row], window: str, protocol: str) -> str:
    seeds = [row["n"] for row in rows]
    cells = [row["cells"] for row in rows if row.get("cells") is not None]
    of = f", from {min(cells)} to {max(cells)} cells or edges" if cells else ""
    n = str(max(seeds)) if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
    return f"{window}, {named(protocol)}: mean and Student's 95 % interval over {n} seeds{of}."


def explanation_figure(one: Row) -> Figure:
    """Change of the outcome against change of a metric, a point for every condition.

    Interventions are diamonds. The line is that of the slope over conditions, where there is one.

    Args:
        one: an explanation that has points.
    """
    figure, (ax,) = new_figure(5.2, 3.6)
    points = one["points"]
    with mpl.rc_context(STYLE):
        for number, point in enumerate(points):
            color, marker = color_of(number), "D" if point["intervention"] else "o"
            for low, high, x in (
                ("metric_low", "metric_high", True),
                ("outcome_low", "outcome_high", False),
            ):
                if point[low] is not None:
                    ends, at = [point[low], point[high]], [point["outcome" if x else "metric"]] * 2
                    ax.plot(*((ends, at) if x else (at, ends)), color=color, lw=1)
            ax.plot(
                point["metric"],
                point["outcome"],
                marker,
                ms=5,
                color=color,
                label=point["ablation"],
            )
        slope = one["slope"]["mean"]
        if slope is not None:
            x = np.array([point["metric"] for point in points])
            y = np.array([point["outcome"] for point in points])
            grid = np.array([x.min(), x.max()])
            ax.plot(grid, y.mean() + slope * (grid - x.mean()), color="#888888", lw=1, ls="--")
        ax.axhline(0, color="#cccccc", lw=0.8, zorder=0)
        ax.axvline(0, color="#cccccc", lw=0.8, zorder=0)
        ax.set_xlabel(_with_unit(f"change of {one['metric']}", one["unit"]))
        ax.set_ylabel(f"change of {one['label']}")
        ax.set_title(named(one["protocol"]))
        ax.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
