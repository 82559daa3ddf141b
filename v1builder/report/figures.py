"""The figures of a report, each a function from results to a matplotlib figure."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from v1builder.report.canvas import EXCITATORY, INHIBITORY, STYLE, color_of, new_figure
from v1builder.report.comparison_tables import named

ConditionKey = tuple[str, str]  # protocol, ablation


def outcome_figure(
    cells: pd.DataFrame, summary: pd.DataFrame, score: dict[str, Any], invalid: set[ConditionKey]
) -> Figure:
    """The primary outcome of every condition: mean with interval, and every seed, joined across conditions.

    Conditions outside the bars of the operating point are drawn hollow.

    Args:
        cells: columns protocol, ablation, seed and the outcome.
        summary: columns protocol, ablation, metric, mean, low, high.
        score: name, label, chance and ceiling of the outcome.
        invalid: (protocol, ablation) of conditions outside the bars.
    """
    metric, chance = score["name"], score["chance"]
    protocols = list(dict.fromkeys(cells["protocol"]))
    figure, axes = new_figure(4.2 * len(protocols), 3.4, len(protocols))
    with mpl.rc_context(STYLE):
        for ax, protocol in zip(axes, protocols, strict=True):
            shown = cells[cells["protocol"] == protocol]
            ablations = list(dict.fromkeys(shown["ablation"]))
            by_seed = shown.pivot_table(index="seed", columns="ablation", values=metric)[ablations]
            for _, row in by_seed.iterrows():
                ax.plot(
                    range(len(ablations)), row, "o-", color="#b5b5b5", markersize=3, linewidth=0.8
                )
            rows = summary.loc[(summary["protocol"] == protocol) & (summary["metric"] == metric)]
            for place, ablation in enumerate(ablations):
                row = rows.loc[rows["ablation"] == ablation].iloc[0]
                color = color_of(place)
                face = "white" if (protocol, ablation) in invalid else color
                ax.plot([place] * 2, [row["low"], row["high"]], color=color, linewidth=2.5)
                ax.plot(place, row["mean"], "s", color=color, markerfacecolor=face, markersize=7)
            ax.axhline(chance, color="#888888", linestyle=":", linewidth=1)
            ax.text(
                len(ablations) - 0.6, chance, "chance", va="bottom", ha="right", color="#888888"
            )
            names = [f"{a} (invalid)" if (protocol, a) in invalid else a for a in ablations]
            ax.set_xticks(range(len(ablations)), names, rotation=25, ha="right")
            low, high = float(by_seed.min().min()), float(by_seed.max().max())
            top = high + 0.2 if score["ceiling"] is None else 1.02 * score["ceiling"]
            ax.set_ylim(min(chance, low) - 0.05, top)
            ax.set_ylabel(f"held-out {score['label']}")
            ax.set_title(named(protocol))
    return figure


def learning_figure(
    curves: dict[str, dict[str, NDArray[np.float64]]], score: dict[str, Any]
) -> Figure:
    """The task's main score on validation trials against training step, mean with the range of seeds.

    Args:
        curves: by protocol and ablation, [seed, point, 2] of (step, score).
        score: label and chance of the score.
    """
    figure, axes = new_figure(max(5.6, 4.2 * len(curves)), 3.4, len(curves))
    with mpl.rc_context(STYLE):
        for ax, (protocol, by_ablation) in zip(axes, curves.items(), strict=True):
            for index, (ablation, curve) in enumerate(by_ablation.items()):
                steps, reached = curve[0, :, 0], curve[:, :, 1]
                mean, color = reached.mean(axis=0), color_of(index)
                ax.plot(steps, mean, color=color, label=ablation, linewidth=1.8)
                ax.fill_between(
                    steps, reached.min(axis=0), reached.max(axis=0), color=color, alpha=0.12, lw=0
                )
            ax.axhline(score["chance"], color="#888888", linestyle=":", linewidth=1)
            ax.set_xlabel("training step")
            ax.set_ylabel(f"validation {score['label']}")
            ax.set_title(f"{named(protocol)} (mean and range)")
            ax.legend(loc="lower right", fontsize=7)
    return figure


def dose_figure(curves: list[dict[str, Any]], label: str) -> Figure:
    """Outcome against the level of heterogeneity: seeds, their mean, the quadratic and its peak.

    Args:
        curves: dose curves of a comparison that were fitted; low or high is None where the peak has no bound.
        label: of the outcome.
    """
    figure, axes = new_figure(4.6 * len(curves), 3.4, len(curves))
    with mpl.rc_context(STYLE):
        for ax, curve in zip(axes, curves, strict=True):
            doses = np.array(curve["doses"])
            grid = np.linspace(doses.min(), doses.max(), 200)
            ax.plot(doses, np.transpose(curve["per_seed"]), "o-", color="#c9c9c9", ms=2.5, lw=0.7)
            ax.plot(doses, curve["mean"], "s", color=color_of(0), label="mean over seeds")
            quadratic = np.polynomial.Polynomial(curve["coefficients"])(grid)
            ax.plot(grid, quadratic, color=color_of(1), label="quadratic")
            if curve["peak"] is not None:
                low, high = curve["low"], curve["high"]
                ends = grid[0] if low is None else low, grid[-1] if high is None else high
                ax.axvspan(*np.clip(ends, grid[0], grid[-1]), color=color_of(1), alpha=0.12, lw=0)
                if grid[0] <= curve["peak"] <= grid[-1]:
                    ax.axvline(curve["peak"], color=color_of(1), lw=1, ls="--", label="peak, 95 %")
            ax.axvline(1, color="#888888", linestyle=":", linewidth=1)
            ax.set_xlabel(f"heterogeneity within {curve['level']} (0 none, 1 observed)")
            ax.set_ylabel(f"held-out {label}")
            ax.set_title(named(curve["protocol"]))
            ax.legend(loc="lower center", fontsize=7)
    return figure


def rates_figure(rates: pd.DataFrame) -> Figure:
    """Firing rate per population: in vivo quartiles beside the untrained and the trained network.

    Args:
        rates: index population; columns untrained, trained and, where recorded, q25, median, q75 (Hz).
    """
    figure, (ax,) = new_figure(7.6, 3.2)
    with mpl.rc_context(STYLE):
        places = np.arange(len(rates))
        rates = rates.reindex(columns=["untrained", "trained", "q25", "median", "q75"])
        ax.bar(
            places,
            rates["q75"] - rates["q25"],
            bottom=rates["q25"],
            color="#dddddd",
            width=0.7,
            label="in vivo, quartiles",
        )
        ax.plot(
            places, rates["median"], "_", color="#555555", markersize=12, label="in vivo, median"
        )
        ax.plot(
            places,
            rates["untrained"],
            "o",
            markerfacecolor="none",
            color="#3b76af",
            label="untrained",
        )
        ax.plot(places, rates["trained"], "o", color="#c4622d", markersize=4, label="trained")
        ax.set_yscale("symlog", linthresh=1)
        ax.set_ylim(0, None)
        ax.set_ylabel("mean rate (Hz)")
        ax.set_xticks(places, list(rates.index), rotation=60, ha="right")
        ax.set_title("firing rates during the task, intact network")
        ax.legend(ncol=2, loc="upper left", fontsize=7)
    return figure


def network_figure(
    cells: pd.DataFrame, spikes: pd.DataFrame, stimulus_ms: tuple[float, float]
) -> Figure:
    """The column and one trial: cells by depth, and their spikes.

    Args:
        cells: columns x, y (um, y negative below the pia), ei and pop_name; position = row.
        spikes: columns time (ms) and cell (row of `cells`).
        stimulus_ms: when the stimulus is on.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.2, 4.2), layout="constrained")
        column, raster = figure.subplots(1, 2, width_ratios=[1, 2.4])
        color = np.where(cells["ei"] == "e", EXCITATORY, INHIBITORY)
        column.scatter(cells["x"], cells["y"], c=color, s=5, linewidths=0, alpha=0.8)
        column.set_aspect("equal")
        column.set_xlabel("x (µm)")
        column.set_ylabel("depth (µm)")
        column.set_title("the column")
        row_of = np.empty(len(cells), dtype=int)
        row_of[np.argsort(cells["y"].to_numpy())] = np.arange(len(cells))
        raster.axvspan(*stimulus_ms, color="#f2e9c9", zorder=0)
        raster.scatter(
            spikes["time"],
            row_of[spikes["cell"]],
            c=color[spikes["cell"]],
            s=3,
            linewidths=0,
            marker="|",
        )
        raster.scatter(
            spikes["time"], row_of[spikes["cell"]], c=color[spikes["cell"]], s=2, linewidths=0
        )
        layer = cells["pop_name"].str.extract(r"^[ei](\d)")[0]
        for name in sorted(layer.dropna().unique()):  # others name populations otherwise
            rows = row_of[(layer == name).to_numpy()]
            raster.axhline(rows.min(), color="#cccccc", linewidth=0.6)
            raster.text(
                1.005,
                rows.mean(),
                f"L{'2/3' if name == '2' else name}",
                va="center",
                transform=raster.get_yaxis_transform(),
            )
        raster.set_ylim(0, len(cells))
        raster.set_yticks([])
        raster.set_ylabel("cells by depth")
        raster.set_xlabel("time (ms)")
        raster.set_title("one trial (shaded: stimulus; red excitatory, blue inhibitory)")
    return figure
