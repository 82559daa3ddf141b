"""Compiled forward pass of the fused backend: one call advances every cell over many steps.

Work is cut into tasks (sample, block of cells). A task delivers the spikes of the last step to its
own cells, then updates them and their sites of short-term plasticity; nothing is shared, so no lock
is needed and the order of every sum is the same for any number of threads.

Layouts (b sample, A after-spike currents, R receptors, Np cells padded to whole tiles of `WIDTH`):
    U, current [b, n]; asc [b, A, n]; refractory [b, n] int32
    y [b, tile, R, 4*WIDTH]: y1_fast, y2_fast, y1_slow, y2_slow of the cells of a tile
    ring [b, (D+1)*R*Np]: what arrives at step s lies at position s mod (D+1)
    membrane [4, n], adaptation [4, A, n]: in the order of `fields`
    synapse [tile, R, 10*WIDTH]: likewise; 12*WIDTH where some currents are exponential or jump
    same_as [tile] int32: the first of the tiles in a row that have equal coefficients; reading those of
        that one only keeps them in the cache
    u, x [b, site]: sites in the order of their sources
"""

from numba import njit, prange

from v1builder.model.backends import fields as of
from v1builder.model.backends.cpu.compiled import copy, kernel
from v1builder.model.backends.cpu.membrane import membrane_step
from v1builder.model.backends.cpu.sites import release
from v1builder.model.backends.cpu.threshold import moving_membrane_step
from v1builder.model.backends.cpu.tiles import WIDTH
from v1builder.model.backends.cpu.walk import deliver


@kernel()
def _synapse_step(y, c, arriving, total):
    """One step of one receptor of one tile; adds its share of the voltage change to `total`."""
    for i in range(WIDTH):
        y1_fast = y[of.Y1_FAST * WIDTH + i]
        y2_fast = y[of.Y2_FAST * WIDTH + i]
        y1_slow = y[of.Y1_SLOW * WIDTH + i]
        y2_slow = y[of.Y2_SLOW * WIDTH + i]
        total[i] += (
            c[of.P31_FAST * WIDTH + i] * y1_fast
            + c[of.P32_FAST * WIDTH + i] * y2_fast
            + c[of.P31_SLOW * WIDTH + i] * y1_slow
            + c[of.P32_SLOW * WIDTH + i] * y2_slow
        )
        y[of.Y2_FAST * WIDTH + i] = (
            c[of.P21_FAST * WIDTH + i] * y1_fast + c[of.P11_FAST * WIDTH + i] * y2_fast
        )
        y[of.Y1_FAST * WIDTH + i] = (
            c[of.P11_FAST * WIDTH + i] * y1_fast + c[of.Y1_INIT_FAST * WIDTH + i] * arriving[i]
        )
        y[of.Y2_SLOW * WIDTH + i] = (
            c[of.P21_SLOW * WIDTH + i] * y1_slow + c[of.P11_SLOW * WIDTH + i] * y2_slow
        )
        y[of.Y1_SLOW * WIDTH + i] = (
            c[of.P11_SLOW * WIDTH + i] * y1_slow + c[of.Y1_INIT_SLOW * WIDTH + i] * arriving[i]
        )


@kernel()
def _instant_step(y, c, arriving, total):
    """What arrived at once, of exponential currents and of delta synapses, of one receptor of one tile."""
    for i in range(WIDTH):
        y[of.Y2_FAST * WIDTH + i] += c[of.Y2_INIT_FAST * WIDTH + i] * arriving[i]
        total[i] += c[of.U_JUMP * WIDTH + i] * arriving[i]


