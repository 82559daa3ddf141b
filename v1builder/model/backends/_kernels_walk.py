"""Compiled walks along the edges: spikes forward, gradients back.

Edges are sorted by (block of targets, source, slot). Going through one block at a time, the walk reads
weights in sequence.
`row[block * n_sources + source]` is the first edge of a source into a block.
"""

import numpy as np
from numba import njit

# Positions are unsigned, because a signed index that might be negative costs a test per edge; for the
# same reason a ring is wrapped by min(at, at - size), where at - size of a small `at` is huge.


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
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


@njit(cache=True, fastmath={"contract"})
def _row_dot_8(weight, slot, arrival, base, out):
    """`_row_dot` of eight samples that lie side by side: arrival [(D+1)*R*Np, 8], added to `out`."""
    size = np.uint32(arrival.shape[0])
    start = np.uint32(base)
    zero = arrival.dtype.type(0)
    s0, s1, s2, s3, s4, s5, s6, s7 = zero, zero, zero, zero, zero, zero, zero, zero
    for e in range(slot.shape[0]):
        at = np.uint32(start + np.uint32(slot[e]))
        at = min(at, np.uint32(at - size))
        w = weight[e]
        s0 += w * arrival[at, 0]
        s1 += w * arrival[at, 1]
        s2 += w * arrival[at, 2]
        s3 += w * arrival[at, 3]
        s4 += w * arrival[at, 4]
        s5 += w * arrival[at, 5]
        s6 += w * arrival[at, 6]
        s7 += w * arrival[at, 7]
    out[0] += s0
    out[1] += s1
    out[2] += s2
    out[3] += s3
    out[4] += s4
    out[5] += s5
    out[6] += s6
    out[7] += s7


@njit(cache=True)
def _row_add(grad_weight, slot, arrival, base, value):
    """Gradient of the weights of one source that spiked, from one sample."""
    size = np.uint32(arrival.shape[0])
    start = np.uint32(base)
    for e in range(slot.shape[0]):
        at = np.uint32(start + np.uint32(slot[e]))
        at = min(at, np.uint32(at - size))
        grad_weight[e] += value * arrival[at]


@njit(cache=True)
def deliver(ring, weight, slot, row, n_blocks, block, base, source, value):
    """Add the weights of the edges of the given sources into one block of targets to the ring."""
    size = np.uint32(ring.shape[0])
    start = np.uint32(base)
    first = block * ((row.shape[0] - 1) // n_blocks)
    for j in range(source.shape[0]):
        for e in range(row[first + source[j]], row[first + source[j] + 1]):
            at = np.uint32(start + np.uint32(slot[e]))
            at = min(at, np.uint32(at - size))
            ring[at] += weight[e] * value[j]


@njit(cache=True)
def _pull(weight, slot, arrival, base, grad_spike):
    """Adds to the gradient [b] of the spike of one source, of every sample, over some of its edges."""
    n_batch = arrival.shape[1]
    b = 0
    while b + 8 <= n_batch:
        _row_dot_8(weight, slot, arrival[:, b : b + 8], base, grad_spike[b : b + 8])
        b += 8
    while b < n_batch:
        grad_spike[b] += _row_dot(weight, slot, arrival[:, b], base)
        b += 1


@njit(cache=True)
def pull_recurrent(
    lo,
    hi,
    n_blocks,
    phase,
    slope,
    weight,
    slot,
    row,
    arrival,
    base,
    grad_spike,
    grad_weight,
    wanted,
):
    """Gradient of the spikes of cells lo..hi [n, b] through their edges, and of the edges' weights.

    Only cells whose surrogate `slope` [b, n] is not zero in some sample are walked, and weights only
    where a cell spiked. wanted [cells of the task] is scratch.
    """
    n_batch = phase.shape[0]
    n_sources = (row.shape[0] - 1) // n_blocks
    one = arrival.dtype.type(1)
    n_wanted = 0
    for i in range(lo, hi):
        grad_spike[i] = 0
        some = False
        for b in range(n_batch):
            some |= slope[b, i] != 0
        if some:
            wanted[n_wanted] = i
            n_wanted += 1
    for block in range(n_blocks):
        start = block * n_sources
        for k in range(n_wanted):
            i = wanted[k]
            first, last = row[start + i], row[start + i + 1]
            _pull(weight[first:last], slot[first:last], arrival, base, grad_spike[i])
    if grad_weight.shape[0] == 0:
        return
    for b in range(n_batch):
        for i in range(lo, hi):
            if phase[b, i] == 2:
                for block in range(n_blocks):
                    first, last = row[block * n_sources + i], row[block * n_sources + i + 1]
                    _row_add(grad_weight[first:last], slot[first:last], arrival[:, b], base, one)


@njit(cache=True)
def pull_inputs(lo, hi, b, n_blocks, slot, row, arrival, base, source, value, grad_weight):
    """Gradient of the weights of those input sources lo..hi that spiked in sample b."""
    n_sources = (row.shape[0] - 1) // n_blocks
    for j in range(source.shape[0]):
        s = source[j]
        if s >= lo and s < hi:
            for block in range(n_blocks):
                first, last = row[block * n_sources + s], row[block * n_sources + s + 1]
                _row_add(grad_weight[first:last], slot[first:last], arrival[:, b], base, value[j])


@njit(cache=True)
def pull_input_spikes(lo, hi, first_input, n_blocks, weight, slot, row, arrival, base, grad_input):
    """Gradient of the value of every input source lo..hi: grad_input [b, input unit], and of no other.

    Unlike a cell's, an input's gradient is wanted whether it spiked or not.
    """
    n_batch = arrival.shape[1]
    n_sources = (row.shape[0] - 1) // n_blocks
    gradient = np.empty(n_batch, arrival.dtype)
    for s in range(lo, hi):
        gradient[:] = 0
        for block in range(n_blocks):
            first, last = row[block * n_sources + s], row[block * n_sources + s + 1]
            _pull(weight[first:last], slot[first:last], arrival, base, gradient)
        for b in range(n_batch):
            grad_input[b, s - first_input] = gradient[b]
