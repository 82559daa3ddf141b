"""The cells of a network in space, and which of them are connected: what a page shows of a column."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from v1builder.load import Network
from v1builder.report.palette import population_colors
from v1builder.report.plots import Plot, blank, harmless
from v1builder.schema.errors import NetworkError
from v1builder.schema.files import atomic_file

#: File of a run with the column of its first seed.
COLUMN: Final = "column.npz"
#: Edges of a page, 3 bytes each and a third more as text.
EDGES_MAX: Final = 200_000
#: Cells that are drawn; of larger networks as many, evenly over all.
CELLS_MAX: Final = 20_000
#: Of the axes of the figure, for which the camera stands right: the longest, and what a column is widened to.
_LONGEST, _THINNEST = 1.5, 0.5
_DRAWN: Final = {"x": "x", "y": "z", "z": "y"}  # the third axis of the figure is depth


@dataclass(frozen=True)
class ShownColumn:
    """Cells of a network and the connections of those that can be chosen.

    Attributes:
        x, y, z: [cell] um; y is depth, negative below the pia.
        population: [cell] name.
        excitatory: [cell].
        node_id: [cell] as in the files.
        drawn: [d] positions of cells that are shown.
        chosen: [c] positions of cells whose connections are all here.
        source, target: [e] positions of the cells of an edge, sorted by source.
        weight: [e] pA, summed over edges between the same cells.
        n_edges: of the whole network.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    z: NDArray[np.float32]
    population: NDArray[np.str_]
    excitatory: NDArray[np.bool_]
    node_id: NDArray[np.int64]
    drawn: NDArray[np.int32]
    chosen: NDArray[np.int32]
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    weight: NDArray[np.float32]
    n_edges: int

    def __len__(self) -> int:
        return len(self.x)

    @property
    def populations(self) -> list[str]:
        """Names in the order of the cells."""
        return list(dict.fromkeys(self.population.tolist()))


def has_places(network: Network) -> bool:
    """Whether the cells say where they are."""
    return all(name in network.cells.attributes for name in ("x", "y", "z"))


def column_of(
    network: Network, *, edges_max: int = EDGES_MAX, cells_max: int = CELLS_MAX
) -> ShownColumn:
    """The cells of a network, and the edges among them of as many cells as a page has room for.

    Args:
        network: with places of its cells; without, all are at 0.
        edges_max: edges of the cells that can be chosen.
        cells_max: cells that are drawn.
    """
    cells = network.cells
    n = len(cells)
    places = {
        name: np.asarray(cells.attributes.get(name, np.zeros(n)), np.float32) for name in "xyz"
    }
    names = np.asarray(cells.attributes.get("pop_name", np.full(n, cells.name))).astype(str)
    source, target, weight = _among(network)
    drawn = _evenly(n, cells_max)
    degree = np.bincount(source, minlength=n) + np.bincount(target, minlength=n)
    chosen = drawn[:: max(1, round(degree[drawn].sum() / (2 * edges_max)))]
    while len(chosen) > 1 and degree[chosen].sum() > 2 * edges_max:
        chosen = chosen[::2]
    kept = np.zeros(n, bool)
    kept[chosen] = True
    of_chosen = kept[source] | kept[target]
    return ShownColumn(
        **places,
        population=names,
        excitatory=_excitatory(network, names),
        node_id=np.asarray(cells.node_id, np.int64),
        drawn=drawn,
        chosen=chosen,
        source=source[of_chosen],
        target=target[of_chosen],
        weight=weight[of_chosen],
        n_edges=len(source),
    )


def _among(network: Network) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Edges among the simulated cells, those between the same two cells as one."""
    own = [edge for edge in network.edges.values() if edge.source == network.simulated]
    if not own:
        none = np.zeros(0, np.int32)
        return none, none, np.zeros(0, np.float32)
    source = np.concatenate([edge.source_index for edge in own]).astype(np.int64)
    target = np.concatenate([edge.target_index for edge in own])
    weight = np.concatenate([edge.weight for edge in own])
    key, of_edge = np.unique(source * network.n_cells + target, return_inverse=True)
    total = np.bincount(of_edge, weight, len(key)).astype(np.float32)
    pre, post = np.divmod(key, network.n_cells)
    return pre.astype(np.int32), post.astype(np.int32), total


def _evenly(n: int, most: int) -> NDArray[np.int32]:
    """Positions of at most so many of n, evenly spaced: populations lie one after another."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int32))


def _excitatory(network: Network, names: NDArray[np.str_]) -> NDArray[np.bool_]:
    if "ei" in network.cells.attributes:
        return np.asarray(network.cells.attributes["ei"]).astype(str) == "e"
    return np.char.startswith(np.char.lower(names), "e")


def save_column(column: ShownColumn, path: Path) -> None:
    """Write the column, so that pages of a run need not read its network."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **vars(column))


def read_column(path: Path) -> ShownColumn | None:
    """What `save_column` wrote; None where there is no file.

    Raises:
        NetworkError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            values: dict[str, Any] = {name: found[name] for name in ShownColumn.__annotations__}
        values["n_edges"] = int(values["n_edges"])
        return ShownColumn(**values)
    except (OSError, ValueError, LookupError, TypeError, EOFError, BadZipFile) as error:
        fix = "remove it: the page is then made without its figure"
        raise NetworkError.of("a file is damaged", path, error, fix) from None


