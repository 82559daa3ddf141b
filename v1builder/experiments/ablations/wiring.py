"""Ablations of who is connected to whom: recurrent edges that keep their PSPs and get other ends.

All keep the number of edges exactly, let no cell connect to itself and no pair connect twice (unless pairs
did so before), and keep the signs of sources. A boundary cell is a cell of its population like any other,
but it only sends: its edges are rewired among themselves by the same rule, and it never becomes a target.
"""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from v1builder.experiments.ablations.base import Ablation, Details, Draw
from v1builder.experiments.ablations.moving import moved
from v1builder.experiments.ablations.synapses import groups_of_ends, recurrent, with_edges
from v1builder.experiments.ablations.vicinity import tiles, tuning_bins
from v1builder.experiments.ablations.weights import relative_size
from v1builder.load.groups import group_cells
from v1builder.load.network import EdgePopulation, Network

Ends = tuple[NDArray[np.int64], NDArray[np.int64]]


class Wiring(Ablation):
    """Recurrent edges between other cells."""

    @property
    def is_random(self) -> bool:
        """True: the seed decides who is connected."""
        return True

    def rewired(
        self, network: Network, generator: np.random.Generator
    ) -> dict[str, EdgePopulation]:
        """By recurrent edge population: as many edges, between other cells."""
        raise NotImplementedError

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Recurrent edges; records how many there are, and the share that no pair of cells had before."""
        changed = self.rewired(network, draw.generator(self.name))
        before = {name: network.edges[name] for name in changed}
        details = {
            name: {"edges": len(edges), "new": _share_new(before[name], edges)}
            for name, edges in changed.items()
        }
        return with_edges(network, changed), details


def pair_keys(source: NDArray[np.integer], target: NDArray[np.integer]) -> NDArray[np.int64]:
    """[e] one number for each pair of cells."""
    return (source.astype(np.int64) << 32) + target


def _share_new(before: EdgePopulation, after: EdgePopulation) -> float:
    keys = [pair_keys(e.source_index, e.target_index) for e in (before, after)]
    return float(1 - np.isin(keys[1], keys[0]).mean()) if len(before) else 0.0


class TypeShuffle(Wiring):
    """Cells change places in the recurrent graph with cells of other types of their sign.

    A random permutation moves every cell into the place of another one of its sign: it keeps its membrane and
    its inputs from LGN and background, and gets the other's recurrent edges, incoming and outgoing. The graph
    stays the same; which types sit where in it does not. Cells only change places with cells near them and
    similarly tuned (`vicinity`), so that the dependence of connections on distance and tuning stays.
    """

    word: ClassVar[str] = "type_shuffle"

    def rewired(
        self, network: Network, generator: np.random.Generator
    ) -> dict[str, EdgePopulation]:
        """The edges of every cell, for the cell that takes its place."""
        edges_of = recurrent(network)
        names = sorted({network.simulated, *(edges.source for edges in edges_of.values())})
        taker = {name: _taker(network, name, generator) for name in names}
        return {
            name: moved(
                network,
                edges,
                taker[edges.source][edges.source_index],
                taker[network.simulated][edges.target_index],
                generator,
            )
            for name, edges in edges_of.items()
        }


def _taker(network: Network, population: str, generator: np.random.Generator) -> NDArray[np.int64]:
    """[cells] which cell takes the place of each: a permutation within sign, tile and bin of tuning."""
    nodes = network.nodes[population]
    sign = group_cells(nodes, "ei").of_cell
    stratum = _within(sign, _within(tiles(nodes, sign), tuning_bins(nodes, sign)))
    order = np.argsort(stratum, kind="stable")
    at_random = np.lexsort((generator.random(len(stratum)), stratum))
    taker = np.empty(len(order), np.int64)
    taker[order] = at_random
    return taker


def _within(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    return a * (int(b.max(initial=0)) + 1) + b


class ErPair(Wiring):
    """Every pair of populations is a random graph of its own number of edges.

    Neither positions nor tuning nor sizes matter.
    """

    word: ClassVar[str] = "er_pair"

    def rewired(
        self, network: Network, generator: np.random.Generator
    ) -> dict[str, EdgePopulation]:
        """Edges between random pairs of cells of the same populations."""
        groups = groups_of_ends(network, "population")
        return _at_random(network, groups, groups[network.simulated], generator)


class ErGlobal(Wiring):
    """A random graph of the edges of excitatory sources and one of those of inhibitory sources.

    The two numbers of edges and all PSPs stay; which types are connected does not. The positive control: who
    finds no effect of this one should not believe that others have none.
    """

    word: ClassVar[str] = "er_global"

    def rewired(
        self, network: Network, generator: np.random.Generator
    ) -> dict[str, EdgePopulation]:
        """Edges between random pairs of a source of the same sign and any cell."""
        everywhere = np.zeros(network.n_cells, np.int64)
        return _at_random(network, groups_of_ends(network, "ei"), everywhere, generator)


def _at_random(
    network: Network,
    source_groups: dict[str, NDArray[np.int64]],
    target_group: NDArray[np.int64],
    generator: np.random.Generator,
) -> dict[str, EdgePopulation]:
    """Edges between random pairs of each (group of sources, group of targets), as many as it has.

    In-degrees then do not follow the sizes of the targets, so the PSPs are not divided by sizes either.
    """
    size = relative_size(network)
    found = {}
    for name, edges in recurrent(network).items():
        ends = _random_ends(
            edges,
            source_groups[edges.source],
            target_group,
            edges.source == network.simulated,
            generator,
        )
        found[name] = moved(network, edges, *ends, generator, size[edges.target_index])
    return found


def _random_ends(
    edges: EdgePopulation,
    source_group: NDArray[np.int64],
    target_group: NDArray[np.int64],
    within: bool,
    generator: np.random.Generator,
) -> Ends:
    """[e] new source and target of every edge; `within` says that both are the simulated cells."""
    key = _within(source_group[edges.source_index], target_group[edges.target_index])
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    source, target = np.empty(len(edges), np.int64), np.empty(len(edges), np.int64)
    for own in np.split(order, first[1:]) if len(order) else []:
        one = own[0]
        sources = np.flatnonzero(source_group == source_group[edges.source_index[one]])
        targets = np.flatnonzero(target_group == target_group[edges.target_index[one]])
        source[own], target[own] = _random_pairs(sources, targets, len(own), within, generator)
    return source, target


def _random_pairs(
    sources: NDArray[np.int64],
    targets: NDArray[np.int64],
    n: int,
    within: bool,
    generator: np.random.Generator,
) -> Ends:
    """`n` different pairs in random order; none of a cell with itself if both are of one population."""
    itself = np.searchsorted(targets, sources)
    inside = within and bool(np.isin(sources, targets).all())
    n_each = len(targets) - inside
    if not n_each:  # one cell that is connected with itself
        return np.repeat(sources, n), np.repeat(targets, n)
    row, column = np.divmod(distinct(len(sources) * n_each, n, generator), n_each)
    if inside:
        column += column >= itself[row]
    return sources[row], targets[column]


def distinct(n_all: int, n: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """`n` different ones of `n_all` numbers in random order; all equally often where there are not enough."""
    if n > n_all:
        rest = distinct(n_all, n % n_all, generator)
        return generator.permutation(np.concatenate([np.tile(np.arange(n_all), n // n_all), rest]))
    if 4 * n >= n_all:
        return generator.permutation(n_all)[:n]
    found = np.empty(0, np.int64)
    while len(found) < n:
        more = generator.integers(n_all, size=n - len(found))
        found = np.unique(np.concatenate([found, more]))
    return generator.permutation(found)
