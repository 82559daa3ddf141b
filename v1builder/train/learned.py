"""What training changed: weights by pair of types, and the spread of every trained parameter.

    weight_change_rms, weight_change_mean     rms and mean of d log|w| over the edges between two types
    weight_strengthened_share                 share of them that became stronger
    dispersion_NAME                           standard deviation over cells (of the logarithm, where the
                                              parameter is averaged as such), as observed, before and after

Weights keep their sign as they are learned, so the change of the logarithm says it all; edges of weight 0,
and those that changed sign (where a model lets them), have none. A spread is that over the *cells* (edges)
of a group, so it holds what cell numbers do to it, and not the number of values that were trained.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from v1builder.load import Network
from v1builder.load.groups import Groups
from v1builder.load.network import EdgePopulation, NodePopulation
from v1builder.measures import MeasureRow
from v1builder.measures.groups import measured_groups
from v1builder.model.cells import table_of
from v1builder.model.neurons.neuron import Neuron, relative_rows
from v1builder.schema.errors import NetworkError
from v1builder.schema.parameters import PARAMETERS
from v1builder.train.metric import DISPERSION, LEARNED, TRAINED, TRAINING, UNTRAINED

Array = NDArray[np.float64]

#: Spread of the network as it was built, before any ablation.
OBSERVED: Final = "observed"
#: Levels of pairs of types.
PAIR_LEVELS: Final = {"class": "class pair", "population": "population pair"}
CELLS: Final = "cells"
_NONE_CHANGED: Final = "no edge with a weight of the same sign before and after"
_ONE: Final = "fewer than two values"

Phased = tuple[str, MeasureRow]  # phase, row


def learned_rows(
    before: Network,
    after: Network,
    observed: Network,
    trained: Sequence[str],
    neuron: type[Neuron],
) -> list[Phased]:
    """Rows of all that training changed, each with its phase.

    Args:
        before: the network that was trained.
        after: the same with what it learned.
        observed: as built; of an ablated network the intact one.
        trained: names of what was learned, as `V1Network` has them.
        neuron: kind of the cells.
    """
    rows = [(TRAINING, row) for row in weight_changes(before, after, trained)]
    for phase, network in ((OBSERVED, observed), (UNTRAINED, before), (TRAINED, after)):
        rows += [(phase, row) for row in dispersions(network, trained, neuron)]
    return rows


def weight_changes(before: Network, after: Network, trained: Sequence[str]) -> list[MeasureRow]:
    """How the trained weights changed: `LEARNED` by edges, and by pair of types as "PRE>POST".

    Args:
        before: the network that was trained.
        after: the same, its edges in the same order.
        trained: names of what was learned; edges whose weights are not among them have no rows.
    """
    rows = []
    for name, edges in before.edges.items():
        if f"{name}.weight" in trained:
            change = _log_change(edges.weight, after.edges[name].weight)
            for level, groups in pairs(before, edges).items():
                rows += _changes(name, level, groups, change)
    return rows


def _log_change(old: Array, new: Array) -> Array:
    """[e] d log|w|, NaN where it does not exist."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.asarray(new, np.float64) / np.asarray(old, np.float64)
        return np.where(ratio > 0, np.log(ratio), np.nan)


def _changes(edges: str, level: str, groups: Groups, change: Array) -> Iterator[MeasureRow]:
    known = np.isfinite(change)
    of, d = groups.of_cell[known], change[known]
    n = np.bincount(of, minlength=len(groups))

    def mean(values: Array) -> Array:
        return np.bincount(of, values, len(groups)) / np.maximum(n, 1)

    found = (np.sqrt(mean(d**2)), mean(d), mean((d > 0).astype(np.float64)))
    for measure, values in zip(LEARNED, found, strict=True):
        for label, value, size in zip(groups.labels, values.tolist(), n.tolist(), strict=True):
            yield MeasureRow(
                measure, "1", edges, level, label, value if size else np.nan, size,
                "" if size else _NONE_CHANGED,
            )  # fmt: skip


