"""The page about a network's derived quantities: figures, and the tables behind them."""

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from v1builder.report.canvas import STYLE, new_figure, save_figures
from v1builder.report.palette import color_of
from v1builder.report.templates import write_html

_CAPTIONS: Final = {
    "f_i_curves": "Mean rate over 1 s against current above rheobase, by population (model).",
    "rheobase": "Rheobase of a 1 s step, model against recording, one point per specimen.",
    "psp": "Median PSP per connection: achieved, against the measured median. Over edges it is lower because "
    "large cells receive more of them; weighted by 1/target size it agrees.",
    "probability": "Connection probability against distance: achieved (points), expected (lines).",
    "degrees": "In- and out-degrees by population: mean and standard deviation, expected mean (crosses).",
}


def write_page(
    folder: Path, tables: dict[str, pd.DataFrame], summary: dict[str, Any], left_out: dict[str, str]
) -> None:
    """Write index.html and the figures into `folder`.

    Args:
        folder: exists.
        tables: of `v1builder.characterize.sections`; figures without their table are left out.
        summary: numbers by section.
        left_out: sections that could not be measured, with the reason.
    """
    write_html(
        folder / "index.html",
        "characterization.html.jinja",
        images=save_figures(folder, _draw(tables)),
        captions=_CAPTIONS,
        sections={name: list(_rows(values)) for name, values in summary.items()},
        measured=tables["measured"].round(3).to_dict("records") if "measured" in tables else [],
        left_out=left_out,
        files=sorted(f"{name}.csv" for name in tables),
    )


def _rows(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Numbers of a section as (name, text); lists have tables of their own."""
    rows = []
    for key, value in values.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            rows += _rows(value, f"{name}: ")
        elif not isinstance(value, list):
            rows.append((name, f"{value:.4g}" if isinstance(value, float) else str(value)))
    return rows


def _draw(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    drawn = {"f_i_curves": f_i_figure(tables["f_i_curves"])}
    if "measured" in tables:
        drawn["rheobase"] = rheobase_figure(tables["cell_models"])
    if "psp_amplitudes" in tables:
        drawn["psp"] = psp_figure(tables["psp_amplitudes"])
    if "degrees" in tables:
        by_distance = tables["connection_probability_by_sign_and_distance"]
        drawn["probability"] = probability_figure(by_distance)
        drawn["degrees"] = degrees_figure(tables["degrees"])
    return drawn


def f_i_figure(curves: pd.DataFrame) -> Figure:
    """Mean f-I curve of each population.

    Args:
        curves: population, above_rheobase_pA, rate_Hz.
    """
    figure, (ax,) = new_figure(6.4, 3.8)
    with mpl.rc_context(STYLE):
        mean = curves.pivot_table("rate_Hz", "above_rheobase_pA", "population")
        for index, name in enumerate(mean.columns):
            style = ("-", "--", ":")[index // 8 % 3]
            ax.plot(mean.index, mean[name], style, color=color_of(index), label=name, lw=1.3)
        ax.set_xlabel("current above rheobase (pA)")
        ax.set_ylabel("rate (Hz)")
        ax.set_title("f-I curves")
        ax.legend(fontsize=6, ncol=2, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def rheobase_figure(cells: pd.DataFrame) -> Figure:
    """Rheobase and f-I slope, model against recording.

    Args:
        cells: class, and rheobase_pA and f_i_slope_Hz_per_pA of the model and measured_ ones.
    """
    figure, axes = new_figure(7.6, 3.6, 2)
    shown = cells.drop_duplicates("cell_model")
    with mpl.rc_context(STYLE):
        names = (("rheobase_pA", "rheobase (pA)"), ("f_i_slope_Hz_per_pA", "f-I slope (Hz/pA)"))
        for ax, (name, label) in zip(axes, names, strict=True):
            for index, (kind, of) in enumerate(shown.groupby("class")):
                ax.plot(
                    of[f"measured_{name}"], of[name], "o", ms=3, color=color_of(index), label=kind
                )
            top = float(np.nanmax(shown[[name, f"measured_{name}"]].to_numpy()))
            ax.plot([0, top], [0, top], color="#888888", ls=":", lw=1)
            ax.set_xlabel(f"recorded {label}")
            ax.set_ylabel(f"model {label}")
        axes[0].set_title("model against recording")
        axes[0].legend(fontsize=7)
    return figure


def psp_figure(psps: pd.DataFrame) -> Figure:
    """Achieved against measured median PSP per connection.

    Args:
        psps: table_median_mV, median_mV, cell_median_mV, n_edges.
    """
    figure, (ax,) = new_figure(4.6, 4.0)
    shown = psps.loc[psps["n_edges"] >= 30]
    with mpl.rc_context(STYLE):
        for index, (name, label) in enumerate(
            (("median_mV", "over edges"), ("cell_median_mV", "weighted by 1/target size"))
        ):
            ax.loglog(
                shown["table_median_mV"],
                shown[name],
                "o",
                ms=4,
                color=color_of(index + 1),
                label=label,
            )
        medians = shown["table_median_mV"].to_numpy(np.float64)
        ends = [medians.min(), medians.max()]
        ax.plot(ends, ends, color="#888888", ls=":", lw=1)
        ax.set_xlabel("measured median (mV)")
        ax.set_ylabel("achieved median (mV)")
        ax.set_title("PSP per connection")
        ax.legend(fontsize=7)
    return figure


def probability_figure(table: pd.DataFrame) -> Figure:
    """Connection probability against distance for the four pairs of signs.

    Args:
        table: pre_class, post_class, distance_from_um, distance_to_um, pairs and probabilities.
    """
    figure, (ax,) = new_figure(5.6, 3.6)
    with mpl.rc_context(STYLE):
        for index, (pair, of) in enumerate(table.groupby(["pre_class", "post_class"])):
            x = (of["distance_from_um"] + of["distance_to_um"]) / 2
            label = " to ".join(map(str, pair)) if isinstance(pair, tuple) else str(pair)
            ax.plot(x, of["expected_probability"], color=color_of(index), lw=1.2, label=label)
            ax.plot(x, of["achieved_probability"], "o", color=color_of(index), ms=3.5)
        ax.set_xlabel("horizontal distance (µm)")
        ax.set_ylabel("connection probability")
        ax.set_title("achieved (points) and expected (lines)")
        ax.legend(fontsize=7)
    return figure


def degrees_figure(degrees: pd.DataFrame) -> Figure:
    """In- and out-degrees by population.

    Args:
        degrees: population, and mean, sd and expected of in_degree and out_degree.
    """
    figure, axes = new_figure(8.2, 3.6, 2)
    places = np.arange(len(degrees))
    with mpl.rc_context(STYLE):
        for ax, kind in zip(axes, ("in", "out"), strict=True):
            mean, sd = degrees[f"{kind}_degree_mean"], degrees[f"{kind}_degree_sd"]
            ax.errorbar(places, mean, sd, fmt="o", ms=3.5, lw=1, color=color_of(1))
            ax.plot(places, degrees[f"{kind}_degree_expected"], "x", ms=6, color=color_of(2))
            ax.set_xticks(places, list(degrees["population"]), rotation=75, ha="right", fontsize=6)
            ax.set_title(f"{kind}-degree (mean, sd; expected: x)")
    return figure
