"""Moving recurrent edges to other sources and targets, so that what results is a network of the same rules.

What an edge is besides its weight belongs to its ends: type, port, delay and synapse model go with the
(source population, target cell model). An edge with new ends takes them from an edge that has such ends
already, drawn at random; where the network has none, from the edge type whose queries name the two
(SONATA); else from an edge between the two populations, and in last resort one of a source of the same sign
onto that cell model, onto that population, or onto any cell.

A weight in pA is s / (A z) as in `weights`. The PSP moves with the edge, and 1/A is that of the new target.
"""

import dataclasses
import re
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.experiments.ablations.synapses import groups_of_ends
from v1builder.load.network import EdgePopulation, Network
from v1builder.load.psp import unit_psp
from v1builder.schema.errors import NetworkError
from v1builder.sonata.join import numbers, receptor_of_type, type_rows
from v1builder.sonata.synapse_models import TSODYKS, model_names, templates

Indices = NDArray[np.int64]

_QUERY: Final = re.compile(r"\s*(\w+)\s*==\s*'([^']*)'\s*")

#: What the queries of a type must be about: of the source and of the target.
_NAMES: Final = ("pop_name", "node_type_id")


@dataclass(frozen=True)
class _Ends:
    """What sources and targets are.

    Attributes:
        source_population: [sources] number of each one's population.
        source_sign: [sources] excitatory or inhibitory, as a number.
        target_population: [cells] number of each one's population.
        target_model: [cells] number of each one's node type.
    """

    source_population: Indices
    source_sign: Indices
    target_population: Indices
    target_model: Indices

    @classmethod
    def of(cls, network: Network, edges: EdgePopulation) -> "_Ends":
        population = groups_of_ends(network, "population")
        sign = groups_of_ends(network, "ei")
        _, model = np.unique(network.cells.node_type_id, return_inverse=True)
        return cls(
            population[edges.source],
            sign[edges.source],
            population[network.simulated],
            model.astype(np.int64),
        )

    def keys(self, source: NDArray, target: NDArray) -> list[Indices]:
        """[e] numbers of what decides about an edge, from the finest to the coarsest."""
        population, sign = self.source_population[source], self.source_sign[source]
        model, group = self.target_model[target], self.target_population[target]
        n = 1 + int(max(self.target_model.max(initial=0), self.target_population.max(initial=0)))
        finest = [population * n + model, population * n + group]
        return [*finest, sign * n + model, sign * n + group, sign]


def moved(
    network: Network,
    edges: EdgePopulation,
    source: NDArray[np.integer],
    target: NDArray[np.integer],
    generator: np.random.Generator,
    scale: NDArray[np.float64] | float = 1.0,
) -> EdgePopulation:
    """The edges between other cells, in the order of (target, source).

    Args:
        network: that they are of.
        edges: as they are.
        source: [e] new source of each.
        target: [e] new target of each.
        generator: for the choice of edges to be like.
        scale: [e] what PSPs are multiplied by.

    Raises:
        NetworkError: no edge comes from a source of the sign, or a port has no PSP.
    """
    unit = unit_psp(network)
    psp = edges.weight * unit.of(edges) * scale
    columns = _of_ends(edges)
    like, of_types = _likes(network, edges, source, target, generator)
    if of_types is not None:
        columns = {name: np.append(own, of_types[name]) for name, own in columns.items()}
    found = {name: column[like] for name, column in columns.items()}
    order = np.lexsort((source, target))
    per_pA = unit.values[unit.kind_of[target], found["receptor"]]
    plasticity = edges.plasticity
    if plasticity is not None:
        plasticity = dataclasses.replace(plasticity, group_of=found["plasticity"][order])
    return dataclasses.replace(
        edges,
        source_index=source[order].astype(np.int32),
        target_index=target[order].astype(np.int32),
        edge_type_id=found["edge_type_id"][order],
        weight=(psp / per_pA)[order],
        nsyns=edges.nsyns[order],
        delay=found["delay"][order].astype(np.float32),
        receptor=found["receptor"][order].astype(np.int16),
        plasticity=plasticity,
    )


def _of_ends(edges: EdgePopulation) -> dict[str, NDArray]:
    """[e] by name, what edges have because of their ends."""
    columns: dict[str, NDArray] = {
        "edge_type_id": edges.edge_type_id.astype(np.int64),
        "receptor": edges.receptor.astype(np.int64),
        "delay": edges.delay,
    }
    if edges.plasticity is not None:
        columns["plasticity"] = edges.plasticity.group_of.astype(np.int64)
    return columns


