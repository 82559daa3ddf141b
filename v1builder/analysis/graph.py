"""The network as a graph of populations: who projects to whom, how often and how strongly."""

from pathlib import Path
from typing import Final

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from v1builder.load.groups import Groups, group_cells
from v1builder.load.network import EdgePopulation, Network
from v1builder.schema.files import atomic_file

_AVERAGED: Final = {"mean_weight": "weight", "mean_nsyns": "nsyns", "mean_delay": "delay"}


def population_graph(network: Network) -> "nx.DiGraph[str]":
    """The populations of a network and the projections between them.

    Populations of simulated cells go by their `pop_name`, those of inputs by "lgn/sON_TF4", or by the
    name of the node population where it has no `pop_name`. Cell pairs connected by several edges count
    once in probability and reciprocity.

    Returns:
        A directed graph.

        Node attributes: node_population; n_cells.

        Edge attributes: n_edges; n_pairs, connected pairs of cells; probability = n_pairs / number of
        possible pairs (a cell with itself is none); mean_in_degree, edges per target cell; mean_weight
        (pA, signed); mean_nsyns; mean_delay (ms). Among simulated cells also reciprocity: the fraction
        of the connected pairs whose target also projects back to the source.
    """
    graph: nx.DiGraph[str] = nx.DiGraph()
    groups = {name: _populations(network, name) for name in network.nodes}
    for name, group in groups.items():
        for label, size in zip(group.labels, group.sizes, strict=True):
            graph.add_node(label, node_population=name, n_cells=int(size))
    between: dict[tuple[str, str], list[EdgePopulation]] = {}
    for edges in network.edges.values():
        between.setdefault((edges.source, edges.target), []).append(edges)
    for (source, target), parts in between.items():
        _add_edges(graph, parts, groups[source], groups[target])
    return graph


def _populations(network: Network, name: str) -> Groups:
    nodes = network.nodes[name]
    if "pop_name" not in nodes.attributes:
        return Groups(np.zeros(len(nodes), np.int64), (name,))
    groups = group_cells(nodes, "population")
    if name == network.simulated:
        return groups
    return Groups(groups.of_cell, tuple(f"{name}/{label}" for label in groups.labels))


def _add_edges(
    graph: "nx.DiGraph[str]", parts: list[EdgePopulation], source: Groups, target: Groups
) -> None:
    """Add the projections made by all edges from one node population to one other."""
    recurrent = parts[0].source == parts[0].target
    pre = np.concatenate([edges.source_index for edges in parts]).astype(np.int64)
    post = np.concatenate([edges.target_index for edges in parts]).astype(np.int64)
    projection = source.of_cell[pre] * len(target) + target.of_cell[post]
    n = len(source) * len(target)
    n_edges = np.bincount(projection, minlength=n)
    sums = {
        name: np.bincount(
            projection, weights=np.concatenate([getattr(e, field) for e in parts]), minlength=n
        )
        for name, field in _AVERAGED.items()
    }
    n_pairs, n_mutual = _count_pairs(source, target, pre, post, recurrent)
    for at in np.flatnonzero(n_edges):
        s, t = divmod(int(at), len(target))
        n_possible = source.sizes[s] * target.sizes[t]
        if recurrent and s == t:
            n_possible -= source.sizes[s]
        values: dict[str, int | float] = {
            "n_edges": int(n_edges[at]),
            "n_pairs": int(n_pairs[at]),
            "probability": float(n_pairs[at] / max(n_possible, 1)),
            "mean_in_degree": float(n_edges[at] / target.sizes[t]),
        }
        values |= {name: float(total[at] / n_edges[at]) for name, total in sums.items()}
        if recurrent and n_pairs[at]:
            values["reciprocity"] = float(n_mutual[at] / n_pairs[at])
        graph.add_edge(source.labels[s], target.labels[t], **values)


def _count_pairs(
    source: Groups,
    target: Groups,
    pre: NDArray[np.int64],
    post: NDArray[np.int64],
    recurrent: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[n_projections] distinct connected pairs of cells, and those connected both ways."""
    if recurrent:
        others = pre != post
        pre, post = pre[others], post[others]
    shape = (len(source.of_cell), len(target.of_cell))
    connected = sparse.csr_array((np.ones(len(pre), np.int8), (pre, post)), shape=shape)
    connected.sum_duplicates()
    connected.data[:] = 1
    n_pairs = _count(source, target, connected)
    if not recurrent:
        return n_pairs, np.zeros_like(n_pairs)
    return n_pairs, _count(source, target, sparse.csr_array(connected.multiply(connected.T)))


def _count(source: Groups, target: Groups, connected: sparse.csr_array) -> NDArray[np.int64]:
    """[n_projections] number of stored pairs."""
    pairs = connected.tocoo()
    projection = source.of_cell[pairs.row] * len(target) + target.of_cell[pairs.col]
    return np.bincount(projection, minlength=len(source) * len(target))


def projection_table(graph: "nx.DiGraph[str]") -> pd.DataFrame:
    """The edges of a population graph, one row each: source, target and the edge attributes."""
    rows = [{"source": s, "target": t, **values} for s, t, values in graph.edges(data=True)]
    return pd.DataFrame(rows)


def write_graphml(graph: "nx.DiGraph[str]", path: Path | str) -> None:
    """Write the graph as GraphML, which Gephi, Cytoscape, igraph and networkx read.

    Raises:
        StorageError: the file cannot be written; nothing half-written is left.
    """
    with atomic_file(path) as temporary:
        nx.write_graphml(graph, temporary)
