"""Ablations that give edges other sources of the same population: each target keeps its edges otherwise.

Type, port, delay, synapse model and weight of an edge go with the source's population and the target, so
all of them stay, and so do every target's in-degree from each population and the strength of its input. See
`wiring` for what holds of all ablations of wiring.
"""

import dataclasses
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.experiments.ablations.synapses import groups_of_ends, pairs, recurrent
from v1builder.experiments.ablations.vicinity import tiles, tuning_bins
from v1builder.experiments.ablations.wiring import Wiring, pair_keys
from v1builder.load.network import EdgePopulation, Network, NodePopulation
from v1builder.schema.errors import NetworkError

Indices = NDArray[np.int64]

#: Times that sources are drawn again where an edge would be a second one of its pair or lead to its source.
_DRAWS: Final = 200
#: Times that all edges are paired and try to swap sources; after a few the graph is random.
_SWAPS: Final = 10


class DegreePreservingRewire(Wiring):
    """Edges of a population pair swap their sources, so that every degree by population stays.

    Edges s -> t and s' -> t' become s' -> t and s -> t' (Maslov & Sneppen 2002, Science 296:910), many
    times, unless a pair would be connected twice. Every cell keeps how many edges it has from and to each
    population; who is connected to whom is random otherwise, whatever the distance and the tuning.
    """

    word: ClassVar[str] = "degree_preserving_rewire"

    def rewired(
        self, network: Network, generator: np.random.Generator
    ) -> dict[str, EdgePopulation]:
        """The edges with swapped sources."""
        edges_of, pair_of = recurrent(network), pairs(network)
        return {
            name: _with_sources(edges, _swapped(edges, pair_of[name], generator))
            for name, edges in edges_of.items()
        }


def _swapped(edges: EdgePopulation, pair: Indices, generator: np.random.Generator) -> Indices:
    """[e] sources after rounds in which all edges of each pair meet two by two and swap if they may."""
    source, target = edges.source_index.astype(np.int64), edges.target_index.astype(np.int64)
    own_cells = edges.source == edges.target
    for _ in range(_SWAPS):
        order = np.lexsort((generator.random(len(pair)), pair))
        start = np.flatnonzero(np.diff(pair[order], prepend=-1))
        place = np.arange(len(order)) - np.repeat(start, np.diff(start, append=len(order)))
        odd = np.flatnonzero(place % 2)
        a, b = order[odd - 1], order[odd]
        new = np.stack([pair_keys(source[b], target[a]), pair_keys(source[a], target[b])])
        taken = _isin(new, pair_keys(source, target))
        # two swaps of one round must not make the same edge either
        _, which, count = np.unique(new, return_inverse=True, return_counts=True)
        taken |= count[which].reshape(new.shape) > 1
        if own_cells:
            taken |= np.stack([source[b] == target[a], source[a] == target[b]])
        free = ~taken.any(axis=0)
        a, b = a[free], b[free]
        source[a], source[b] = source[b], source[a]
    return source


class _Redrawn(Wiring):
    """Every edge gets a random source of the same population and the same stratum of it."""

    def strata(self, nodes: NodePopulation, population: Indices) -> Indices:
        """[cells] what stays of a source, besides its population ([cells])."""
        raise NotImplementedError

    def rewired(
        self, network: Network, generator: np.random.Generator
    ) -> dict[str, EdgePopulation]:
        """The edges with sources drawn anew."""
        population = groups_of_ends(network, "population")
        found = {}
        for name, edges in recurrent(network).items():
            strata = self.strata(network.nodes[edges.source], population[edges.source])
            key = population[edges.source] * (int(strata.max(initial=0)) + 1) + strata
            found[name] = _with_sources(edges, _redrawn(edges, key, generator))
        return found


class FlatDistance(_Redrawn):
    """Connections do not depend on distance; tuning and in-degrees by population stay.

    A source is replaced by any cell of its population that prefers a similar direction (`vicinity`), so that
    the dependence on tuning stays.
    """

    word: ClassVar[str] = "flat_distance"

    def strata(self, nodes: NodePopulation, population: Indices) -> Indices:
        """The preferred direction."""
        if not {"x", "z"} <= set(nodes.attributes):
            raise NetworkError.of(
                "the cells have no positions, so nothing can depend on distance",
                f"node population {nodes.name}",
                ", ".join(sorted(nodes.attributes)),
                "add the node attributes x and z, or choose degree_preserving_rewire",
            )
        return tuning_bins(nodes, population)


class NoLikeToLike(_Redrawn):
    """Connections do not depend on tuning; distances and in-degrees by population stay.

    A source is replaced by a cell of its population in the same tile of cortex (`vicinity`), whatever it
    prefers.
    """

    word: ClassVar[str] = "no_like_to_like"

    def strata(self, nodes: NodePopulation, population: Indices) -> Indices:
        """The place in cortex."""
        if "tuning_angle" not in nodes.attributes:
            raise NetworkError.of(
                "the cells have no tuning, so no connection can depend on it",
                f"node population {nodes.name}",
                ", ".join(sorted(nodes.attributes)),
                "add the node attribute tuning_angle (deg), or choose another ablation",
            )
        return tiles(nodes, population)


def _redrawn(edges: EdgePopulation, stratum: Indices, generator: np.random.Generator) -> Indices:
    """[e] sources drawn from the cells of the same `stratum`, different ones for every target.

    Where a target has edges from nearly all cells of a stratum, so that no other ones are found, it keeps
    those.
    """
    source, target = edges.source_index.astype(np.int64), edges.target_index.astype(np.int64)
    cells = np.argsort(stratum, kind="stable")
    size = np.bincount(stratum)
    first = (np.cumsum(size) - size)[stratum[source]]
    size = size[stratum[source]]
    new = np.full(len(source), -1)
    # What a target draws from one stratum depends on nothing else; only where two are alike more is drawn.
    group = np.unique(pair_keys(stratum[source], target), return_inverse=True)[1]
    active, drawn = np.arange(len(source)), np.ones(len(source), bool)
    for _ in range(_DRAWS):
        at = active[drawn[active]]
        new[at] = cells[first[at] + (generator.random(len(at)) * size[at]).astype(np.int64)]
        again = _repeats(pair_keys(new[active], target[active]), drawn[active])
        if edges.source == edges.target:
            again |= new[active] == target[active]
        drawn[active] = again
        open_groups = np.bincount(group[active], again, len(group)) > 0
        active = active[open_groups[group[active]]]
        if not len(active):
            break
    stuck = np.isin(group, group[active])
    return np.where(stuck, source, new)


def _repeats(keys: Indices, drawn: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which keys occurred before, those that are not `drawn` coming first."""
    order = np.lexsort((drawn, keys))
    repeats = np.zeros(len(keys), bool)
    repeats[order[1:]] = keys[order[1:]] == keys[order[:-1]]
    return repeats


def _with_sources(edges: EdgePopulation, source: Indices) -> EdgePopulation:
    """The edges with other sources, in the order of (target, source)."""
    order = np.lexsort((source, edges.target_index))
    table = edges.plasticity
    columns = {
        name: getattr(edges, name)[order]
        for name in ("target_index", "edge_type_id", "weight", "nsyns", "delay", "receptor")
    }
    return dataclasses.replace(
        edges,
        **columns,
        source_index=source[order].astype(np.int32),
        plasticity=table and dataclasses.replace(table, group_of=table.group_of[order]),
    )


def _isin(wanted: Indices, known: Indices) -> NDArray[np.bool_]:
    """Whether `known` has each of `wanted`."""
    known = np.sort(known)
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return known[at] == wanted
