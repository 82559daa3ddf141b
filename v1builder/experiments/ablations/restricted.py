"""An ablation of some of the cells: `mean(population, cells=NODE_SET)`.

It is what the ablation does to the network that these cells are by themselves, all other cells being cells
around it that only send, as those of a boundary do. So means and permutations are those of the chosen cells,
edges onto them may change, and nothing else: not the other cells, not the edges onto them.
"""

import dataclasses
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.experiments.ablations.base import Ablation, Details, Draw
from v1builder.experiments.ablations.cell_sets import read_cells
from v1builder.experiments.ablations.synapses import OTHERS
from v1builder.experiments.history import SpikeHistory
from v1builder.load.network import EdgePopulation, GroupedValues, Network
from v1builder.load.selection import some_cells
from v1builder.sonata.join import type_rows

Indices = NDArray[np.int64]

#: Columns of edges that an ablation may change, besides both ends, types and plasticity.
_COLUMNS: Final = ("weight", "nsyns", "delay", "receptor", "edge_type_id")


@dataclass(frozen=True)
class Restricted(Ablation):
    """An ablation of the cells of a node set.

    Attributes:
        ablation: what is done; a single one.
        cells: SONATA node set, as `cell_sets.written` writes it.
    """

    ablation: Ablation
    cells: str

    @property
    def name(self) -> str:
        """That of the ablation, with the cells as its last argument."""
        inner = self.ablation.name.removesuffix(")")
        joint = "(" if inner == self.ablation.name else ", "
        return f"{inner}{joint}cells={self.cells})"

    @property
    def needs_activity(self) -> bool:
        """Whether the ablation needs it."""
        return self.ablation.needs_activity

    @property
    def is_random(self) -> bool:
        """Whether the ablation is."""
        return self.ablation.is_random

    @property
    def keeps_charge(self) -> bool:
        """Whether the ablation does."""
        return self.ablation.keeps_charge

    @property
    def extrapolates(self) -> bool:
        """Whether the ablation does."""
        return self.ablation.extrapolates

    def affected(self, network: Network) -> NDArray[np.bool_]:
        """The cells of the node set."""
        return np.isin(np.arange(network.n_cells), self._chosen(network))

    def _chosen(self, network: Network) -> Indices:
        where = f"ablation '{self.name}'"
        return some_cells(network, read_cells(self.cells, where), where)

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """The cells and the edges onto them; records how many cells were chosen."""
        chosen = self._chosen(network)
        part = _Part.of(network, chosen)
        if draw.activity is not None:
            draw = dataclasses.replace(draw, activity=_activity(draw.activity, part))
        if draw.spared is not None:
            draw = dataclasses.replace(draw, spared=draw.spared[chosen])
        ablated, details = self.ablation.apply(part.network, draw)
        return part.put_back(network, ablated), {"chosen_cells": len(chosen), **details}


@dataclass(frozen=True)
class _Piece:
    """Edges onto the chosen cells from sources of one population.

    Attributes:
        name: of the edge population in the part.
        of: of the edge population in the whole network.
        edges: [k] positions there.
        sources: positions of the part's source units among those of the whole; None where they are the same.
    """

    name: str
    of: str
    edges: Indices
    sources: Indices | None


