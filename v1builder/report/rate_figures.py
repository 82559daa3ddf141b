"""Figures of rates: of populations beside recordings, and of ablated networks beside intact ones."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from v1builder.report.comparison_tables import named, number
from v1builder.report.palette import EXCITATORY, INHIBITORY, color_of, faint
from v1builder.report.plots import Plot, blank, harmless, known, named_axis, segments

Row = dict[str, Any]

#: Rates below, silent populations among them, are drawn here: the axis is a logarithm.
_RATE_FLOOR_HZ: Final = 0.05


def rates_plot(rates: Sequence[Row]) -> Plot:
    """Firing rate per population: in vivo quartiles beside the untrained and the trained network.

    Args:
        rates: rows with population, untrained, trained and, where recorded, q25, median, q75 (Hz).
    """
    figure = blank("", "mean rate (Hz)", margin=(64, 96))
    places = list(range(len(rates)))

    def drawn(value: float | None) -> float | None:
        return None if value is None else max(value, _RATE_FLOOR_HZ)

    known_rows = [(i, row) for i, row in enumerate(rates) if row.get("median") is not None]
    x, y = segments(
        [(drawn(row["q25"]), drawn(row["q75"]), i) for i, row in known_rows], upright=True
    )
    if known_rows:
        line = {"color": "#cfcfcf", "width": 12}
        figure.add_scatter(
            x=x, y=y, mode="lines", line=line, name="recorded in vivo, quartiles", hoverinfo="skip"
        )
        figure.add_scatter(
            x=[i for i, _ in known_rows],
            y=[drawn(row["median"]) for _, row in known_rows],
            customdata=[[row["q25"], row["median"], row["q75"]] for _, row in known_rows],
            mode="markers",
            marker={"symbol": "line-ew-open", "size": 14, "color": "#555555", "line": {"width": 2}},
            name="recorded in vivo, median",
            hovertemplate="%{customdata[1]:.2f} Hz (%{customdata[0]:.2f} to %{customdata[2]:.2f})",
        )
    for name, color, symbol in (
        ("untrained", INHIBITORY, "circle-open"),
        ("trained", EXCITATORY, "circle"),
    ):
        values = [row.get(name) for row in rates]
        figure.add_scatter(
            x=places,
            y=[drawn(value) for value in values],
            customdata=values,
            mode="markers",
            marker={"symbol": symbol, "size": 9, "color": color, "line": {"width": 2}},
            name=name,
            hovertemplate="%{customdata:.2f} Hz",
        )
    figure.update_yaxes(type="log", dtick=1, minor={"ticks": "outside", "ticklen": 2})
    figure.update_xaxes(**named_axis([row["population"] for row in rates], angle=-60))
    said = ", ".join(
        f"{row['population']} {number(row.get('trained'), '.2g')}"
        + (f" (in vivo {row['median']:.2g})" if row.get("median") is not None else "")
        for row in rates
    )
    return Plot(
        "rates",
        "Firing rates beside recordings",
        f"Mean rate of the trained intact network by population, in Hz: {said}.",
        figure,
        f"Intact network during the task, mean over seeds. Rates below {_RATE_FLOOR_HZ:g} Hz, silent "
        "populations too, are drawn at the bottom.",
        wide=True,
    )


def operating_plots(cells: Sequence[Row], bars: Row | None) -> list[Plot]:
    """Rates of populations in ablated networks against those of intact ones, before they were trained.

    Args:
        cells: results with protocol, ablation, seed and operating_point.
        bars: rate_relative and rate_Hz that a population may be away; None where they are not known.
    """
    points: dict[str, dict[str, list[Row]]] = {}
    for cell in cells:
        point = (cell.get("operating_point") or {}).get("after", {}).get("population_Hz")
        if point:
            by_ablation = points.setdefault(cell["protocol"], {})
            by_ablation.setdefault(cell["ablation"], []).append(point)
    plots = []
    for protocol, by_ablation in points.items():
        if "intact" not in by_ablation or len(by_ablation) < 2:
            continue
        populations = list(by_ablation["intact"][0])
        mean = {
            ablation: {
                name: float(np.mean(known(point.get(name) for point in of) or [np.nan]))
                for name in populations
            }
            for ablation, of in by_ablation.items()
        }
        intact = mean.pop("intact")
        figure = blank("intact (Hz)", "ablated and matched (Hz)")
        ends = known([v for of in (intact, *mean.values()) for v in of.values()])
        low = max(min([v for v in ends if v > 0], default=0.1) / 1.5, _RATE_FLOOR_HZ)
        high = 1.5 * max(ends, default=1.0)
        grid = np.geomspace(low, max(high, 2 * low), 100)
        if bars is not None:
            off = np.maximum(bars["rate_Hz"], bars["rate_relative"] * grid)
            figure.add_scatter(
                x=[*grid, *grid[::-1]],
                y=[*(grid + off), *np.maximum(grid - off, low / 10)[::-1]],
                fill="toself",
                fillcolor=faint("#4d8f4a", 0.18),
                line={"width": 0},
                mode="lines",
                name="inside the bars",
                hoverinfo="skip",
            )
        for index, (ablation, of) in enumerate(mean.items()):
            figure.add_scatter(
                x=[max(intact[name], low) for name in populations],
                y=[max(of[name], low) for name in populations],
                text=[harmless(name) for name in populations],
                mode="markers",
                marker={"size": 8, "color": color_of(index + 1)},
                name=harmless(ablation),
                hovertemplate="%{text}: %{x:.2f} to %{y:.2f} Hz",
            )
        view = np.log10([low, high]).tolist()
        figure.update_xaxes(type="log", range=view)
        figure.update_yaxes(type="log", range=view)
        plots.append(
            Plot(
                f"operating-{protocol}",
                f"Rates of populations, {named(protocol)}",
                f"Rate of every population in {', '.join(mean)} against its rate in the intact network; "
                "points inside the band are within the bars.",
                figure,
                "Mean of spontaneous and evoked rates over seeds, before training. Populations of fewer "
                "than 20 cells are not judged.",
            )
        )
    return plots
