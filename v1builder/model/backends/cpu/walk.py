"""Compiled walks along the edges: spikes forward, gradients back.

Edges are sorted by (block of targets, source, slot). Going through one block at a time, the walk reads
weights in sequence.
`row[block * n_sources + source]` is the first edge of a source into a block.

Where every source sends to every cell (`Graph.dense_slot`) its edges are a run of slots: nothing is looked
up, and the gradients of the spikes are a product of matrices, eight sources and eight samples at a time.
"""

from typing import Final

import numpy as np

from v1builder.model.backends.cpu.compiled import (
    EIGHT,
    add_dot_8,
    add_dots_1,
    add_dots_8,
    kernel,
    prefetch,
)

# Positions are unsigned, because a signed index that might be negative costs a test per edge; for the
# same reason a ring is wrapped by min(at, at - size), where at - size of a small `at` is huge.

AHEAD: Final = 4  # sources whose edges are asked for before they are walked
LINE: Final = 16  # float32 or int32 in a cache line


@kernel(fastmath={"reassoc", "contract", "nsz"})
def _row_dot(weight, slot, arrival, base):
    """Sum over the edges of a source of weight * arrival, for one sample: arrival [(D+1)*R*Np]."""
    size = np.uint32(arrival.shape[0])
    start = np.uint32(base)
    total = arrival.dtype.type(0)
    for e in range(slot.shape[0]):
        at = np.uint32(start + np.uint32(slot[e]))
        at = min(at, np.uint32(at - size))
        total += weight[e] * arrival[at]
    return total


@kernel()
def _row_add(grad_weight, slot, arrival, base, value):
    """Gradient of the weights of one source that spiked, from one sample."""
    size = np.uint32(arrival.shape[0])
    start = np.uint32(base)
    for e in range(slot.shape[0]):
        at = np.uint32(start + np.uint32(slot[e]))
        at = min(at, np.uint32(at - size))
        grad_weight[e] += value * arrival[at]


@kernel()
def _row_deliver(ring, weight, slot, start, value):
    """Add the weights of the edges of one source to the ring."""
    size = np.uint32(ring.shape[0])
    for e in range(slot.shape[0]):
        at = np.uint32(start + np.uint32(slot[e]))
        at = min(at, np.uint32(at - size))
        ring[at] += weight[e] * value


@kernel()
def _run_add(into, values, factor):
    """Add so many times the values of a run of edges to those of another."""
    for e in range(values.shape[0]):
        into[e] += values[e] * factor


@kernel(fastmath={"reassoc", "contract", "nsz"})
def _run_dot(weight, arrival):
    """Sum over a run of edges of weight * arrival."""
    total = arrival.dtype.type(0)
    for e in range(weight.shape[0]):
        total += weight[e] * arrival[e]
    return total


@kernel()
def _first_of_run(graph, base, size):
    """Where in a ring of this size what dense edges carry to the first cell lies."""
    at = base + graph.dense_slot
    return at - size if at >= size else at


@kernel()
def turn(graph, arrival, base, turned):
    """What arrives along dense edges, by sample: turned [b, Np] from arrival [(D+1)*R*Np, b]."""
    at = _first_of_run(graph, base, arrival.shape[0])
    n_batch, n_padded = turned.shape
    for first in range(0, n_padded, LINE):
        for b in range(n_batch):
            for i in range(first, min(first + LINE, n_padded)):
                turned[b, i] = arrival[at + i, b]


@kernel()
def _ask_for(graph, first, source, j):
    """Prefetch the edges of the j-th of the sources, and where those of a later one begin."""
    if j + AHEAD < source.shape[0]:
        prefetch(graph.row, first + source[j + AHEAD])
    if j < source.shape[0]:
        e, end = graph.row[first + source[j]], graph.row[first + source[j] + 1]
        while e < end:
            prefetch(graph.weight, e)
            prefetch(graph.slot, e)
            e += LINE


