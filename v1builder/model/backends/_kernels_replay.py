"""Recompute, for one segment of a rollout, what the backward pass needs and nobody stored.

The operations and their order are those of `_kernels_forward`, so the numbers are the same to
the last bit. Layouts as there.
"""

from numba import njit, prange

from v1builder.model.backends._kernels_forward import synapses_step
from v1builder.model.backends._kernels_walk import deliver


@njit(cache=True, parallel=True)
def replay_membrane(
    t_begin, t_end, U, asc, refractory, membrane, adaptation, t_ref, drive,
    phase, asc_before, u_before, with_u, block_size,
):  # fmt: skip
    """Phase and state before every step, from the stored drive. U, asc, refractory are updated.

    phase [k, b, n], asc_before [k, b, A, n]; u_before [k, b, n] only if `with_u`.
    """
    n_batch, n_cells = U.shape
    n_asc = asc.shape[1]
    n_blocks = -(-n_cells // block_size)
    for task in prange(n_batch * n_blocks):
        b = task // n_blocks
        lo = (task % n_blocks) * block_size
        hi = min(lo + block_size, n_cells)
        for t in range(t_begin, t_end):
            k = t - t_begin
            if with_u:
                for i in range(lo, hi):
                    u_before[k, b, i] = U[b, i]
            for a in range(n_asc):
                for i in range(lo, hi):
                    asc_before[k, b, a, i] = asc[b, a, i]
            for i in range(lo, hi):
                if refractory[b, i] > 0:
                    refractory[b, i] -= 1
                    phase[k, b, i] = 0
                    continue
                phase[k, b, i] = 1
                U[b, i] = drive[b, t, i]
                for a in range(n_asc):
                    asc[b, a, i] *= adaptation[1, a, i]
                if drive[b, t, i] > membrane[2, i]:
                    phase[k, b, i] = 2
                    U[b, i] = membrane[3, i]
                    refractory[b, i] = t_ref[i]
                    for a in range(n_asc):
                        asc[b, a, i] = adaptation[2, a, i] + asc[b, a, i] * adaptation[3, a, i]


@njit(cache=True)
def _replay_task(
    task, t, k, n_steps, n_blocks, block_size, y, ring, total, phase, synapse, weight, slot, row,
    ones, spiked, input_start, input_source, input_value, y_before, arrived,
):  # fmt: skip
    b = task // n_blocks
    block = task % n_blocks
    n_padded = total.shape[1]
    plane = synapse.shape[1] * n_padded
    n_slots = ring.shape[1] // plane
    if k > 0:
        base = ((t - 1) % n_slots) * plane
        count = 0
        for i in range(phase.shape[2]):
            if phase[k - 1, b, i] == 2:
                spiked[task, count] = i
                count += 1
        deliver(ring[b], weight, slot, row, n_blocks, block, base, spiked[task, :count], ones)
        lo = input_start[b * n_steps + t - 1]
        hi = input_start[b * n_steps + t]
        deliver(
            ring[b], weight, slot, row, n_blocks, block, base, input_source[lo:hi],
            input_value[lo:hi],
        )  # fmt: skip
    first = block * block_size
    last = min(first + block_size, n_padded)
    here = (t % n_slots) * plane
    for tile in range(first // (n_padded // y.shape[1]), last // (n_padded // y.shape[1])):
        y_before[k, b, tile] = y[b, tile]
    for r in range(synapse.shape[1]):
        at = here + r * n_padded
        arrived[k, b, r, first:last] = ring[b, at + first : at + last]
    synapses_step(y[b], synapse, ring[b, here : here + plane], total[b], first, last)


@njit(cache=True, parallel=True)
def replay_synapses(
    t_begin, t_end, n_steps, n_blocks, block_size, y, ring, total, phase, synapse, weight, slot,
    row, ones, spiked, input_start, input_source, input_value, y_before, arrived,
):  # fmt: skip
    """Synaptic state before every step [k, b, tile, R, 4*WIDTH] and what arrived [k, b, R, Np].

    y and ring are updated; spiked [task, n] and total [b, Np] are scratch.
    """
    for t in range(t_begin, t_end):
        for task in prange(y.shape[0] * n_blocks):
            _replay_task(
                task, t, t - t_begin, n_steps, n_blocks, block_size, y, ring, total, phase,
                synapse, weight, slot, row, ones, spiked, input_start, input_source, input_value,
                y_before, arrived,
            )  # fmt: skip