@kernel()
def synapses_step(y, cells, arriving, total, first, last):
    """One step of all receptors of the cells first..last (whole tiles); clears what arrived.

    y [tile, R, 4*WIDTH], arriving [R*Np], total [Np].
    """
    n_receptors = cells.synapse.shape[1]
    n_padded = total.shape[0]
    instant = cells.synapse.shape[2] > of.U_JUMP * WIDTH
    total[first:last] = 0
    for tile in range(first // WIDTH, last // WIDTH):
        lo = tile * WIDTH
        c = cells.synapse[cells.same_as[tile]]
        for r in range(n_receptors):
            at = r * n_padded + lo
            _synapse_step(y[tile, r], c[r], arriving[at : at + WIDTH], total[lo : lo + WIDTH])
            if instant:
                _instant_step(y[tile, r], c[r], arriving[at : at + WIDTH], total[lo : lo + WIDTH])
    for r in range(n_receptors):
        arriving[r * n_padded + first : r * n_padded + last] = 0


@kernel()
def _deliver_last(t, b, block, cells, state, graph, inputs, scratch):
    """Deliver the spikes that every block, and every input, emitted in step t-1."""
    plane = cells.synapse.shape[1] * scratch.total.shape[1]
    n_slots = state.ring.shape[1] // plane
    base = ((t - 1) % n_slots) * plane
    last = (t - 1) % 2
    for k in range(graph.n_blocks):
        n = scratch.n_emitted[last, b, k]
        source, value = scratch.source[last, b, k, :n], scratch.value[last, b, k, :n]
        deliver(state.ring[b], graph, block, base, source, value)
    at = b * ((inputs.start.shape[0] - 1) // state.U.shape[0]) + t - 1
    lo, hi = inputs.start[at], inputs.start[at + 1]
    deliver(state.ring[b], graph, block, base, inputs.source[lo:hi], inputs.value[lo:hi])


@kernel()
def _task(t, task, emitted, update, cells, state, graph, inputs, sites, scratch, current, out):
    """Deliver the spikes of step t-1 (if any were `emitted`) and, if `update`, do step t."""
    b = task % state.U.shape[0]
    block = task // state.U.shape[0]
    if emitted:
        _deliver_last(t, b, block, cells, state, graph, inputs, scratch)
    if not update:
        return
    n_padded = scratch.total.shape[1]
    plane = cells.synapse.shape[1] * n_padded
    here = (t % (state.ring.shape[1] // plane)) * plane
    lo = block * graph.block_size
    hi = min(lo + graph.block_size, state.U.shape[1])
    total, arriving = scratch.total[b], state.ring[b, here : here + plane]
    synapses_step(state.y[b], cells, arriving, total, lo, min(lo + graph.block_size, n_padded))
    source, value = scratch.source[t % 2, b, block], scratch.value[t % 2, b, block]
    row = min(t, out.drive.shape[1] - 1)
    count = 0
    if state.moving.shape[1] > 0:
        count = moving_membrane_step(
            state.U[b], state.asc[b], state.refractory[b], state.current[b], total,
            state.moving[b], cells.membrane, cells.adaptation, cells.threshold, cells.t_ref,
            out.drive[b, row], out.spikes[b, t], source, lo, hi,
        )  # fmt: skip
    else:
        count = membrane_step(
            state.U[b], state.asc[b], state.refractory[b], state.current[b], total, cells.membrane,
            cells.adaptation, cells.t_ref, out.drive[b, row], out.spikes[b, t], source,
            scratch.phase[b], lo, hi,
        )  # fmt: skip
    if state.u.shape[1] > 0:
        count = release(state.u[b], state.x[b], sites, lo, hi, source, value, count)
    scratch.n_emitted[t % 2, b, block] = count
    sample = min(b, current.shape[0] - 1)
    step = min(t, current.shape[1] - 1)
    copy(current[sample, step, lo:hi], state.current[b, lo:hi])
    if out.voltage.shape[1] == out.spikes.shape[1]:
        copy(state.U[b, lo:hi], out.voltage[b, t, lo:hi])


@kernel()
def _sample(t_begin, t_end, b, cells, state, graph, inputs, sites, scratch, current, out):
    """Steps t_begin..t_end of one sample."""
    n_samples = state.U.shape[0]
    for t in range(t_begin, t_end + 1):
        for block in range(graph.n_blocks):
            _task(
                t, block * n_samples + b, t > t_begin, t < t_end, cells, state, graph, inputs, sites,
                scratch, current, out,
            )  # fmt: skip


@njit(cache=True, parallel=True)
def advance(
    t_begin, t_end, threaded, by_sample, cells, state, graph, inputs, sites, scratch, current, out
):  # fmt: skip
    """Steps t_begin..t_end of every sample, in place. At the end every spike is in the ring.

    `by_sample` a thread takes all steps of a sample, whose state then stays in its cache and which waits
    for nobody; else all threads take the same step together.

    The arguments are the structures of `backends.layout`; current is [b or 1, t or 1, n].
    """
    n_samples = state.U.shape[0]
    if not threaded:
        for b in range(n_samples):
            _sample(t_begin, t_end, b, cells, state, graph, inputs, sites, scratch, current, out)
    elif by_sample:
        for b in prange(n_samples):
            _sample(t_begin, t_end, b, cells, state, graph, inputs, sites, scratch, current, out)
    else:
        for t in range(t_begin, t_end + 1):
            for task in prange(n_samples * graph.n_blocks):
                _task(
                    t, task, t > t_begin, t < t_end, cells, state, graph, inputs, sites, scratch,
                    current, out,
                )  # fmt: skip