@kernel()
def deliver(ring, graph, block, base, source, value):
    """Add the weights of the edges of the given sources into one block of targets to the ring.

    Spikes come from sources far apart, whose edges lie anywhere in memory: asking for those of the next
    sources in time makes the walk two to four times as fast (measured at 17 000 cells).
    """
    first = block * ((graph.row.shape[0] - 1) // graph.n_blocks)
    if graph.dense_slot >= 0:
        at = _first_of_run(graph, base, ring.shape[0]) + block * graph.block_size
        for j in range(source.shape[0]):
            lo, hi = graph.row[first + source[j]], graph.row[first + source[j] + 1]
            _run_add(ring[at : at + hi - lo], graph.weight[lo:hi], value[j])
        return
    start = np.uint32(base)
    for j in range(source.shape[0]):
        _ask_for(graph, first, source, j + AHEAD)
        lo, hi = graph.row[first + source[j]], graph.row[first + source[j] + 1]
        _row_deliver(ring, graph.weight[lo:hi], graph.slot[lo:hi], start, value[j])


@kernel()
def _pull(weight, slot, arrival, base, grad_spike):
    """Adds to the gradient [b] of the spike of one source, of every sample, over some of its edges."""
    n_batch = arrival.shape[1]
    b = 0
    while b + 8 <= n_batch:
        add_dot_8(
            grad_spike[b : b + 8], weight, slot, arrival[:, b : b + 8], np.uint32(base),
            np.uint32(arrival.shape[0]),
        )  # fmt: skip
        b += 8
    while b < n_batch:
        grad_spike[b] += _row_dot(weight, slot, arrival[:, b], base)
        b += 1


@kernel()
def _pull_dense(wanted, graph, arrival, turned, base, emitted, gradient, grad_weight):
    """`pull` of units along dense edges; sources that follow one another are taken eight at a time."""
    n_sources = (graph.row.shape[0] - 1) // graph.n_blocks
    n_wanted, n_batch = wanted.shape[0], arrival.shape[1]
    with_weights = grad_weight.shape[0] > 0
    at = _first_of_run(graph, base, arrival.shape[0])
    for block in range(graph.n_blocks):
        rows = graph.row[block * n_sources : (block + 1) * n_sources + 1]
        lo = block * graph.block_size
        n = rows[1] - rows[0]
        here = arrival[at + lo : at + lo + n]
        j = 0
        while j < n_wanted:
            k = wanted[j]
            many = j + EIGHT <= n_wanted and wanted[j + EIGHT - 1] == k + EIGHT - 1
            last = k + (EIGHT if many else 1)
            weight = graph.weight[rows[k] : rows[last]].reshape((last - k, n))
            b = 0
            while b + EIGHT <= n_batch:
                into = gradient[k:last, b : b + EIGHT]
                if many:
                    add_dots_8(into, weight, here[:, b : b + EIGHT])
                else:
                    add_dots_1(into, weight, here[:, b : b + EIGHT])
                b += EIGHT
            while b < n_batch:
                for i in range(last - k):
                    gradient[k + i, b] += _run_dot(weight[i], turned[b, lo : lo + n])
                b += 1
            j += last - k
        if with_weights:
            for j in range(n_wanted):
                k = wanted[j]
                for b in range(n_batch):
                    if emitted[k, b] != 0:
                        _run_add(
                            grad_weight[rows[k] : rows[k + 1]],
                            turned[b, lo : lo + n],
                            emitted[k, b],
                        )


@kernel()
def pull(wanted, offset, graph, arrival, turned, base, emitted, gradient, grad_weight):
    """Gradient [k, b] of the value of every source `offset + k` that is wanted; `wanted` lists the k.

    Adds to the gradient of their weights (of length 0: nobody wants it) where they `emitted` [k, b], while
    what arrives along a source's edges into a block is in the cache. `turned` is of use along dense edges.
    """
    n_sources = (graph.row.shape[0] - 1) // graph.n_blocks
    n_batch = arrival.shape[1]
    only = arrival.reshape(arrival.size)  # of use when there is one sample
    with_weights = grad_weight.shape[0] > 0
    for j in range(wanted.shape[0]):
        gradient[wanted[j]] = 0
    if graph.dense_slot >= 0 and offset == 0:
        _pull_dense(wanted, graph, arrival, turned, base, emitted, gradient, grad_weight)
        return
    for block in range(graph.n_blocks):
        start = block * n_sources + offset
        for j in range(wanted.shape[0]):
            k = wanted[j]
            first, last = graph.row[start + k], graph.row[start + k + 1]
            if last == first:
                continue
            weight, slot = graph.weight[first:last], graph.slot[first:last]
            if n_batch == 1:
                gradient[k, 0] += _row_dot(weight, slot, only, base)
                if with_weights and emitted[k, 0] != 0:
                    _row_add(grad_weight[first:last], slot, only, base, emitted[k, 0])
                continue
            _pull(weight, slot, arrival, base, gradient[k])
            if with_weights:
                for b in range(n_batch):
                    if emitted[k, b] != 0:
                        _row_add(grad_weight[first:last], slot, arrival[:, b], base, emitted[k, b])


@kernel()
def pull_weights(lo, hi, t, n_steps, graph, inputs, arrival, turned, base, grad_weight):
    """Gradient of the weights of the sources lo..hi that the inputs, or their sites, emitted in step t."""
    n_sources = (graph.row.shape[0] - 1) // graph.n_blocks
    for block in range(graph.n_blocks):
        for b in range(arrival.shape[1]):
            for j in range(inputs.start[b * n_steps + t], inputs.start[b * n_steps + t + 1]):
                source = inputs.source[j]
                if source >= lo and source < hi:
                    at = block * n_sources + source
                    first, last = graph.row[at], graph.row[at + 1]
                    if graph.dense_slot >= 0:
                        target = block * graph.block_size
                        _run_add(
                            grad_weight[first:last], turned[b, target : target + last - first],
                            inputs.value[j],
                        )  # fmt: skip
                        continue
                    _row_add(
                        grad_weight[first:last], graph.slot[first:last], arrival[:, b], base,
                        inputs.value[j],
                    )  # fmt: skip
