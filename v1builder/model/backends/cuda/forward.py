"""Triton kernels of the forward pass: cells, short-term plasticity, and the delivery of spikes.

A step is two launches, three with short-term plasticity. `cells` (and `sites`) append what emitted to a
list in device memory; `deliver` reads the list there, so the host never waits. Nothing is allocated.

Layouts (b sample, n cell, A after-spike currents, R receptors, D longest delay, s site; the last index
is the fastest, and neighbouring threads have neighbouring cells):
    U, current [b, n]; asc [b, A, n]; refractory [b, n] int32; moving [b, 2, n]: th_spike, th_voltage
    y [b, 4, R, n]: y1_fast, y2_fast, y1_slow, y2_slow; u, x [b, s]
    ring [b, D+1, R, n]: what arrives at step t lies at position t mod (D+1)
    membrane [4, n], adaptation [4, A, n], synapse [10 or 12, R, n], threshold [7, n]: the coefficients in
        the order of `backends.fields`
    drive, voltage, spikes [b, t, n]
What the kernels are given are the named tuples of `backends.layout` and `cuda.launch`. Offsets that may
pass 2**31 are int64.

Floating-point contraction is off where a step is computed (`cuda.launch.CELLS_OPTIONS`), so that the
backward pass, which repeats it, finds the same spikes.
"""

import triton
import triton.language as tl


@triton.jit
def append(events, t, source, sample, value, emitted):
    """Add the tile's sources that `emitted` to the list of step t, in no fixed order."""
    n = tl.sum(emitted.to(tl.int32))
    if n > 0:
        place = tl.atomic_add(events.n_listed + t, n) + tl.cumsum(emitted.to(tl.int32)) - 1
        tl.store(events.source + place, source, mask=emitted)
        tl.store(events.sample + place, sample, mask=emitted)
        tl.store(events.value + place, value, mask=emitted)


@triton.jit
def synapses_step(y, synapse, ring, i, within, size, PER_PORT: tl.constexpr, CELLS: tl.constexpr):
    """One step of all receptors of a tile of cells; clears what arrived.

    y [4, R, n] and ring [R, n] point at the sample and step in hand. PER_PORT coefficients: 12 where some
    currents are exponential or jump at once, else 10. Returns the voltage [CELLS] that the currents add.
    """
    plane = size.n_receptors * size.n_cells
    total = tl.zeros([CELLS], dtype=y.dtype.element_ty)
    for r in range(size.n_receptors):
        at = r * size.n_cells + i
        c, state = synapse + at, y + at
        y1_fast = tl.load(state, mask=within, other=0.0)
        y2_fast = tl.load(state + plane, mask=within, other=0.0)
        y1_slow = tl.load(state + 2 * plane, mask=within, other=0.0)
        y2_slow = tl.load(state + 3 * plane, mask=within, other=0.0)
        arriving = tl.load(ring + at, mask=within, other=0.0)
        total += (
            tl.load(c, mask=within, other=0.0) * y1_fast
            + tl.load(c + plane, mask=within, other=0.0) * y2_fast
            + tl.load(c + 2 * plane, mask=within, other=0.0) * y1_slow
            + tl.load(c + 3 * plane, mask=within, other=0.0) * y2_slow
        )
        P21_fast = tl.load(c + 4 * plane, mask=within, other=0.0)
        P11_fast = tl.load(c + 5 * plane, mask=within, other=0.0)
        init_fast = tl.load(c + 6 * plane, mask=within, other=0.0)
        P21_slow = tl.load(c + 7 * plane, mask=within, other=0.0)
        P11_slow = tl.load(c + 8 * plane, mask=within, other=0.0)
        init_slow = tl.load(c + 9 * plane, mask=within, other=0.0)
        tl.store(state, P11_fast * y1_fast + init_fast * arriving, mask=within)
        y2_fast = P21_fast * y1_fast + P11_fast * y2_fast
        if PER_PORT == 12:
            y2_fast += tl.load(c + 10 * plane, mask=within, other=0.0) * arriving
            total += tl.load(c + 11 * plane, mask=within, other=0.0) * arriving
        tl.store(state + plane, y2_fast, mask=within)
        tl.store(state + 2 * plane, P11_slow * y1_slow + init_slow * arriving, mask=within)
        tl.store(state + 3 * plane, P21_slow * y1_slow + P11_slow * y2_slow, mask=within)
        tl.store(ring + at, tl.zeros_like(arriving), mask=within)
    return total


