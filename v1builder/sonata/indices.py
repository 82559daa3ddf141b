"""The SONATA `indices` groups, which let a reader find the edges of a node without scanning all.

For each direction: `node_id_to_ranges[node] = [first, last)` rows of `range_to_edge_id`, and
`range_to_edge_id[row] = [first, last)` edges. libsonata calls the first `node_id_to_ranges`, BMTK
calls it `node_id_to_range`; both names are links to one dataset.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from v1builder.sonata.hdf5 import H5Dataset, H5Group

#: Edges read at once.
_CHUNK = 1 << 22
#: Runs sorted at once: bounds the memory at about 32 bytes x this.
_BUCKET = 1 << 25

#: Index group and the dataset it indexes.
DIRECTIONS = {"source_to_target": "source_node_id", "target_to_source": "target_node_id"}


class IndexRuns(NamedTuple):
    """Consecutive edges of the same node: [r] node, first edge, edge after the last."""

    node: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]


def iterate_runs(ids: H5Dataset, chunk: int = _CHUNK) -> Iterator[IndexRuns]:
    """The runs of equal node ids, a chunk of edges at a time; no run is cut at a chunk's end."""
    n = len(ids)
    open_node, open_start = -1, 0
    for begin in range(0, n, chunk):
        block = ids[begin : begin + chunk].astype(np.int64)
        starts = begin + 1 + np.flatnonzero(block[1:] != block[:-1])
        if block[0] != open_node:
            starts = np.concatenate(([begin], starts))
        nodes = block[starts - begin]
        if begin > 0:  # the run left open by the chunk before comes first
            starts = np.concatenate(([open_start], starts))
            nodes = np.concatenate(([open_node], nodes))
        if begin + len(block) < n:  # leave the last run open
            open_node, open_start = int(nodes[-1]), int(starts[-1])
            yield IndexRuns(nodes[:-1], starts[:-1], starts[1:])
        else:
            yield IndexRuns(nodes, starts, np.append(starts[1:], n))


def write_indices(
    population: H5Group,
    n_source: int,
    n_target: int,
    *,
    chunk: int = _CHUNK,
    bucket: int = _BUCKET,
) -> None:
    """Write both index groups of an edge population.

    Time is O(edges x ceil(runs / bucket)); memory is bounded by `bucket` and `chunk`, not by the
    number of edges.

    Args:
        population: HDF5 group of the edge population, with its node id datasets complete.
        n_source: number of source nodes.
        n_target: number of target nodes.
        chunk: edges read at once.
        bucket: runs sorted at once.
    """
    for (name, ids), n_nodes in zip(DIRECTIONS.items(), (n_source, n_target), strict=True):
        _write_index(
            population.create_group(f"indices/{name}"), population[ids], n_nodes, chunk, bucket
        )


def _write_index(group: H5Group, ids: H5Dataset, n_nodes: int, chunk: int, bucket: int) -> None:
    counts = np.zeros(n_nodes, dtype=np.int64)
    for runs in iterate_runs(ids, chunk):
        counts += np.bincount(runs.node, minlength=n_nodes)
    bounds = np.concatenate(([0], np.cumsum(counts)))
    n_runs = int(bounds[-1])
    to_ranges = np.stack((bounds[:-1], bounds[1:]), axis=1)
    group.create_dataset("node_id_to_ranges", data=to_ranges.astype(np.uint64), track_times=False)
    group["node_id_to_range"] = group["node_id_to_ranges"]
    kind = np.uint32 if len(ids) < 2**32 else np.uint64
    table = group.create_dataset(
        "range_to_edge_id", shape=(n_runs, 2), dtype=kind, track_times=False
    )
    first = 0
    while first < n_nodes:  # nodes first..last-1 have at most `bucket` runs (or are a single node)
        last = max(
            first + 1, int(np.searchsorted(bounds, bounds[first] + bucket, side="right")) - 1
        )
        _write_bucket(table, ids, first, last, bounds, chunk)
        first = last


def _write_bucket(
    table: H5Dataset,
    ids: H5Dataset,
    first: int,
    last: int,
    bounds: NDArray[np.int64],
    chunk: int,
) -> None:
    """Write the ranges of nodes first..last-1, sorted by node and then by edge."""
    n = int(bounds[last] - bounds[first])
    if n == 0:
        return
    node = np.empty(n, dtype=np.uint32)
    ranges = np.empty((n, 2), dtype=table.dtype)
    filled = 0
    for runs in iterate_runs(ids, chunk):
        inside = (runs.node >= first) & (runs.node < last)
        stop = filled + int(np.count_nonzero(inside))
        node[filled:stop] = runs.node[inside]
        ranges[filled:stop, 0] = runs.start[inside]
        ranges[filled:stop, 1] = runs.stop[inside]
        filled = stop
    order = np.argsort(node, kind="stable")
    table[bounds[first] : bounds[last]] = ranges[order]
