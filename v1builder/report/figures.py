"""Figures of the results of a comparison: outcome, differences, learning, dose, explanations."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from v1builder.report.comparison_tables import named, number
from v1builder.report.palette import color_of, faint
from v1builder.report.plots import GRAY, Plot, blank, harmless, known, level, named_axis, segments

Row = dict[str, Any]
ConditionKey = tuple[str, str]  # protocol, ablation

#: Ends of intervals that are further off than so many times the range of the seeds are outside the view.
_VIEW: Final = 2.0


def outcome_plots(
    cells: Sequence[Row], summary: Sequence[Row], score: Row, invalid: set[ConditionKey]
) -> list[Plot]:
    """The primary outcome of every condition: mean with interval, and every seed, joined across conditions.

    Conditions outside the bars of the operating point are drawn hollow.

    Args:
        cells: results with protocol, ablation, seed and the outcome.
        summary: rows with protocol, ablation, metric, mean, low, high.
        score: name, label, chance and ceiling of the outcome.
        invalid: (protocol, ablation) of conditions outside the bars.
    """
    plots = []
    for protocol in dict.fromkeys(row["protocol"] for row in summary):
        rows = [r for r in summary if (r["protocol"], r["metric"]) == (protocol, score["name"])]
        if not rows:
            continue
        ablations = [row["ablation"] for row in rows]
        place = {name: at for at, name in enumerate(ablations)}
        figure = blank("", f"held-out {score['label']}", legend=False)
        own = [cell for cell in cells if cell["protocol"] == protocol]
        for seed in sorted({cell["seed"] for cell in own}):
            of = {c["ablation"]: c[score["name"]] for c in own if c["seed"] == seed}
            shown = [name for name in ablations if of.get(name) is not None]
            figure.add_scatter(
                x=[place[name] for name in shown],
                y=[of[name] for name in shown],
                mode="lines+markers",
                line={"color": "#b5b5b5", "width": 1},
                marker={"size": 5},
                name=f"seed {seed}",
                hovertemplate="%{y:.3f}",
            )
        for row in rows:
            at, color = place[row["ablation"]], color_of(place[row["ablation"]])
            x, y = segments([(row["low"], row["high"], at)], upright=True)
            figure.add_scatter(x=x, y=y, mode="lines", line={"color": color, "width": 4})
            hollow = (protocol, row["ablation"]) in invalid
            figure.add_scatter(
                x=[at],
                y=[row["mean"]],
                mode="markers",
                marker={
                    "symbol": "square",
                    "size": 11,
                    "color": "#ffffff" if hollow else color,
                    "line": {"color": color, "width": 2},
                },
                name=harmless(row["ablation"]),
                hovertemplate="mean %{y:.3f}",
            )
        level(figure, score["chance"], "chance")
        names = [f"{a} (invalid)" if (protocol, a) in invalid else a for a in ablations]
        figure.update_xaxes(**named_axis(names), showgrid=False)
        said = ", ".join(f"{row['ablation']} {number(row['mean'], '.3f')}" for row in rows)
        plots.append(
            Plot(
                f"outcome-{protocol}",
                f"{score['label']}, {named(protocol)}",
                f"Mean held-out {score['label']} by condition: {said}; chance {score['chance']:g}.",
                figure,
                "Square: mean over seeds, with its bootstrap interval (95 %); hollow where the operating "
                "point is outside the bars. Grey: one line per seed.",
            )
        )
    return plots


def difference_plots(
    differences: Sequence[Row], score: Row, invalid: set[ConditionKey]
) -> list[Plot]:
    """Differences of the primary outcome from intact, by condition, with both intervals and every seed.

    Args:
        differences: rows with protocol, ablation, metric, mean, low, high, t_interval, per_seed, and margin
            where the outcome was tested.
        score: name and label of the outcome.
        invalid: (protocol, ablation) of conditions outside the bars.
    """
    rows = [row for row in differences if row["metric"] == score["name"]]
    plots = []
    for protocol in dict.fromkeys(row["protocol"] for row in rows):
        own = [row for row in rows if row["protocol"] == protocol]
        figure = blank(f"{score['label']}, ablated minus intact", height=150 + 44 * len(own))
        at = range(len(own))
        for name, ends, width, color in (
            ("Student's t, 95 %", [row["t_interval"] for row in own], 3, color_of(1)),
            (
                "bootstrap, 95 %",
                [(row["low"], row["high"]) for row in own],
                9,
                faint("#3b76af", 0.3),
            ),
        ):
            x, y = segments([(*e, i) for i, e in zip(at, ends, strict=True)], upright=False)
            line = {"color": color, "width": width}
            figure.add_scatter(
                x=x, y=y, mode="lines", name=name, line=line, hovertemplate="%{x:.3f}"
            )
        seeds = [(d, i) for i, row in zip(at, own, strict=True) for d in row.get("per_seed", [])]
        figure.add_scatter(
            x=[d for d, _ in seeds],
            y=[i + 0.22 for _, i in seeds],
            mode="markers",
            marker={"size": 5, "color": GRAY},
            name="seeds",
            hovertemplate="%{x:.3f}",
        )
        figure.add_scatter(
            x=[row["mean"] for row in own],
            y=list(at),
            mode="markers",
            marker={
                "size": 11,
                "symbol": "diamond",
                "color": [
                    "#ffffff" if (protocol, row["ablation"]) in invalid else color_of(0)
                    for row in own
                ],
                "line": {"color": color_of(0), "width": 2},
            },
            name="mean",
            hovertemplate="%{x:.3f}",
        )
        margin = next((row["margin"] for row in own if row.get("margin") is not None), None)
        if margin is not None:
            figure.add_vrect(-margin, margin, fillcolor=faint("#4d8f4a", 0.14), line_width=0)
        level(figure, 0, "no difference", upright=True)
        ends = known(
            [margin, *(d for d, _ in seeds), *(e for r in own for e in (r["low"], r["high"]))]
        )
        reach = max(map(abs, ends), default=1.0) or 1.0
        outer = [abs(e) for e in known(e for row in own for e in row["t_interval"])]
        reach = max([reach, *(e for e in outer if e < _VIEW * reach)])
        figure.update_xaxes(range=[-1.08 * reach, 1.08 * reach])
        axis = named_axis([row["ablation"] for row in own])
        figure.update_yaxes(**axis, showgrid=False)
        figure.update_yaxes(range=[len(own) - 0.4, -0.6])
        said = "; ".join(
            f"{row['ablation']} {number(row['mean'], '+.3f')} ({number(row['t_interval'][0], '+.3f')} to "
            f"{number(row['t_interval'][1], '+.3f')})"
            for row in own
        )
        plots.append(
            Plot(
                f"difference-{protocol}",
                f"Differences from intact, {named(protocol)}",
                f"Paired difference of {score['label']} from intact, with Student's 95 % interval: {said}.",
                figure,
                "Left of zero: worse when ablated. Green: differences too small to matter, the declared "
                "margin. Hollow: nothing is concluded. Intervals may go on outside the view: zoom out.",
            )
        )
    return plots


def learning_plots(
    curves: dict[str, dict[str, dict[int, Sequence[Sequence[float]]]]], score: Row
) -> list[Plot]:
    """The task's main score on validation trials against training step, every seed and their mean.

    Args:
        curves: by protocol, ablation and seed, pairs of (step, score).
        score: label and chance of the score.
    """
    plots = []
    for protocol, by_ablation in curves.items():
        figure = blank("training step", f"validation {score['label']}")
        said = []
        for index, (ablation, by_seed) in enumerate(by_ablation.items()):
            color, name = color_of(index), harmless(ablation)
            for seed, curve in by_seed.items():
                figure.add_scatter(
                    x=[step for step, _ in curve],
                    y=[reached for _, reached in curve],
                    mode="lines",
                    line={"color": faint(color, 0.35), "width": 1},
                    legendgroup=name,
                    showlegend=False,
                    name=f"{name}, seed {seed}",
                    hovertemplate="step %{x}: %{y:.3f}",
                )
            values: dict[float, list[float]] = {}
            for curve in by_seed.values():
                for step, reached in curve:
                    values.setdefault(step, []).append(reached)
            steps = [step for step in sorted(values) if len(values[step]) == len(by_seed)]
            mean = [float(np.mean(values[step])) for step in steps]
            figure.add_scatter(
                x=steps,
                y=mean,
                mode="lines",
                line={"color": color, "width": 3},
                legendgroup=name,
                name=name,
                hovertemplate="step %{x}: mean %{y:.3f}",
            )
            if mean:
                said.append(f"{ablation} from {mean[0]:.3f} to {mean[-1]:.3f}")
        level(figure, score["chance"], "chance")
        plots.append(
            Plot(
                f"learning-{protocol}",
                f"Learning, {named(protocol)}",
                f"Validation {score['label']} against training step, mean over seeds: {'; '.join(said)}.",
                figure,
                "Thick: mean over seeds; thin: every seed. A click on a name hides it.",
            )
        )
    return plots


def dose_plots(curves: Sequence[Row], label: str) -> list[Plot]:
    """Outcome against the level of heterogeneity: seeds, their mean, the quadratic and its peak.

    Args:
        curves: dose curves of a comparison that were fitted; low or high is None where the peak has no bound.
        label: of the outcome.
    """
    plots = []
    for index, curve in enumerate(curves):
        figure = blank(
            f"heterogeneity within {harmless(curve['level'])} (0 none, 1 observed)",
            f"held-out {label}",
        )
        doses = np.array(curve["doses"])
        grid = np.linspace(doses.min(), doses.max(), 200)
        for values in np.array(curve["per_seed"]):
            figure.add_scatter(
                x=doses,
                y=values,
                mode="lines+markers",
                line={"color": "#c9c9c9", "width": 1},
                marker={"size": 4},
                showlegend=False,
                name="seed",
                hovertemplate="%{y:.3f}",
            )
        fitted = np.polynomial.Polynomial(curve["coefficients"])(grid)
        figure.add_scatter(
            x=grid,
            y=fitted,
            mode="lines",
            line={"color": color_of(1), "width": 2},
            name="quadratic",
        )
        figure.add_scatter(
            x=doses,
            y=curve["mean"],
            mode="markers",
            marker={"symbol": "square", "size": 9, "color": color_of(0)},
            name="mean over seeds",
            hovertemplate="%{y:.3f}",
        )
        said = "no peak"
        if curve["peak"] is not None:
            low, high = curve["low"], curve["high"]
            ends = np.clip(
                [grid[0] if low is None else low, grid[-1] if high is None else high],
                grid[0],
                grid[-1],
            )
            figure.add_vrect(*ends.tolist(), fillcolor=faint(color_of(1), 0.14), line_width=0)
            if grid[0] <= curve["peak"] <= grid[-1]:
                level(figure, curve["peak"], "peak", upright=True)
            said = f"peak at {curve['peak']:.2f}"
        level(figure, 1, "observed", upright=True)
        plots.append(
            Plot(
                f"dose-{index}",
                f"{curve['level']}, {named(curve['protocol'])}",
                f"Held-out {label} against the level of heterogeneity within {curve['level']}: {said}.",
                figure,
                "Shaded: 95 % interval of the peak of the quadratic.",
            )
        )
    return plots


def explanation_plot(name: str, one: Row) -> Plot:
    """Change of the outcome against change of a metric, a point for every condition.

    Interventions are diamonds. The line is that of the slope over conditions, where there is one.

    Args:
        name: of the figure.
        one: an explanation that has points.
    """
    unit = "" if one["unit"] in ("", "1") else f" ({one['unit']})"
    figure = blank(harmless(f"change of {one['metric']}{unit}"), f"change of {one['label']}")
    points = one["points"]
    for index, point in enumerate(points):
        color, at = color_of(index), (point["metric"], point["outcome"])
        figure.add_scatter(
            x=[at[0]],
            y=[at[1]],
            error_x=_error(at[0], point["metric_low"], point["metric_high"], color),
            error_y=_error(at[1], point["outcome_low"], point["outcome_high"], color),
            mode="markers",
            marker={
                "symbol": "diamond" if point["intervention"] else "circle",
                "size": 9,
                "color": color,
            },
            name=harmless(point["ablation"]),
        )
    slope = one["slope"]["mean"]
    if slope is not None:
        x = np.array([point["metric"] for point in points])
        y = np.array([point["outcome"] for point in points])
        grid = np.array([x.min(), x.max()])
        line = {"color": GRAY, "width": 1, "dash": "dash"}
        figure.add_scatter(
            x=grid, y=y.mean() + slope * (grid - x.mean()), mode="lines", line=line, name="slope"
        )
    level(figure, 0, "")
    level(figure, 0, "", upright=True)
    said = "; ".join(f"{p['ablation']} {p['metric']:.3g}, {p['outcome']:.3g}" for p in points)
    title = f"{one['metric']}, {named(one['protocol'])}"
    alt = f"Change of {one['metric']} and of {one['label']} by condition: {said}."
    return Plot(name, title, alt, figure)


def _error(mean: float, low: float | None, high: float | None, color: str) -> dict[str, Any]:
    if low is None or high is None:
        return {"visible": False}
    ends = {"array": [high - mean], "arrayminus": [mean - low]}
    return {"type": "data", "symmetric": False, **ends, "color": color, "thickness": 1, "width": 0}