def column_plot(column: ShownColumn) -> Plot:
    """Cells by type in 3-D; the last three traces are for the chosen cell, its inputs and its outputs."""
    figure = blank(height=560)
    colors = colors_of(column)
    shown = np.zeros(len(column), bool)
    shown[column.drawn] = True
    for name in column.populations:
        own = np.flatnonzero(shown & (column.population == name)).astype(np.int32)
        figure.add_scatter3d(
            **{axis: getattr(column, of)[own] for axis, of in _DRAWN.items()},
            customdata=own,
            mode="markers",
            marker={"size": 3.2, "color": colors[name], "opacity": 0.85},
            name=harmless(name),
            hovertemplate="depth %{z:.0f} µm",
        )
    for name, color, symbol, size in (
        ("inputs of the cell", "#1261d1", "circle", 5),
        ("outputs of the cell", "#d97706", "diamond", 4.5),
        ("the cell", "#000000", "cross", 9),
    ):
        figure.add_scatter3d(
            x=[], y=[], z=[],
            mode="markers",
            marker={"size": size, "color": color, "symbol": symbol},
            name=name,
            hoverinfo="skip",
            visible=False,
        )  # fmt: skip
    size, widened = _proportions(column)
    axis = {"backgroundcolor": "#fafafa", "gridcolor": "#dddddd", "showspikes": False}
    figure.update_layout(
        scene={
            "xaxis": {**axis, "title": {"text": "x (µm)"}},
            "yaxis": {**axis, "title": {"text": "z (µm)"}},
            "zaxis": {**axis, "title": {"text": "depth (µm)"}},
            "aspectmode": "manual",
            "aspectratio": size,
            "camera": {"eye": {"x": 1.55, "y": 1.55, "z": 0.25}},
            "dragmode": "orbit",
        },
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
    )
    n, d, c = len(column), len(column.drawn), len(column.chosen)
    said = f"All {n:,} cells" if n == d else f"{d:,} of {n:,} cells, evenly over all"
    can = "each" if c == n else f"{c:,} of them, evenly over all,"
    sizes = ", ".join(
        f"{name} {int((column.population == name).sum())}" for name in column.populations
    )
    return Plot(
        "column",
        "The column",
        f"Cells in space by population, {sizes}. The same choices are in the list of cells below the figure.",
        figure,
        f"{said}; {can} can be chosen by a click or in the list. Drag turns, the wheel zooms, a click on a "
        "name hides a population. Weights add up those of all edges between two cells."
        + (f" Drawn {widened:.1f} times as wide as it is." if widened > 1 else ""),
        wide=True,
    )


def _proportions(column: ShownColumn) -> tuple[dict[str, float], float]:
    """Sizes of the axes of the figure, and how much wider than it is a thin column is drawn."""
    extent = {
        axis: float(np.ptp(getattr(column, of))) if len(column) else 0.0
        for axis, of in _DRAWN.items()
    }
    longest = max(extent.values()) or 1.0
    size = {axis: _LONGEST * one / longest for axis, one in extent.items()}
    across = max(size["x"], size["y"])
    widened = max(1.0, _THINNEST / across) if across else 1.0
    return {
        axis: max(one * (1 if axis == "z" else widened), 0.01) for axis, one in size.items()
    }, widened


def colors_of(column: ShownColumn) -> dict[str, str]:
    """Colours of its populations."""
    first = [int(np.argmax(column.population == name)) for name in column.populations]
    return population_colors(column.populations, [bool(column.excitatory[i]) for i in first])


def column_data(column: ShownColumn) -> dict[str, Any]:
    """What the script needs to show the inputs and outputs of a cell."""
    names = column.populations
    number = {name: place for place, name in enumerate(names)}
    wide = np.uint16 if len(column) < 2**16 else np.uint32
    top = float(np.abs(column.weight).max(initial=0.0)) or 1.0
    return {
        "places": [base64_of(getattr(column, of).astype("<f4")) for of in _DRAWN.values()],
        "populations": names,
        "population": base64_of(np.array([number[p] for p in column.population], np.uint16)),
        "node_id": column.node_id.tolist(),
        "chosen": column.chosen.tolist(),
        "outputs": base64_of(np.bincount(column.source, minlength=len(column)).astype("<u4")),
        "target": base64_of(column.target.astype(wide)),
        "wide": 8 * np.dtype(wide).itemsize,
        "weight": base64_of(_coarse(column.weight, top)),
        "top_pA": top,
    }


def _coarse(weight: NDArray[np.float32], top: float) -> NDArray[np.int8]:
    """Sign times the root of |w| / top, from 0 to 127: small weights stay apart."""
    return np.round(127 * np.sign(weight) * np.sqrt(np.abs(weight) / top)).astype(np.int8)


def base64_of(values: NDArray[Any]) -> str:
    """The bytes of an array, little-endian, as text."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