def _likes(
    network: Network,
    edges: EdgePopulation,
    source: NDArray[np.integer],
    target: NDArray[np.integer],
    generator: np.random.Generator,
) -> tuple[Indices, dict[str, NDArray] | None]:
    """What every edge is to be like: the position of an edge, or the number of edges + the row of a type.

    Returns:
        [e] which, and what edges of each type are; None where no edge is like a type.
    """
    ends = _Ends.of(network, edges)
    before = ends.keys(edges.source_index, edges.target_index)
    after = ends.keys(source, target)
    like = np.where(before[0] == after[0], np.arange(len(edges)), -1)
    table = None
    for level, (old, new) in enumerate(zip(before, after, strict=True)):
        at = np.flatnonzero(like < 0)
        like[at] = _alike(old, new[at], generator)
        at = at[like[at] < 0]
        if level == 0 and len(at):
            table = _table(edges)
            if table is not None:
                rows = table.rows(network, edges, source[at], target[at])
                like[at] = np.where(rows < 0, -1, len(edges) + rows)
    if (like < 0).any():
        at = int(np.argmin(like))
        raise NetworkError.of(
            "an edge has nothing to be like: no source of its sign has edges",
            f"edges {edges.name}",
            f"a new edge from source {source[at]} to cell {target[at]}",
        )
    return like, None if table is None else table.columns


def _alike(old: Indices, wanted: Indices, generator: np.random.Generator) -> Indices:
    """For every wanted key a random position at which `old` has it; -1 where it has not."""
    order = np.argsort(old, kind="stable")
    first, last = (np.searchsorted(old[order], wanted, side=side) for side in ("left", "right"))
    at = first + (generator.random(len(wanted)) * (last - first)).astype(np.int64)
    found = order[np.minimum(at, max(len(order) - 1, 0))] if len(order) else np.full(len(at), -1)
    return np.where(last > first, found, -1)


@dataclass(frozen=True)
class _Table:
    """Edge types that say which population and which node type they connect.

    Attributes:
        type_of: row of the table by (population, node type).
        columns: [types] what edges of the type are.
    """

    type_of: dict[tuple[str, str], int]
    columns: dict[str, NDArray]

    def rows(
        self, network: Network, edges: EdgePopulation, source: NDArray, target: NDArray
    ) -> Indices:
        """[e] row of the type of each edge; -1 where none names its ends."""
        names = np.asarray(network.nodes[edges.source].attributes["pop_name"]).astype(str)
        node_type = network.cells.node_type_id.astype(str)
        ends = zip(names[source].tolist(), node_type[target].tolist(), strict=True)
        return np.array([self.type_of.get(pair, -1) for pair in ends], np.int64)


def _table(edges: EdgePopulation) -> _Table | None:
    """What the edge types say, unless they do not say it or the edges are not as they say."""
    types = edges.types
    if not {"source_query", "target_query", "delay"} <= set(types.columns):
        return None
    delay, port = numbers(types["delay"].to_numpy()), receptor_of_type(types)
    row = type_rows(edges.edge_type_id, types)
    as_said = (port[row] == edges.receptor + 1) & (delay[row].astype(np.float32) == edges.delay)
    if not as_said.all():
        return None
    known = np.isfinite(port) & np.isfinite(delay)
    columns: dict[str, NDArray] = {
        "edge_type_id": types.index.to_numpy(np.int64),
        "receptor": np.where(known, port - 1, 0).astype(np.int64),
        "delay": delay.astype(np.float32),
    }
    if edges.plasticity is not None:
        row_of = {label: row for row, label in enumerate(edges.plasticity.labels)}
        names = zip(model_names(types), templates(types) == TSODYKS, strict=True)
        models = np.array([row_of.get(str(name), -2) if plastic else -1 for name, plastic in names])
        known &= models > -2
        columns["plasticity"] = models
    return _Table(_types_by_ends(types, known), columns)


def _types_by_ends(types: pd.DataFrame, known: NDArray[np.bool_]) -> dict[tuple[str, str], int]:
    """Row by (population, node type) of those types that are `known` and name both in their queries."""
    found: dict[tuple[str, str], int] = {}
    queries = zip(types["source_query"], types["target_query"], strict=True)
    for row, (source, target) in enumerate(queries):
        ends = _QUERY.fullmatch(str(source)), _QUERY.fullmatch(str(target))
        if known[row] and all(
            end and end[1] == name for end, name in zip(ends, _NAMES, strict=True)
        ):
            population, model = (str(end[2]) for end in ends if end)
            found.setdefault((population, model), row)
    return found
