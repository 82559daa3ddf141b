"""One trial as a raster: the stimulus on top, spikes of cells by depth, rates below."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from v1builder.report.palette import EXCITATORY, INHIBITORY, faint
from v1builder.report.plots import Plot, blank, harmless
from v1builder.schema.errors import NetworkError

#: Spikes that are drawn as such; of more, as many evenly over all.
SPIKES_MAX: Final = 30_000
_BIN_MS: Final = 5.0


@dataclass(frozen=True)
class Trial:
    """Spikes of one trial, and the cells.

    Attributes:
        time: [spike] ms.
        cell: [spike] position of the cell.
        stimulus: (from, to) ms.
        x, y: [cell] um; y is depth, negative below the pia.
        excitatory: [cell].
        population: [cell] name.
    """

    time: NDArray[np.float64]
    cell: NDArray[np.int64]
    stimulus: tuple[float, float]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    excitatory: NDArray[np.bool_]
    population: NDArray[np.str_]


def read_trial(run: Path) -> Trial | None:
    """The trial that a comparison kept; None where there is none.

    Raises:
        NetworkError: its file is damaged.
    """
    path = run / "example_trial.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as kept:
            found = Trial(
                time=np.asarray(kept["spike_time"], np.float64),
                cell=np.asarray(kept["spike_cell"], np.int64),
                stimulus=(float(kept["stimulus"][0]), float(kept["stimulus"][1])),
                x=np.asarray(kept["x"], np.float64),
                y=np.asarray(kept["y"], np.float64),
                excitatory=kept["ei"].astype(str) == "e",
                population=kept["pop_name"].astype(str),
            )
            found.y[found.cell]  # every spike is one of a cell
        return found
    except (OSError, ValueError, LookupError, TypeError, EOFError, BadZipFile) as error:
        fix = "remove it: the page is then made without its figure"
        raise NetworkError.of("a file is damaged", path, error, fix) from None


def trial_plot(trial: Trial) -> Plot:
    """The raster; three panels share the time axis."""
    figure = blank("time (ms)", "", height=560)
    n = len(trial.y)
    row_of = np.empty(n, np.int32)
    row_of[np.argsort(trial.y, kind="stable")] = np.arange(n, dtype=np.int32)
    start, stop = trial.stimulus
    figure.add_scatter(
        x=[start, stop, stop, start, start],
        y=[0, 0, 1, 1, 0],
        fill="toself",
        fillcolor="#d8b54a",
        line={"width": 0},
        mode="lines",
        name="stimulus",
        hoverinfo="skip",
        yaxis="y2",
    )
    step = max(1, -(-len(trial.time) // SPIKES_MAX))
    last = max(float(trial.time.max(initial=0.0)), stop)
    edges = np.arange(0, last + _BIN_MS, _BIN_MS)
    for name, color, of_kind in (
        ("excitatory", EXCITATORY, trial.excitatory),
        ("inhibitory", INHIBITORY, ~trial.excitatory),
    ):
        fired = of_kind[trial.cell]
        time, cell = trial.time[fired], trial.cell[fired]
        figure.add_scatter(
            x=time[::step].astype(np.float32),
            y=row_of[cell[::step]],
            text=[harmless(trial.population[i]) for i in cell[::step]],
            customdata=cell[::step].astype(np.int32),
            mode="markers",
            marker={"symbol": "line-ns-open", "size": 5, "color": color, "line": {"width": 1.3}},
            name=name,
            hovertemplate="%{text}, cell %{customdata}<br>%{x:.1f} ms",
        )
        if of_kind.any():
            rate = np.histogram(time, edges)[0] / of_kind.sum() / (_BIN_MS / 1000)
            figure.add_scatter(
                x=(edges[:-1] + edges[1:]) / 2,
                y=rate.astype(np.float32),
                mode="lines",
                line={"color": color, "width": 2, "shape": "hvh"},
                name=f"rate, {name}",
                showlegend=False,
                hovertemplate="%{y:.1f} Hz",
                yaxis="y3",
            )
    figure.add_vrect(start, stop, fillcolor=faint("#d8b54a", 0.18), line_width=0, layer="below")
    figure.update_xaxes(range=[0, last], anchor="y3")
    figure.update_layout(
        yaxis={
            "domain": [0.24, 0.94],
            "title": {"text": "cells, deepest below"},
            "showticklabels": True,
            "range": [-1, n],
            **_layers(trial, row_of),
        },
        yaxis2={"domain": [0.95, 1.0], "visible": False, "range": [0, 1], "fixedrange": True},
        yaxis3={
            "domain": [0.0, 0.2],
            "title": {"text": "Hz"},
            "rangemode": "tozero",
            "gridcolor": "#e8e8e8",
            "automargin": True,
        },
    )
    thinned = "" if step == 1 else f" One of {step} spikes is drawn; rates are of all."
    return Plot(
        "trial",
        "One trial",
        f"{len(trial.time):,} spikes of {n:,} cells in one trial, ordered by depth; the stimulus is on from "
        f"{start:g} to {stop:g} ms.",
        figure,
        "The trained intact network of the first seed. Yellow: the stimulus is on. Drag zooms, a double "
        "click goes back; with the box of the tool bar you choose spikes and learn the rates of their cells."
        + thinned,
        wide=True,
    )


def _layers(trial: Trial, row_of: NDArray[np.int32]) -> dict[str, Any]:
    """Ticks at the middle of each layer; others name populations otherwise and get none."""
    layer = np.array([name[1] if name[1:2].isdigit() else "" for name in trial.population])
    names = [name for name in sorted(set(layer.tolist())) if name]
    return {
        "tickmode": "array",
        "tickvals": [float(np.median(row_of[layer == name])) for name in names],
        "ticktext": [f"L{'2/3' if name == '2' else name}" for name in names],
    }
