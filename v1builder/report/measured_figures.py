"""Figures of whatever was measured: dots by condition and by type of cell, curves where there is an axis."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from v1builder.report.comparison_tables import named
from v1builder.report.palette import color_of, faint
from v1builder.report.plots import Plot, blank, harmless, known, named_axis, segments

Row = dict[str, Any]

#: From the finest that is drawn; of these the first that a measure has values at.
_TYPES: Final = ("population", "class pair", "class", "layer")
_CONTROL: Final = "_control"
_SYMBOLS: Final = {
    "observed": "x",
    "untrained": "circle",
    "trained": "square",
    "training": "square",
}
#: Beyond so many conditions curves cannot be told apart.
_CURVES_MAX: Final = 8
_PAIRS: Final = "class pair"
_CHANGES: Final = {
    "weight_change_mean": "mean change of log|w|",
    "weight_change_rms": "rms change of log|w|",
    "weight_strengthened_share": "share of edges that became stronger",
}


@dataclass(frozen=True)
class MeasuredPlots:
    """A measure and the figures of it."""

    title: str
    caption: str
    plots: list[Plot] = field(default_factory=list)


def measured_plots(comparison: Row) -> list[MeasuredPlots]:
    """The figures of every measure that has values."""
    rows = [*comparison.get("measures", []), *comparison.get("learned", [])]
    rows = [{"phase": "trained", **row} for row in rows if row["n"]]  # earlier versions say none
    drawn = []
    for measure in dict.fromkeys(row["measure"] for row in rows):
        if measure.endswith(_CONTROL):
            continue  # beside what it is the control of
        own = [row for row in rows if row["measure"] == measure]
        points = [row for row in own if "at" not in row]
        control = [row for row in rows if row["measure"] == measure + _CONTROL]
        curves = [row for row in own if "at" in row and row["level"] == "network"]
        if points:
            drawn.append(_dots(measure, points, control))
        if curves:
            drawn.append(_curves(measure, curves))
    return drawn


def _dots(measure: str, rows: list[Row], control: list[Row]) -> MeasuredPlots:
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
    label = _with_unit(measure.replace("_", " "), rows[0]["unit"])
    found = MeasuredPlots(measure, _caption(shown, window, protocol))
    for part, key, what in (
        (network, "ablation", "by condition"),
        (types, "group", f"intact, by {level}"),
    ):
        if part:
            name = f"measure-{measure}-{key}"
            found.plots.append(
                _groups(name, part, key, what, label, beside if key == "group" else [])
            )
    return found


def _groups(
    name: str, rows: list[Row], key: str, what: str, label: str, control: list[Row]
) -> Plot:
    """Mean and interval by group, a marker for every phase, side by side."""
    groups = list(dict.fromkeys(row[key] for row in rows))
    series = [(phase, [r for r in rows if r["phase"] == phase]) for phase in _SYMBOLS]
    series = [(phase, own) for phase, own in series if own]
    if control:
        series.append(("as many at random", control))
    figure = blank("", harmless(label), legend=len(series) > 1, margin=(64, 96))
    for number, (phase, own) in enumerate(series):
        offset = 0.22 * (number - (len(series) - 1) / 2)
        by_group = {row[key]: row for row in own}
        chosen = [(i + offset, by_group[g]) for i, g in enumerate(groups) if g in by_group]
        color, symbol = color_of(number + 1), _SYMBOLS.get(phase, "circle")
        if phase in ("untrained", "as many at random"):
            symbol += "-open"
        x, y = segments([(row["low"], row["high"], at) for at, row in chosen], upright=True)
        figure.add_scatter(
            x=x, y=y, mode="lines", line={"color": color, "width": 2}, showlegend=False,
            hoverinfo="skip",
        )  # fmt: skip
        figure.add_scatter(
            x=[at for at, _ in chosen],
            y=[row["mean"] for _, row in chosen],
            mode="markers",
            marker={"symbol": symbol, "size": 8, "color": color, "line": {"width": 1.5}},
            name=phase,
            hovertemplate="%{y:.4g}",
        )
    figure.update_xaxes(**named_axis(groups, angle=-60))
    said = ", ".join(f"{row[key]} {row['mean']:.3g}" for row in series[-1 if not control else 0][1])
    return Plot(name, what, f"{label}, {what}: {said}.", figure)


def _curves(measure: str, rows: list[Row]) -> MeasuredPlots:
    """Mean and interval along the axis, a line for every condition; dashed before training."""
    window, protocol = _usual([row["window"] for row in rows]), rows[0]["protocol"]
    shown = [row for row in rows if (row["window"], row["protocol"]) == (window, protocol)]
    first = shown[0]
    label = _with_unit(measure.replace("_", " "), first["unit"])
    axis = _with_unit(first["axis"], first["axis_unit"])
    figure = blank(harmless(axis), harmless(label))
    ablations = list(dict.fromkeys(row["ablation"] for row in shown))[:_CURVES_MAX]
    for number, ablation in enumerate(ablations):
        for phase in dict.fromkeys(row["phase"] for row in shown):
            own = sorted(_of(shown, ablation, phase), key=lambda row: row["at"])
            if not own:
                continue
            color, dashed = color_of(number), phase == "untrained"
            x = [row["at"] for row in own]
            figure.add_scatter(
                x=x,
                y=[row["mean"] for row in own],
                mode="lines",
                line={"color": color, "width": 2, "dash": "dash" if dashed else "solid"},
                name=harmless(f"{ablation}, {phase}" if dashed else ablation),
            )
            low, high = known(row["low"] for row in own), known(row["high"] for row in own)
            if len(low) == len(high) == len(own) and not dashed:
                figure.add_scatter(
                    x=[*x, *x[::-1]],
                    y=[*low, *high[::-1]],
                    fill="toself",
                    fillcolor=faint(color, 0.12),
                    line={"width": 0},
                    mode="lines",
                    showlegend=False,
                    hoverinfo="skip",
                )
    alt = f"{label} against {axis}, for {', '.join(ablations)}."
    caption = _caption(shown, window, protocol)
    return MeasuredPlots(
        f"{measure}, curve", caption, [Plot(f"curve-{measure}", label, alt, figure)]
    )


def _of(rows: list[Row], ablation: str, phase: str) -> Iterator[Row]:
    return (row for row in rows if (row["ablation"], row["phase"]) == (ablation, phase))


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


def change_plots(comparison: Row) -> list[Plot]:
    """Changes of weights by training, from type to type, a variant for every condition and number."""
    rows = [
        row
        for row in comparison.get("learned", [])
        if row["level"] == _PAIRS and row["measure"] in _CHANGES and row["n"]
    ]
    plots = []
    for place, (protocol, window) in enumerate(
        dict.fromkeys((row["protocol"], row["window"]) for row in rows)
    ):
        own = [row for row in rows if (row["protocol"], row["window"]) == (protocol, window)]
        ends = [row["group"].split(">", 1) for row in own]
        pre, post = (list(dict.fromkeys(end[side] for end in ends)) for side in (0, 1))
        figure = blank("to", "from", height=140 + 44 * len(pre), legend=False)
        variants = {}
        for measure, label in _CHANGES.items():
            for ablation in dict.fromkeys(row["ablation"] for row in own):
                z = np.full((len(pre), len(post)), np.nan)
                for row, (a, b) in zip(own, ends, strict=True):
                    if (row["measure"], row["ablation"]) == (measure, ablation):
                        z[pre.index(a), post.index(b)] = row["mean"]
                if np.isnan(z).all():
                    continue
                variants[f"{label}, {ablation}"] = [len(variants)]
                top = float(np.nanmax(np.abs(z - 0.5 if "share" in measure else z))) or 1.0
                middle = 0.5 if "share" in measure else 0.0
                figure.add_heatmap(
                    z=z,
                    zmin=0 if measure.endswith("rms") else middle - top,
                    zmax=middle + top,
                    colorscale="Blues" if measure.endswith("rms") else "RdBu_r",
                    texttemplate="%{z:.2g}",
                    visible=len(variants) == 1,
                    colorbar={"thickness": 12},
                    hovertemplate="%{z:.3g}<extra></extra>",
                )
        figure.update_xaxes(**named_axis(post), showgrid=False)
        figure.update_yaxes(**named_axis(pre), showgrid=False)
        figure.update_yaxes(range=[len(pre) - 0.5, -0.5])
        figure.update_xaxes(range=[-0.5, len(post) - 0.5])
        plots.append(
            Plot(
                f"changes-{place}",
                f"{window}, {named(protocol)}",
                f"Change of weights of {window} by training, by class of source and target; see learned.csv.",
                figure,
                "Mean over seeds. Red: stronger, blue: weaker (of the rms: darker is more).",
                variants=variants,
            )
        )
    return plots