@triton.jit
def moved(th_spike, th_voltage, U, constant, threshold, i, within, n):
    """The moving parts of the threshold of active cells after a step, see `ThresholdDynamics`."""
    c = threshold + i
    th_spike = th_spike * tl.load(c + 2 * n, mask=within, other=0.0)
    followed = tl.load(c + 5 * n, mask=within, other=0.0) * U
    followed += tl.load(c + 6 * n, mask=within, other=0.0) * constant
    return th_spike, th_voltage * tl.load(c + 4 * n, mask=within, other=0.0) + followed


@triton.jit
def reset(spiked, active, U, th_spike, th_voltage, by_spikes, by_voltage, threshold, i, within, n):
    """What a spike adds to the reset voltage, and the threshold's moving parts after the step."""
    c = threshold + i
    kept = tl.load(c, mask=within, other=0.0) * U
    raised = by_spikes * tl.load(c + 3 * n, mask=within, other=0.0)
    raised += tl.load(c + n, mask=within, other=0.0)
    th_spike = tl.where(active, tl.where(spiked, raised, by_spikes), th_spike)
    return kept, th_spike, tl.where(active, by_voltage, th_voltage)


@triton.jit
def after_spike_currents(before, after, adaptation, spiked, active, i, within, size):
    """One step of the after-spike currents: from `before` to `after`, both [A, n] of a sample."""
    n = size.n_cells
    for a in range(size.n_asc):
        at = a * n + i
        c, field = adaptation + at, size.n_asc * n
        asc = tl.load(before + at, mask=within, other=0.0)
        free = asc * tl.load(c + field, mask=within, other=0.0)
        jumped = free * tl.load(c + 3 * field, mask=within, other=0.0)
        jumped += tl.load(c + 2 * field, mask=within, other=0.0)
        tl.store(after + at, tl.where(active, tl.where(spiked, jumped, free), asc), mask=within)


@triton.jit
def constant_current(current, asc, adaptation, i, within, size):
    """Injected and mean after-spike current of the step; asc [A, n] of a sample, before the step."""
    for a in range(size.n_asc):
        at = a * size.n_cells + i
        mean = tl.load(adaptation + at, mask=within, other=0.0)
        current += mean * tl.load(asc + at, mask=within, other=0.0)
    return current