@dataclass(frozen=True)
class _Part:
    """The network of some cells, and where it lies in the whole."""

    network: Network
    chosen: Indices
    others: Indices
    pieces: tuple[_Piece, ...]

    @classmethod
    def of(cls, whole: Network, chosen: Indices) -> "_Part":
        others = np.setdiff1d(np.arange(whole.n_cells), chosen)
        pieces = tuple(_pieces(whole, chosen, others))
        place = np.full(whole.n_cells, -1)
        place[chosen] = np.arange(len(chosen))
        start = whole.initial_voltage
        nodes = whole.nodes | {whole.simulated: whole.cells.part(chosen)}
        if len(others):
            nodes[OTHERS] = dataclasses.replace(whole.cells.part(others), name=OTHERS)
        network = dataclasses.replace(
            whole,
            nodes=nodes,
            edges={piece.name: _cut(whole, piece, place, others) for piece in pieces},
            membrane=_rows_of(whole.membrane, chosen),
            receptors=_rows_of(whole.receptors, chosen),
            bias_current=whole.bias_current[chosen],
            initial_voltage=None if start is None else start[chosen],
        )
        return cls(network, chosen, others, pieces)

    def put_back(self, whole: Network, ablated: Network) -> Network:
        """The whole network with its part exchanged."""
        edges = dict(whole.edges)
        for name in dict.fromkeys(piece.of for piece in self.pieces):
            own = [piece for piece in self.pieces if piece.of == name]
            results = [ablated.edges[piece.name] for piece in own]
            before = [self.network.edges[piece.name] for piece in own]
            if any(after is not was for after, was in zip(results, before, strict=True)):
                edges[name] = self._joined(edges[name], own, results)
        bias = whole.bias_current.copy()
        bias[self.chosen] = ablated.bias_current
        tables = {
            name: _with_rows(getattr(whole, name), getattr(ablated, name), self.chosen)
            for name in ("membrane", "receptors")
            if getattr(ablated, name) is not getattr(self.network, name)
        }
        return dataclasses.replace(whole, edges=edges, bias_current=bias, **tables)

    def _joined(
        self, whole: EdgePopulation, pieces: Sequence[_Piece], results: Sequence[EdgePopulation]
    ) -> EdgePopulation:
        """The edge population with its pieces exchanged; sorted if any edge has other ends."""
        ends = {
            "source_index": whole.source_index.copy(),
            "target_index": whole.target_index.copy(),
        }
        columns = {name: getattr(whole, name) for name in _COLUMNS}
        types = whole.types
        for piece, result in zip(pieces, results, strict=True):
            source = result.source_index
            ends["source_index"][piece.edges] = (
                source if piece.sources is None else piece.sources[source]
            )
            ends["target_index"][piece.edges] = self.chosen[result.target_index]
            result, types = _with_own_types(result, whole.types, types)
            for name in _COLUMNS:
                columns[name] = _put(columns[name], piece.edges, getattr(result, name))
        joined = dataclasses.replace(
            whole, **ends, **columns, types=types, plasticity=_plasticity(whole, pieces, results)
        )
        joined = _typed(joined, whole)
        same = all(np.array_equal(ends[name], getattr(whole, name)) for name in ends)
        return joined if same else _sorted(joined)


def _pieces(whole: Network, chosen: Indices, others: Indices) -> Iterator[_Piece]:
    """The edges onto chosen cells; those from simulated cells by whether their sources are chosen."""
    is_chosen = np.zeros(whole.n_cells, bool)
    is_chosen[chosen] = True
    for name, edges in whole.edges.items():
        if edges.target != whole.simulated:
            continue
        onto = is_chosen[edges.target_index]
        if edges.source != whole.simulated:
            yield _Piece(name, name, np.flatnonzero(onto), None)
            continue
        inside = is_chosen[edges.source_index]
        yield _Piece(name, name, np.flatnonzero(onto & inside), chosen)
        if (onto & ~inside).any():
            yield _Piece(f"{name}, {OTHERS}", name, np.flatnonzero(onto & ~inside), others)


def _cut(whole: Network, piece: _Piece, place: Indices, others: Indices) -> EdgePopulation:
    edges, here = whole.edges[piece.of], piece.edges
    table = edges.plasticity
    source = edges.source_index[here]
    if piece.sources is not None:
        source = np.searchsorted(piece.sources, source).astype(np.int32)
    return dataclasses.replace(
        edges,
        name=piece.name,
        source=OTHERS if piece.sources is others else edges.source,
        source_index=source,
        target_index=place[edges.target_index[here]].astype(np.int32),
        **{name: getattr(edges, name)[here] for name in _COLUMNS},
        plasticity=table and _rows_of(table, here),
    )


def _rows_of(table: GroupedValues, cells: Indices) -> GroupedValues:
    return dataclasses.replace(table, group_of=table.group_of[cells])


def _with_rows(whole: GroupedValues, part: GroupedValues, where: Indices) -> GroupedValues:
    """The table in which `where` has the rows of `part`: behind its own those that it has not yet."""
    rows = {_row(whole, row): row for row in reversed(range(len(whole.labels)))}
    new = [row for row in range(len(part.labels)) if _row(part, row) not in rows]
    labels = dict.fromkeys(whole.labels)
    added = []
    for row in new:
        rows[_row(part, row)] = len(whole.labels) + len(added)
        added.append(_free(part.labels[row], labels))
        labels[added[-1]] = None
    place = np.array([rows[_row(part, row)] for row in range(len(part.labels))] + [-1])
    group_of = whole.group_of.astype(np.int64)
    group_of[where] = place[part.group_of]
    if not new:
        return dataclasses.replace(whole, group_of=group_of.astype(whole.group_of.dtype))
    values = {
        name: np.concatenate([own, part.values[name][new]]) for name, own in whole.values.items()
    }
    return GroupedValues(values, group_of, (*whole.labels, *added))


