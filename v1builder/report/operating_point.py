"""The page of a calibration: target and achieved rates, recurrence on, and the living animal."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from v1builder.report.canvas import STYLE, new_figure, save_figures
from v1builder.report.palette import EXCITATORY, INHIBITORY
from v1builder.report.templates import write_html

_METRICS = {
    "spontaneous_rate_Hz": "spontaneous rate",
    "mean_rate_Hz": "mean rate",
    "preferred_rate_Hz": "preferred rate",
    "osi": "OSI",
    "dsi": "DSI",
}


def sentences(result: dict[str, Any]) -> list[str]:
    """What came out, for the page and the console; what was not reached first."""
    summary, settings = result["summary"], result["settings"]
    said = [
        f"{row['population']}, cell model {row['cell_model']}: target {row['target_Hz']:.3g} Hz not "
        f"reached ({row['status']}): {row['achieved_Hz']:.3g} Hz at {row['weight_pA']:.4g} pA."
        for row in result["unreached"]
    ]
    said.append(
        f"{summary['n_met']} of {summary['n_cell_models']} cell models meet "
        f"{settings['fraction']:.0%} of their population's recorded median spontaneous rate within "
        f"{settings['tolerance']:.1%}, recurrence off ({summary['simulations']} simulations)."
    )
    if summary["held_out_deviation_rms"] is not None:
        said.append(
            f"On held-out spike trains their rates deviate from the target by "
            f"{summary['held_out_deviation_rms']:.1%} (root mean square); the statistical error of "
            f"the simulated time alone lets {summary['held_out_deviation_expected_rms']:.1%} expect."
        )
    before = summary.get("before")
    if before:
        said.append(
            f"Beside the {before['weights']} weights it came with ({before['n_cell_models']} cell "
            f"models): correlation {before['correlation']:.3f}, median ratio "
            f"{before['median_ratio']:.3f} (quartiles {before['ratio_q25']:.3f} to "
            f"{before['ratio_q75']:.3f}). At those weights the median cell model fired at "
            f"{before['median_rate_over_target']:.0%} of its target."
        )
    scores = summary.get("in_vivo_score")
    if scores:
        shown = ", ".join(f"{_METRICS[k]} {v:.2f}" for k, v in scores.items() if v is not None)
        said.append(
            f"With recurrence on, agreement with recordings (1 - Kolmogorov-Smirnov distance, mean over "
            f"cell types with 15 or more units): {shown}."
        )
    return said


def rates_figure(populations: pd.DataFrame) -> Figure:
    """Spontaneous rate by population: target, recurrence off, recurrence on.

    Args:
        populations: columns population, target_Hz, recorded_Hz, alone_median_Hz, recurrent_median_Hz.
    """
    figure, (ax,) = new_figure(7.6, 3.4)
    with mpl.rc_context(STYLE):
        places = np.arange(len(populations))
        for name, marker, color, label in (
            ("recorded_Hz", "_", "#555555", "recorded in vivo, median"),
            ("target_Hz", "x", "#1b1b1b", "target"),
            ("alone_median_Hz", "o", "#3b76af", "recurrence off, held-out trains"),
            ("recurrent_median_Hz", "s", "#c4622d", "recurrence on"),
        ):
            size = 12 if marker == "_" else 5
            ax.plot(places, populations[name], marker, color=color, markersize=size, label=label)
        ax.set_yscale("symlog", linthresh=0.5)
        ax.set_ylim(0, None)
        ax.set_ylabel("median rate (Hz)")
        ax.set_xticks(places, list(populations["population"]), rotation=60, ha="right")
        ax.set_title("spontaneous rates on a gray screen")
        ax.legend(fontsize=7, ncol=2)
    return figure


def weights_figure(models: pd.DataFrame) -> Figure:
    """Tuned weights against those the network came with, and achieved rates against targets.

    Args:
        models: columns population, weight_pA, before_pA, target_Hz, achieved_Hz, held_out_Hz.
    """
    figure, (left, right) = new_figure(7.6, 3.4, 2)
    color = np.where(models["population"].str.startswith("e"), EXCITATORY, INHIBITORY)
    with mpl.rc_context(STYLE):
        left.scatter(models["before_pA"], models["weight_pA"], s=10, c=color, linewidths=0)
        end = float(np.max(models[["before_pA", "weight_pA"]].to_numpy()))
        left.plot([0, end], [0, end], color="#888888", linestyle=":", linewidth=1)
        left.set_xlabel("weight before (pA)")
        left.set_ylabel("tuned weight (pA)")
        left.set_title("background weight by cell model")
        right.scatter(models["target_Hz"], models["held_out_Hz"], s=10, c=color, linewidths=0)
        end = float(np.max(models["target_Hz"].to_numpy()))
        right.plot([0, end], [0, end], color="#888888", linestyle=":", linewidth=1)
        right.set_xscale("symlog", linthresh=0.5)
        right.set_yscale("symlog", linthresh=0.5)
        right.set_xlabel("target (Hz)")
        right.set_ylabel("held-out median rate (Hz)")
        right.set_title("achieved (red exc., blue inh.)")
    return figure


def in_vivo_figure(in_vivo: pd.DataFrame) -> Figure:
    """Medians of the network against medians of the recordings, one panel per metric.

    Args:
        in_vivo: of `analysis.invivo.compare_with_recordings`.
    """
    metrics = [name for name in _METRICS if name in set(in_vivo["metric"])]
    figure, axes = new_figure(2.5 * len(metrics), 2.8, len(metrics))
    with mpl.rc_context(STYLE):
        for ax, metric in zip(axes, metrics, strict=True):
            shown = in_vivo.loc[(in_vivo["metric"] == metric) & (in_vivo["n_cells"] > 0)]
            color = np.where(shown["cell_type"].str.contains("Exc"), EXCITATORY, INHIBITORY)
            weight = np.where(shown["n_units"] >= 15, 22, 6)
            ax.scatter(shown["reference_median"], shown["median"], s=weight, c=color, linewidths=0)
            end = float(np.max(shown[["reference_median", "median"]].to_numpy(), initial=1e-3))
            ax.plot([0, end], [0, end], color="#888888", linestyle=":", linewidth=1)
            ax.set_title(_METRICS[metric])
            ax.set_xlabel("recorded median")
        axes[0].set_ylabel("network median")
    return figure


def write_calibration_page(
    folder: Path, result: dict[str, Any], tables: dict[str, pd.DataFrame]
) -> Path:
    """Write index.html and its figures.

    Args:
        folder: where to.
        result: settings, origin, summary and unreached, as in calibration.json.
        tables: populations, cell_models and, where there are recordings, in_vivo.

    Returns:
        The page.
    """
    drawn = {
        "rates": rates_figure(tables["populations"]),
        "weights": weights_figure(tables["cell_models"]),
    }
    if "in_vivo" in tables and len(tables["in_vivo"]):
        drawn["in_vivo"] = in_vivo_figure(tables["in_vivo"])
    models = tables["cell_models"]
    borrowed = models.loc[models["borrowed_from"] != ""]
    return write_html(
        folder / "index.html",
        "operating_point.html.jinja",
        result=result,
        sentences=sentences(result),
        images=save_figures(folder, drawn),
        populations=tables["populations"].to_dict("records"),
        columns=list(tables["populations"].columns),
        borrowed=borrowed.to_dict("records"),
        in_vivo=_by_type(tables["in_vivo"]) if "in_vivo" in drawn else [],
        metrics=_METRICS,
    )


def _by_type(in_vivo: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry per cell type: its name, number of units, and the row of each metric."""
    return [
        {
            "cell_type": name,
            "n_units": int(rows["n_units"].iloc[0]),
            "rows": {row["metric"]: row for row in rows.to_dict("records")},
        }
        for name, rows in in_vivo.groupby("cell_type", sort=False)
    ]
