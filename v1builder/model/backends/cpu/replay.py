"""Recompute, for one segment of a rollout, what the backward pass needs and nobody stored.

The operations and their order are those of `cpu.forward`, so the numbers are the same to
the last bit. Layouts as there.
"""

from numba import njit, prange

from v1builder.model.backends.cpu.compiled import copy, kernel
from v1builder.model.backends.cpu.forward import synapses_step
from v1builder.model.backends.cpu.membrane import membrane_replay
from v1builder.model.backends.cpu.sites import release_before
from v1builder.model.backends.cpu.walk import deliver


@njit(cache=True, parallel=True)
def replay_membrane(
    t_begin, t_end, U, asc, refractory, membrane, adaptation, t_ref, drive,
    phase, asc_before, u_before, with_u, block_size,
):  # fmt: skip
    """Phase and state before every step, from the stored drive. U, asc, refractory are updated.

    phase [k, b, n], asc_before [k, b, A, n]; u_before [k, b, n] only if `with_u`.
    """
    n_batch, n_cells = U.shape
    n_blocks = -(-n_cells // block_size)
    for task in prange(n_batch * n_blocks):
        b = task // n_blocks
        lo = (task % n_blocks) * block_size
        hi = min(lo + block_size, n_cells)
        for t in range(t_begin, t_end):
            k = t - t_begin
            membrane_replay(
                U[b], asc[b], refractory[b], membrane, adaptation, t_ref, drive[b, t], phase[k, b],
                asc_before[k, b], u_before[k if with_u else 0, b], with_u, lo, hi,
            )  # fmt: skip


@kernel()
def _redeliver(t, b, block, n_cells, plane, ring, graph, inputs, sites, phase, u, x, source, value):
    """Deliver the spikes of step t, of which `phase` and the sites' u and x before it are given."""
    n_steps = (inputs.start.shape[0] - 1) // ring.shape[0]
    n_units = sites.first.shape[0] - 1
    one = ring.dtype.type(1)
    base = (t % (ring.shape[1] // plane)) * plane
    n = 0
    for i in range(n_cells):
        if phase[b, i] != 2:
            continue
        source[n] = i
        value[n] = one
        n += 1
        if u.shape[1] > 0:
            for s in range(sites.first[i], sites.first[i + 1]):
                source[n] = n_units + s
                value[n] = release_before(u[b], x[b], sites, s)
                n += 1
    deliver(ring[b], graph, block, base, source[:n], value[:n])
    lo, hi = inputs.start[b * n_steps + t], inputs.start[b * n_steps + t + 1]
    deliver(ring[b], graph, block, base, inputs.source[lo:hi], inputs.value[lo:hi])


@kernel()
def _replay_task(
    task, t, k, y, ring, total, cells, graph, inputs, sites, segment, source, value
):  # fmt: skip
    b = task // graph.n_blocks
    block = task % graph.n_blocks
    n_padded = total.shape[1]
    n_receptors = cells.synapse.shape[1]
    plane = n_receptors * n_padded
    if k > 0:
        _redeliver(
            t - 1, b, block, segment.phase.shape[2], plane, ring, graph, inputs, sites,
            segment.phase[k - 1], segment.u[k - 1], segment.x[k - 1], source[task], value[task],
        )  # fmt: skip
    lo = block * graph.block_size
    hi = min(lo + graph.block_size, n_padded)
    here = (t % (ring.shape[1] // plane)) * plane
    width = n_padded // y.shape[1]
    for tile in range(lo // width, hi // width):
        for r in range(n_receptors):
            copy(y[b, tile, r], segment.y[k, b, tile, r])
    for r in range(n_receptors):
        at = here + r * n_padded
        copy(ring[b, at + lo : at + hi], segment.arrived[k, b, r, lo:hi])
    arriving = ring[b, here : here + plane]
    synapses_step(y[b], cells, arriving, total[b], lo, hi)


@njit(cache=True, parallel=True)
def replay_synapses(
    t_begin, t_end, y, ring, total, cells, graph, inputs, sites, segment, source, value
):  # fmt: skip
    """Synaptic state before every step and what arrived in it, written to `segment`.

    y and ring are updated; source, value [task, cells and their sites] and total [b, Np] are scratch.
    """
    for t in range(t_begin, t_end):
        for task in prange(y.shape[0] * graph.n_blocks):
            _replay_task(
                task, t, t - t_begin, y, ring, total, cells, graph, inputs, sites, segment,
                source, value,
            )  # fmt: skip