def _row(table: GroupedValues, row: int) -> tuple[str | bytes, ...]:
    """What tells rows apart."""
    return (table.labels[row], *(values[row].tobytes() for values in table.values.values()))


def _free(label: str, taken: Container[str]) -> str:
    """The label, numbered if it is taken."""
    found, number = label, 1
    while found in taken:
        found, number = f"{label}_{number}", number + 1
    return found


def _plasticity(
    whole: EdgePopulation, pieces: Sequence[_Piece], results: Sequence[EdgePopulation]
) -> GroupedValues | None:
    """The synapse models of all edges; None where none is plastic any more."""
    table = whole.plasticity
    if table is None:
        return None
    for piece, result in zip(pieces, results, strict=True):
        if result.plasticity is None:
            group_of = table.group_of.copy()
            group_of[piece.edges] = -1
            table = dataclasses.replace(table, group_of=group_of)
        else:
            table = _with_rows(table, result.plasticity, piece.edges)
    return table if (table.group_of >= 0).any() else None


def _with_own_types(
    piece: EdgePopulation, known: pd.DataFrame, types: pd.DataFrame
) -> tuple[EdgePopulation, pd.DataFrame]:
    """The piece and all types; those that the ablation made get ids that no other has."""
    made = piece.types.loc[~piece.types.index.isin(known.index)]
    if made.empty:
        return piece, types
    types = _with_types(types, made)
    ids = types.index[-len(made) :].to_numpy(np.int64)
    edge_type_id = piece.edge_type_id.astype(np.int64)
    at = made.index.get_indexer(edge_type_id)
    edge_type_id = np.where(at < 0, edge_type_id, ids[at])
    return dataclasses.replace(piece, edge_type_id=edge_type_id), types


def _with_types(types: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """The types and behind them `new` ones, with ids above all others."""
    ids = types.index.to_numpy(np.int64).max() + 1 + np.arange(len(new))
    return pd.concat([types, new.set_axis(pd.Index(ids, name=types.index.name))])


def _typed(edges: EdgePopulation, whole: EdgePopulation) -> EdgePopulation:
    """The edges, with types of their own for those that got another synapse model than their type has."""
    if edges.plasticity is None or whole.plasticity is None:
        return edges
    n = len(edges.plasticity.labels) + 1
    known = type_rows(whole.edge_type_id, whole.types) * n + whole.plasticity.group_of + 1
    row = type_rows(edges.edge_type_id, edges.types)
    model = row * n + edges.plasticity.group_of + 1
    other = ~np.isin(model, known) & (row < len(whole.types))
    kinds, kind = np.unique(model[other], return_inverse=True)
    types = _with_types(edges.types, edges.types.iloc[kinds // n])
    edge_type_id = edges.edge_type_id.astype(np.int64)
    edge_type_id[other] = types.index.to_numpy(np.int64)[len(edges.types) + kind]
    return dataclasses.replace(edges, edge_type_id=edge_type_id, types=types)


def _put(values: NDArray[Any], where: Indices, new: NDArray[Any]) -> NDArray[Any]:
    found = values.astype(np.result_type(values, new))
    found[where] = new
    return found


def _sorted(edges: EdgePopulation) -> EdgePopulation:
    """In the order of (target, source), as files have it."""
    order = np.lexsort((edges.source_index, edges.target_index))
    table = edges.plasticity
    names = (*_COLUMNS, "source_index", "target_index")
    columns: Mapping[str, Any] = {name: getattr(edges, name)[order] for name in names}
    return dataclasses.replace(edges, **columns, plasticity=table and _rows_of(table, order))


def _activity(activity: SpikeHistory, part: _Part) -> SpikeHistory:
    """What was measured, as the part sees it."""
    trains, inputs = activity.trains, dict(activity.inputs)
    if trains is not None and len(part.others):
        inputs[OTHERS] = trains.of_units(part.others)
    return dataclasses.replace(
        activity,
        rates=activity.rates[part.chosen],
        asc_current=activity.asc_current[part.chosen],
        trains=None if trains is None else trains.of_units(part.chosen),
        inputs=inputs,
    )