@triton.jit(do_not_specialize=["t"])
def cells(
    t, size, cell, state, events, injected, out,
    MOVING: tl.constexpr, DRIVE: tl.constexpr, VOLTAGE: tl.constexpr, PER_PORT: tl.constexpr,
    CELLS: tl.constexpr,
):  # fmt: skip
    """Step t of every cell: grid (tiles of cells, samples). Appends those that spiked to `events`."""
    n = size.n_cells
    b = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * CELLS + tl.arange(0, CELLS)
    within = i < n
    at, row = b * n + i, (b * size.n_steps + t) * n + i
    plane = size.n_receptors * n

    y, asc = state.y + b * (plane * 4), state.asc + b * (size.n_asc * n)
    ring = state.ring + (b * size.n_slots + t % size.n_slots) * plane
    synaptic = synapses_step(y, cell.synapse, ring, i, within, size, PER_PORT, CELLS)

    refractory = tl.load(state.refractory + at, mask=within, other=1)
    active = refractory == 0
    U = tl.load(state.U + at, mask=within, other=0.0)
    constant = tl.load(state.current + at, mask=within, other=0.0)
    constant = constant_current(constant, asc, cell.adaptation, i, within, size)
    P33 = tl.load(cell.membrane + i, mask=within, other=0.0)
    P30 = tl.load(cell.membrane + n + i, mask=within, other=0.0)
    drive = tl.where(active, U * P33 + constant * P30 + synaptic, U)
    threshold = tl.load(cell.membrane + 2 * n + i, mask=within, other=0.0)
    V_reset = tl.load(cell.membrane + 3 * n + i, mask=within, other=0.0)
    if MOVING:
        moving = state.moving + b * 2 * n + i
        th_spike = tl.load(moving, mask=within, other=0.0)
        th_voltage = tl.load(moving + n, mask=within, other=0.0)
        by_spikes, by_voltage = moved(
            th_spike, th_voltage, U, constant, cell.threshold, i, within, n
        )
        spiked = active & (drive > threshold + by_spikes + by_voltage) & within
        kept, th_spike, th_voltage = reset(
            spiked, active, U, th_spike, th_voltage, by_spikes, by_voltage, cell.threshold, i,
            within, n,
        )  # fmt: skip
        tl.store(moving, th_spike, mask=within)
        tl.store(moving + n, th_voltage, mask=within)
        V_reset = kept + V_reset
    else:
        spiked = active & (drive > threshold) & within
    U = tl.where(spiked, V_reset, drive)
    after_spike_currents(asc, asc, cell.adaptation, spiked, active, i, within, size)
    t_ref = tl.load(cell.t_ref + i, mask=within, other=0)
    refractory = tl.where(spiked, t_ref, tl.maximum(refractory - 1, 0))

    tl.store(state.U + at, U, mask=within)
    tl.store(state.refractory + at, refractory, mask=within)
    following = (
        injected.value + b * injected.by_sample + tl.cast(t, tl.int64) * injected.by_step + i
    )
    tl.store(state.current + at, tl.load(following, mask=within, other=0.0), mask=within)
    tl.store(out.spikes + row, spiked.to(U.dtype), mask=within)
    if DRIVE:
        tl.store(out.drive + row, drive, mask=within)
    if VOLTAGE:
        tl.store(out.voltage + row, U, mask=within)
    append(events, t, i, tl.zeros_like(i) + b.to(tl.int32), tl.full([CELLS], 1, U.dtype), spiked)


@triton.jit
def wrapped(slot, base, n_positions):
    """Position in a ring of `n_positions` that begins at `base`; written so that int32 is enough."""
    at = slot + (base - n_positions)
    return tl.where(at < 0, at + n_positions, at)


@triton.jit(do_not_specialize=["t", "at"])
def deliver(
    t, at, size, graph, ring, events, inputs, EVENTS: tl.constexpr, EDGES: tl.constexpr
):  # fmt: skip
    """Add the weights of the edges of all that emitted in step t to the ring.

    The cells and sites are those of list `at` of `events`, which all programs share out.
    """
    plane = size.n_receptors * size.n_cells
    n_positions = size.n_slots * plane
    base = (t % size.n_slots) * plane
    n_emitted = tl.load(events.n_listed + at)
    first_input = tl.load(inputs.start + t)
    total = n_emitted + (tl.load(inputs.start + t + 1) - first_input).to(tl.int32)
    begin = tl.program_id(0) * EVENTS
    while begin < total:
        j = begin + tl.arange(0, EVENTS)
        of_cell, of_input = j < n_emitted, (j >= n_emitted) & (j < total)
        k = first_input + (j - n_emitted)
        source = tl.load(events.source + j, mask=of_cell, other=0)
        source += tl.load(inputs.source + k, mask=of_input, other=0)
        sample = tl.load(events.sample + j, mask=of_cell, other=0)
        sample += tl.load(inputs.sample + k, mask=of_input, other=0)
        value = tl.load(events.value + j, mask=of_cell, other=0.0)
        value += tl.load(inputs.value + k, mask=of_input, other=0.0)
        first = tl.load(graph.row + source, mask=j < total, other=0)
        last = tl.load(graph.row + source + 1, mask=j < total, other=0)
        of_sample = ring + sample.to(tl.int64) * n_positions
        for skipped in range(0, tl.max(last - first).to(tl.int32), EDGES):
            e = first[:, None] + (skipped + tl.arange(0, EDGES))[None, :]
            real = e < last[:, None]
            slot = wrapped(tl.load(graph.slot + e, mask=real, other=0), base, n_positions)
            weight = tl.load(graph.weight + e, mask=real, other=0.0)
            tl.atomic_add(
                of_sample[:, None] + slot, weight * value[:, None], mask=real, sem="relaxed"
            )
        begin += tl.num_programs(0) * EVENTS