def pairs(network: Network, edges: EdgePopulation) -> dict[str, Groups]:
    """The edges by level: all of them, and by the classes and the populations of both their ends."""
    found = {"network": Groups(np.zeros(len(edges), np.int64), ("network",))}
    for level, named in PAIR_LEVELS.items():
        post = _types(network.nodes[edges.target], level)
        if post is not None:
            pre = _types(network.nodes[edges.source], level) or _whole(network.nodes[edges.source])
            key = pre.of_cell[edges.source_index] * len(post) + post.of_cell[edges.target_index]
            used, of_edge = np.unique(key, return_inverse=True)
            labels = tuple(
                f"{pre.labels[one // len(post)]}>{post.labels[one % len(post)]}" for one in used
            )
            found[named] = Groups(of_edge.astype(np.int64), labels)
    return found


def _types(nodes: NodePopulation, level: str) -> Groups | None:
    """The nodes by type; None where they do not say it."""
    try:
        return measured_groups(nodes, level)
    except NetworkError:
        return None


def _whole(nodes: NodePopulation) -> Groups:
    return Groups(np.zeros(len(nodes), np.int64), (nodes.name,))


def dispersions(network: Network, trained: Sequence[str], neuron: type[Neuron]) -> list[MeasureRow]:
    """Spread of every trained parameter over the cells, or edges, of each group.

    The window of a row is "cells", or the edges. Of several currents or ports of a cell each has a measure
    of its own, numbered from 1.
    """
    rows: list[MeasureRow] = []
    held = neuron.held()
    cells: dict[str, Groups] = {}
    for level in ("network", "class", "population"):
        groups = _types(network.cells, level)
        if groups is not None:
            cells[level] = groups
    network = neuron.complete(network)
    for name in trained:
        if name in held:
            table = table_of(network, held[name])
            values = relative_rows(table, held[name])[table.group_of]
            log, unit = held[name].mean == "log", held[name].unit
            columns = values.reshape(len(values), -1).T
            for number, column in enumerate(columns, start=1):
                suffix = f"_{number}" if len(columns) > 1 else ""
                measure = f"{DISPERSION}{name}{suffix}"
                rows += _spreads(measure, unit, CELLS, cells, column, log)
            continue
        of, _, parameter = name.rpartition(".")
        edges = network.edges[of]
        values, log, unit = np.abs(edges.weight), True, "pA"
        if parameter == "delay":
            values, unit = edges.delay.astype(np.float64), "ms"
        elif parameter != "weight":
            assert edges.plasticity is not None  # it could not have been trained
            about = PARAMETERS[parameter]
            log, unit = about.mean == "log", about.unit
            values = edges.plasticity.per_cell(parameter)
            values = np.where(edges.plasticity.group_of < 0, np.nan, values)
        rows += _spreads(f"{DISPERSION}{parameter}", unit, of, pairs(network, edges), values, log)
    return rows


def _spreads(
    measure: str,
    unit: str,
    window: str,
    levels: dict[str, Groups],
    values: Array,
    log: bool,
) -> Iterator[MeasureRow]:
    """Standard deviation by group, of the logarithms where `log`: then it has no unit."""
    if log:
        values = np.log(np.where(values > 0, values, np.nan))
    known = np.isfinite(values)
    x = values[known]
    for level, groups in levels.items():
        of = groups.of_cell[known]
        n = np.bincount(of, minlength=len(groups))
        mean = np.bincount(of, x, len(groups)) / np.maximum(n, 1)
        square = np.bincount(of, (x - mean[of]) ** 2, len(groups))
        sd = np.sqrt(square / np.maximum(n - 1, 1))
        for label, value, size in zip(groups.labels, sd.tolist(), n.tolist(), strict=True):
            yield MeasureRow(
                measure, "1" if log else unit, window, level, label,
                value if size > 1 else np.nan, size, "" if size > 1 else _ONE,
            )  # fmt: skip
