"""Figures of a network alone: who is connected with whom, how often and how strongly, fields, tuning."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.load import Groups, Network, NodePopulation, group_cells
from v1builder.load.network import EdgePopulation
from v1builder.report.column import ShownColumn, base64_of
from v1builder.report.palette import EXCITATORY, INHIBITORY, color_of
from v1builder.report.plots import Plot, blank, harmless, level, named_axis
from v1builder.schema.errors import V1BuilderError

#: Edges of the LGN in a page, see `lgn_data`.
_LGN_EDGES_MAX: Final = 100_000
_UNITS_MAX: Final = 5_000
_BINS: Final = 60
_BIN_DEG: Final = 10
_QUARTILES: Final = (5, 25, 50, 75, 95)


def groups_of(nodes: NodePopulation) -> Groups:
    """The nodes by population; those that do not say it are one."""
    try:
        return group_cells(nodes, "population")
    except V1BuilderError:
        return Groups(np.zeros(len(nodes), np.int64), (nodes.name,))


def matrix_plot(network: Network) -> Plot | None:
    """From population to population: probability of a connection, numbers, weights."""
    own = [edges for edges in network.edges.values() if edges.source == network.simulated]
    own = [edges for edges in own if len(edges)]
    if not own:
        return None
    groups = groups_of(network.cells)
    k, sizes = len(groups), groups.sizes.astype(np.float64)
    count, weight, pairs = (np.zeros((k, k)) for _ in range(3))
    for edges in own:
        pre, post = groups.of_cell[edges.source_index], groups.of_cell[edges.target_index]
        key = pre * k + post
        count += np.bincount(key, minlength=k * k).reshape(k, k)
        weight += np.bincount(key, edges.weight, k * k).reshape(k, k)
        pair = np.unique(edges.source_index.astype(np.int64) * network.n_cells + edges.target_index)
        of_pair = (
            groups.of_cell[pair // network.n_cells] * k + groups.of_cell[pair % network.n_cells]
        )
        pairs += np.bincount(of_pair, minlength=k * k).reshape(k, k)
    possible = np.outer(sizes, sizes) - np.diag(sizes)
    with np.errstate(invalid="ignore", divide="ignore"):
        shown = {
            "probability of a connection": np.where(possible > 0, pairs / possible, np.nan),
            "mean weight (pA)": np.where(count > 0, weight / count, np.nan),
            "edges per target cell": count / sizes[None, :],
            "edges": count,
        }
    figure = blank("to", "from", height=max(380, 120 + 24 * k), legend=False, margin=(84, 84))
    for place, (label, z) in enumerate(shown.items()):
        top = float(np.nanmax(np.abs(z))) or 1.0
        signed = label.startswith("mean weight")
        figure.add_heatmap(
            z=z.astype(np.float32),
            colorscale="RdBu_r" if signed else "Blues",
            zmin=-top if signed else 0,
            zmax=top,
            visible=place == 0,
            colorbar={"thickness": 12},
            customdata=_labels(groups.labels),
            hovertemplate="%{customdata}: %{z:.4g}<extra></extra>",
            name=label,
        )
    figure.update_xaxes(**named_axis(groups.labels, angle=-60), showgrid=False)
    figure.update_yaxes(**named_axis(groups.labels), showgrid=False)
    figure.update_xaxes(range=[-0.5, k - 0.5])
    figure.update_yaxes(range=[k - 0.5, -0.5])
    return Plot(
        "matrix",
        "Connections between populations",
        f"Connections from each of {k} populations to each, {int(count.sum()):,} edges in all.",
        figure,
        "Rows are sources, columns are targets; white where there are none.",
        variants={label: [place] for place, label in enumerate(shown)},
        wide=k > 8,
    )


def _labels(names: Sequence[str]) -> list[list[str]]:
    return [[harmless(f"{pre} to {post}") for post in names] for pre in names]


def degree_plot(network: Network) -> Plot | None:
    """Numbers of edges into and out of the cells, by population, a variant for every kind of edges."""
    groups = groups_of(network.cells)
    counted = {}
    for edges in network.edges.values():
        if edges.target == network.simulated:
            counted[f"in, {edges.name}"] = np.bincount(
                edges.target_index, minlength=network.n_cells
            )
        if edges.source == network.simulated:
            counted[f"out, {edges.name}"] = np.bincount(
                edges.source_index, minlength=network.n_cells
            )
    if not counted:
        return None
    figure = blank("", "edges of a cell", legend=False, margin=(64, 96))
    for place, (label, degree) in enumerate(counted.items()):
        ends = np.array(
            [
                np.percentile(degree[groups.of_cell == group], _QUARTILES)
                for group in range(len(groups))
            ]
        ).T
        figure.add_box(
            x=list(range(len(groups))),
            lowerfence=ends[0], q1=ends[1], median=ends[2], q3=ends[3], upperfence=ends[4],
            mean=[float(degree[groups.of_cell == group].mean()) for group in range(len(groups))],
            marker={"color": color_of(1)},
            visible=place == 0,
            name=harmless(label),
        )  # fmt: skip
    figure.update_xaxes(**named_axis(groups.labels, angle=-60))
    figure.update_yaxes(rangemode="tozero")
    said = ", ".join(f"{label} {degree.mean():.0f}" for label, degree in counted.items())
    return Plot(
        "degrees",
        "Edges of a cell",
        f"Numbers of edges of a cell by population; mean over all cells: {said}.",
        figure,
        "Boxes: quartiles and median of cells; whiskers: 5 and 95 %; dashed: mean.",
        variants={label: [place] for place, label in enumerate(counted)},
    )


def weight_plot(network: Network) -> Plot | None:
    """Distributions of the magnitude of weights, by kind of edges and sign."""
    figure = blank("weight (pA)", "share of the edges")
    variants, said = {}, []
    for edges in network.edges.values():
        shown = []
        for sign, name, color in ((1, "excitatory", EXCITATORY), (-1, "inhibitory", INHIBITORY)):
            size = np.abs(edges.weight[np.sign(edges.weight) == sign])
            if not len(size):
                continue
            bins = np.geomspace(size.min(), max(size.max(), 1.001 * size.min()), _BINS + 1)
            n, _ = np.histogram(size, bins)
            figure.add_scatter(
                x=np.sqrt(bins[:-1] * bins[1:]).astype(np.float32),
                y=(n / len(size)).astype(np.float32),
                mode="lines",
                line={"color": color, "width": 2, "shape": "hvh"},
                fill="tozeroy",
                visible=not variants,
                name=f"{name}, median {np.median(size):.3g} pA",
                hovertemplate="%{x:.3g} pA: %{y:.1%}",
            )
            shown.append(len(figure.data) - 1)  # pyright: ignore[reportArgumentType]
            said.append(f"{edges.name} {name} {np.median(size):.3g} pA")
        if shown:
            variants[edges.name] = shown
    if not variants:
        return None
    figure.update_xaxes(type="log")
    figure.update_yaxes(rangemode="tozero")
    alt = f"Distributions of the magnitudes of weights; medians: {', '.join(said)}."
    return Plot(
        "weights",
        "Weights",
        alt,
        figure,
        "Magnitudes; the bins are equal on the logarithmic axis.",
        variants=variants,
    )


def lgn_of(network: Network) -> tuple[NodePopulation, EdgePopulation] | None:
    """The input population with receptive fields, and its edges; None where there is none."""
    for edges in network.edges.values():
        nodes = network.nodes[edges.source]
        fields = all(name in nodes.attributes for name in ("x", "y", "spatial_size"))
        if edges.source != network.simulated and fields and len(edges):
            return nodes, edges
    return None


def fields_plot(nodes: NodePopulation) -> Plot:
    """Where LGN units look; the last two traces are for those that the chosen cell hears."""
    figure = blank("visual field, x (degrees)", "visual field, y (degrees)", height=460)
    step = max(1, -(-len(nodes) // _UNITS_MAX))
    x, y = (nodes.attributes[name][::step].astype(np.float32) for name in ("x", "y"))
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        marker={"size": 2.5, "color": "#c4c4c4"},
        name=f"all {len(nodes):,} units" if step == 1 else f"every {step}. of {len(nodes):,} units",
        hoverinfo="skip",
    )
    for name, color in (("ON, of the chosen cell", EXCITATORY), ("OFF, and others", INHIBITORY)):
        figure.add_scatter(
            x=[],
            y=[],
            mode="markers",
            marker={"color": color, "opacity": 0.75, "line": {"width": 0.5, "color": "#ffffff"}},
            name=name,
            hoverinfo="skip",
        )
    figure.update_yaxes(scaleanchor="x")
    return Plot(
        "fields",
        "LGN receptive fields",
        f"Centres of the receptive fields of {len(nodes):,} LGN units, and those that the cell "
        "chosen in the column hears.",
        figure,
        "Choose a cell in the column: the area of a point is the weight of that input to it.",
    )


def _kinds(nodes: NodePopulation) -> NDArray[np.str_]:
    names = nodes.attributes.get("pop_name", np.full(len(nodes), nodes.name))
    return np.asarray(names).astype(str)


def lgn_data(column: ShownColumn, nodes: NodePopulation, edges: EdgePopulation) -> dict[str, Any]:
    """The inputs from the LGN of as many of the cells that can be chosen as there is room for."""
    n = len(column)
    degree = np.bincount(edges.target_index, minlength=n)
    chosen = column.chosen
    while len(chosen) > 1 and degree[chosen].sum() > _LGN_EDGES_MAX:
        chosen = chosen[::2]
    kept = np.zeros(n, bool)
    kept[chosen] = True
    of = np.flatnonzero(kept[edges.target_index])
    of = of[np.argsort(edges.target_index[of], kind="stable")]
    weight = np.abs(edges.weight[of])
    top = float(weight.max(initial=0.0)) or 1.0
    heard = np.bincount(edges.target_index[of], weight, n)
    units, unit = np.unique(edges.source_index[of], return_inverse=True)
    kinds = _kinds(nodes)[units]
    return {
        "x": base64_of(nodes.attributes["x"][units].astype("<f4")),
        "y": base64_of(nodes.attributes["y"][units].astype("<f4")),
        "on": ["ON" in kind and "OFF" not in kind for kind in kinds.tolist()],
        "unit": base64_of(unit.astype(np.uint16 if len(units) < 2**16 else np.uint32)),
        "wide": 16 if len(units) < 2**16 else 32,
        "inputs": base64_of(np.bincount(edges.target_index[of], minlength=n).astype("<u4")),
        "weight": base64_of(np.round(255 * weight / top).astype(np.uint8)),
        "first": int(np.argmax(heard)) if len(of) else None,
    }


def tuning_plots(network: Network) -> list[Plot]:
    """Preferred angles of the cells, and who is connected with whom by the difference of these."""
    cells = network.cells
    if "tuning_angle" not in cells.attributes:
        return []
    angle = np.asarray(cells.attributes["tuning_angle"], np.float64) % 360
    known = np.isfinite(angle)
    excitatory = np.asarray(cells.attributes.get("ei", np.full(len(cells), "e"))).astype(str) == "e"
    figure = blank("", "", height=420)
    edges = np.arange(0, 361, _BIN_DEG)
    for name, color, of in (
        ("excitatory", EXCITATORY, excitatory),
        ("inhibitory", INHIBITORY, ~excitatory),
    ):
        n, _ = np.histogram(angle[of & known], edges)
        figure.add_barpolar(
            r=n,
            theta=(edges[:-1] + edges[1:]) / 2,
            marker={"color": color},
            name=name,
            hovertemplate="%{theta:.0f}°: %{r} cells",
        )
    figure.update_layout(
        polar={"radialaxis": {"tickfont": {"size": 10}}, "angularaxis": {"dtick": 45}}
    )
    found = [
        Plot(
            "tuning",
            "Tuning angles",
            f"Numbers of cells by tuning angle, in steps of {_BIN_DEG} degrees.",
            figure,
            "Angles as assigned when the network was built; excitatory and inhibitory cells are stacked.",
        )
    ]
    curves = _alike(network, angle, excitatory, known)
    return [*found, *([curves] if curves is not None else [])]


def _alike(
    network: Network,
    angle: NDArray[np.float64],
    excitatory: NDArray[np.bool_],
    known: NDArray[np.bool_],
) -> Plot | None:
    """Connection probability against the difference of tuning, over all pairs of cells of the same signs."""
    own = [e for e in network.edges.values() if e.source == network.simulated and len(e)]
    if not own or not known.all():
        return None
    n = network.n_cells
    pair = np.unique(
        np.concatenate([e.source_index.astype(np.int64) * n + e.target_index for e in own])
    )
    pre, post = pair // n, pair % n
    bins = np.arange(0, 91, _BIN_DEG)
    apart = _folded(angle[pre] - angle[post])
    figure = blank("difference of tuning (degrees)", "probability of a connection")
    said = []
    for index, (from_e, to_e) in enumerate(
        ((True, True), (True, False), (False, True), (False, False))
    ):
        of = (excitatory[pre] == from_e) & (excitatory[post] == to_e)
        possible = _pairs_apart(angle, excitatory == from_e, excitatory == to_e, bins)
        connected, _ = np.histogram(apart[of], bins)
        share = np.divide(
            connected, possible, out=np.full(len(possible), np.nan), where=possible > 0
        )
        name = f"{'EI'[not from_e]} to {'EI'[not to_e]}"
        figure.add_scatter(
            x=(bins[:-1] + bins[1:]) / 2,
            y=share,
            mode="lines+markers",
            line={"color": color_of(index), "width": 2},
            name=name,
            hovertemplate="%{y:.2%}",
        )
        said.append(f"{name} {share[0]:.3f} to {share[-1]:.3f}")
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(range=[0, 90], dtick=15)
    level(figure, 0, "")
    return Plot(
        "alike",
        "Like connects to like",
        f"Probability of a connection from like to orthogonal tuning: {'; '.join(said)}.",
        figure,
        "Of all pairs of cells with these signs, whatever their distance; of orientations.",
    )


def _folded(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Difference of orientations, 0 to 90 degrees."""
    folded = np.abs(difference) % 180
    return np.minimum(folded, 180 - folded)


def _pairs_apart(
    angle: NDArray[np.float64],
    pre: NDArray[np.bool_],
    post: NDArray[np.bool_],
    bins: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Numbers of pairs of different cells by difference of orientation, from histograms of a tenth degree."""
    n = 1800
    one, other = (
        np.bincount((angle[of] % 180 * 10).astype(int) % n, minlength=n) for of in (pre, post)
    )
    spectrum = np.conj(np.fft.rfft(one)) * np.fft.rfft(other)
    pairs = np.rint(np.fft.irfft(spectrum, n))
    pairs[0] -= np.count_nonzero(pre & post)  # no cell with itself
    lag = _folded(np.arange(n) / 10)
    return np.histogram(lag, bins, weights=pairs)[0]
