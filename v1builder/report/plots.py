"""Interactive figures: what they share, and how they get into a page.

Text in figures of plotly may hold tags (bold, links). So every name that comes from a file goes through
`harmless` before it is a text, and no name is part of a template of a hover text.
"""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from plotly.io.json import to_json_plotly

#: Height of a figure, pixels.
HEIGHT: Final = 380
GRAY: Final = "#6b6b6b"
_GRID: Final = "#e8e8e8"
_NO_TEMPLATE: Final = "none"


@dataclass(frozen=True)
class Plot:
    """A figure of a page.

    Attributes:
        name: unique on the page.
        title: above it.
        alt: what there is to be seen, for readers who do not see it.
        figure: what plotly draws.
        caption: what a reader must know, below it.
        variants: by label which traces are shown; the reader chooses, the first at the start.
        wide: whether it takes the whole width.
    """

    name: str
    title: str
    alt: str
    figure: go.Figure
    caption: str = ""
    variants: dict[str, list[int]] = field(default_factory=dict)
    wide: bool = False

    @property
    def id(self) -> str:
        """The name as an id of the page."""
        return re.sub(r"[^A-Za-z0-9_-]+", "-", self.name)

    def record(self) -> dict[str, Any]:
        """What the script of the page needs."""
        drawn = self.figure.to_dict()
        drawn["layout"].pop("template", None)
        shown = [[label, traces] for label, traces in self.variants.items()]
        return {**drawn, "variants": shown}


def as_json(value: Any) -> str:
    """JSON that may stand in a script of a page: < > and / are escaped."""
    return str(to_json_plotly(value, engine="json"))


def harmless(name: object) -> str:
    """A name as text of a figure, whatever it holds."""
    return html.escape(str(name), quote=False)


def blank(
    x: str = "",
    y: str = "",
    *,
    height: int = HEIGHT,
    legend: bool = True,
    margin: tuple[int, int] = (64, 56),
) -> go.Figure:
    """An empty figure with named axes.

    Args:
        x: title of the axis.
        y: title of the axis.
        height: pixels.
        legend: whether there is one, below.
        margin: left and bottom, pixels; axes make more room where labels need it.
    """
    axis = {
        "gridcolor": _GRID, "zeroline": False, "linecolor": "#999999", "automargin": True,
        "ticks": "outside", "ticklen": 4,
    }  # fmt: skip
    left, bottom = margin
    return go.Figure(
        layout={
            "template": _NO_TEMPLATE,
            "height": height,
            "margin": {"l": left, "r": 16, "t": 16, "b": bottom},
            "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#222222"},
            "paper_bgcolor": "#ffffff",
            "plot_bgcolor": "#ffffff",
            "hoverlabel": {"font": {"size": 12}, "namelength": -1},
            "showlegend": legend,
            "legend": {
                "orientation": "h",
                "yref": "container",
                "y": 0,
                "yanchor": "bottom",
                "itemsizing": "constant",
            },
            "xaxis": {**axis, "title": {"text": x}},
            "yaxis": {**axis, "title": {"text": y}},
            "dragmode": "zoom",
        }
    )


def named_axis(names: Sequence[object], *, angle: int | None = None) -> dict[str, Any]:
    """Settings of an axis with names at 0, 1, 2 ..."""
    found = {
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": [harmless(name) for name in names],
        "range": [-0.6, len(names) - 0.4],
    }
    return found if angle is None else {**found, "tickangle": angle}


def segments(
    ends: Iterable[tuple[float | None, float | None, float]], *, upright: bool
) -> tuple[list[float | None], list[float | None]]:
    """Lines between two ends each, as one trace: x and y with gaps.

    Args:
        ends: low, high and the place on the other axis; those without an end are left out.
        upright: whether the ends are on the y axis.
    """
    along: list[float | None] = []
    across: list[float | None] = []
    for low, high, place in ends:
        if low is not None and high is not None:
            along += [low, high, None]
            across += [place, place, None]
    return (across, along) if upright else (along, across)


def level(figure: go.Figure, at: float, label: str, *, upright: bool = False) -> None:
    """A dotted line through the figure, with a label."""
    line = {"color": GRAY, "width": 1, "dash": "dot"}
    words = {"text": harmless(label), "font": {"color": "#595959"}, "showarrow": False}
    if upright:
        figure.add_vline(at, line=line, annotation=words, annotation_position="top")
    else:
        figure.add_hline(at, line=line, annotation=words, annotation_position="top right")


def known(values: Iterable[float | None]) -> list[float]:
    """The values that there are and that are finite."""
    return [float(value) for value in values if value is not None and np.isfinite(value)]
