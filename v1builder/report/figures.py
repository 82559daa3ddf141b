"""The figures of a report, each a function from results to a matplotlib figure."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.hashsalt": "v1builder",
}
_COLORS = ("#1b1b1b", "#3b76af", "#c4622d", "#4d8f4a", "#8a5fa8", "#b8912c", "#5aa3a3", "#b04a6b")
_EXCITATORY, _INHIBITORY = "#c8503c", "#3f6fa8"


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, list(axes)


def color_of(index: int) -> str:
    """Colour of the condition at this place of the experiment's list."""
    return _COLORS[index % len(_COLORS)]


def accuracy_figure(cells: pd.DataFrame, summary: pd.DataFrame, chance: float) -> Figure:
    """Held-out accuracy of every condition: mean with interval, and every seed, joined across conditions.

    Args:
        cells: columns protocol, ablation, seed, accuracy.
        summary: columns protocol, ablation, metric, mean, low, high.
        chance: accuracy of guessing.
    """
    protocols = list(dict.fromkeys(cells["protocol"]))
    figure, axes = _figure(4.2 * len(protocols), 3.4, len(protocols))
    with mpl.rc_context(_STYLE):
        for ax, protocol in zip(axes, protocols, strict=True):
            shown = cells[cells["protocol"] == protocol]
            ablations = list(dict.fromkeys(shown["ablation"]))
            by_seed = shown.pivot_table(index="seed", columns="ablation", values="accuracy")[
                ablations
            ]
            for _, row in by_seed.iterrows():
                ax.plot(
                    range(len(ablations)), row, "o-", color="#b5b5b5", markersize=3, linewidth=0.8
                )
            rows = summary[(summary["protocol"] == protocol) & (summary["metric"] == "accuracy")]
            for place, ablation in enumerate(ablations):
                row = rows[rows["ablation"] == ablation].iloc[0]
                ax.plot(
                    [place] * 2, [row["low"], row["high"]], color=color_of(place), linewidth=2.5
                )
                ax.plot(place, row["mean"], "s", color=color_of(place), markersize=7)
            ax.axhline(chance, color="#888888", linestyle=":", linewidth=1)
            ax.text(
                len(ablations) - 0.6, chance, "chance", va="bottom", ha="right", color="#888888"
            )
            ax.set_xticks(range(len(ablations)), ablations, rotation=25, ha="right")
            ax.set_ylim(min(chance, float(by_seed.min().min())) - 0.05, 1.02)
            ax.set_ylabel("held-out accuracy")
            ax.set_title(
                {"retrain": "trained after the ablation", "frozen": "ablated after training"}[
                    protocol
                ]
            )
    return figure


def learning_figure(curves: dict[str, NDArray[np.float64]], chance: float) -> Figure:
    """Validation accuracy against training step, mean over seeds with the range of seeds.

    Args:
        curves: by ablation, [seed, point, 2] of (step, accuracy).
        chance: accuracy of guessing.
    """
    figure, (ax,) = _figure(5.6, 3.4)
    with mpl.rc_context(_STYLE):
        for index, (ablation, curve) in enumerate(curves.items()):
            steps, accuracy = curve[0, :, 0], curve[:, :, 1]
            ax.plot(
                steps, accuracy.mean(axis=0), color=color_of(index), label=ablation, linewidth=1.8
            )
            ax.fill_between(
                steps,
                accuracy.min(axis=0),
                accuracy.max(axis=0),
                color=color_of(index),
                alpha=0.12,
                lw=0,
            )
        ax.axhline(chance, color="#888888", linestyle=":", linewidth=1)
        ax.set_xlabel("training step")
        ax.set_ylabel("validation accuracy")
        ax.set_title("learning (mean and range over seeds)")
        ax.legend(loc="lower right")
    return figure


def rates_figure(rates: pd.DataFrame) -> Figure:
    """Firing rate per population: in vivo quartiles beside the untrained and the trained network.

    Args:
        rates: index population; columns untrained, trained, q25, median, q75 (Hz) and ei.
    """
    figure, (ax,) = _figure(7.6, 3.2)
    with mpl.rc_context(_STYLE):
        places = np.arange(len(rates))
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
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8.2, 4.2), layout="constrained")
        column, raster = figure.subplots(1, 2, width_ratios=[1, 2.4])
        color = np.where(cells["ei"] == "e", _EXCITATORY, _INHIBITORY)
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
        for name in sorted(layer.unique()):
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
