"""Triton kernels of the backward pass: the adjoint of `cuda.forward`, in reverse time.

A step is two launches, four with short-term plasticity: `pull_units` (`pull_sites`, then
`cuda.sites.sites_adjoint`) takes, along the out-edges of every source, the gradient of what it emits
from `arrival`, the gradient with respect to what arrives; `cells_adjoint` is the adjoint of the cells'
update and writes its step of `arrival`. An edge belongs to one source and a source to one program, so
nothing is added atomically: the gradient of the weights has the same bytes for the same forward pass.

Exact shortcuts: out-edges are walked only where the surrogate slope is not zero or the source emitted.
A weight and its place are read once for the whole batch.

Layouts as in `cuda.forward` and `cuda.replay`, and
    arrival [D+1, R, n, b]: step t at position t mod (D+1), samples side by side
    the adjoint of the state (`adjoint`) like the state, without a ring
    gradients of coefficients with a sample in front: [b, 4, n], [b, 4, A, n], [b, 10 or 12, R, n],
        [b, 7, n]
"""

import triton
import triton.language as tl

from v1builder.model.backends.cuda.forward import constant_current, wrapped
from v1builder.model.backends.cuda.sites import emitted_before, released_before


@triton.jit
def add(gradient, change, within):
    """Add to a gradient in memory."""
    tl.store(gradient, tl.load(gradient, mask=within, other=0.0) + change, mask=within)


@triton.jit
def walk(
    t, source, real, b, wanted, value, size, graph, arrival, grad_weight,
    WEIGHTS: tl.constexpr, ROWS: tl.constexpr, EDGES: tl.constexpr, SAMPLES: tl.constexpr,
):  # fmt: skip
    """Along the edges of a tile of sources: sum of weight * arrival, [sources, samples].

    source, real [sources]; b [samples]; wanted, value [sources, samples]: whether the sum is wanted, and
    what the source emitted. Adds value * arrival to the gradient of the weights.
    """
    plane = size.n_receptors * size.n_cells
    n_positions = size.n_slots * plane
    base = (t % size.n_slots) * plane
    emitted = value != 0
    used = wanted
    if WEIGHTS:
        used = used | emitted
    walked = real & (tl.max(used.to(tl.int32), axis=1) > 0)
    spiked = walked & (tl.max(emitted.to(tl.int32), axis=1) > 0)
    some_spiked = tl.max(spiked.to(tl.int32), axis=0) > 0
    first = tl.load(graph.row + source, mask=walked, other=0)
    last = tl.load(graph.row + source + 1, mask=walked, other=0)
    total = tl.zeros([ROWS, EDGES, SAMPLES], dtype=value.dtype)
    for skipped in range(0, tl.max(last - first).to(tl.int32), EDGES):
        e = first[:, None] + (skipped + tl.arange(0, EDGES))[None, :]
        mine = e < last[:, None]
        at = wrapped(tl.load(graph.slot + e, mask=mine, other=0), base, n_positions)
        weight = tl.load(graph.weight + e, mask=mine, other=0.0)
        l_arrival = tl.load(
            arrival + at.to(tl.int64)[:, :, None] * size.n_batch + b[None, None, :],
            mask=mine[:, :, None] & used[:, None, :],
            other=0.0,
        )
        total += weight[:, :, None] * l_arrival
        if WEIGHTS:  # known to the compiler, unlike the next  # noqa: SIM102
            if some_spiked:
                change = tl.sum(value[:, None, :] * l_arrival, axis=2)
                add(grad_weight + e, change, mine & spiked[:, None])
    return tl.where(wanted, tl.sum(total, axis=1), 0.0)


@triton.jit(do_not_specialize=["t", "k"])
def pull_units(
    t, k, first_sample, size, graph, arrival, inputs, segment, grads,
    WEIGHTS: tl.constexpr, INPUTS: tl.constexpr,
    ROWS: tl.constexpr, EDGES: tl.constexpr, SAMPLES: tl.constexpr,
):  # fmt: skip
    """Gradient [b, unit] of what cells and input units emit in step t: grid (tiles of units).

    Wanted of cells whose surrogate slope is not zero, and of INPUTS.
    """
    unit = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    b = (first_sample + tl.arange(0, SAMPLES)).to(tl.int64)
    real = (unit < size.n_units)[:, None] & (b < size.n_batch)[None, :]
    units = unit[:, None]
    value = emitted_before(inputs, segment, b[None, :], k, t, units, real, size)
    of_cell = real & (units < size.n_cells)
    at = (k * size.n_batch + b)[None, :] * size.n_cells + units
    wanted = tl.load(segment.slope + at, mask=of_cell, other=0.0) != 0
    if INPUTS:
        wanted = wanted | (real & (units >= size.n_cells))
    total = walk(
        t, unit, unit < size.n_units, b, wanted, value, size, graph, arrival, grads.weight,
        WEIGHTS, ROWS, EDGES, SAMPLES,
    )  # fmt: skip
    tl.store(grads.unit + b[None, :] * size.n_units + units, total, mask=real)


@triton.jit(do_not_specialize=["t", "k"])
def pull_sites(
    t, k, first_sample, size, graph, sites, arrival, inputs, segment, grads,
    WEIGHTS: tl.constexpr, INPUTS: tl.constexpr,
    ROWS: tl.constexpr, EDGES: tl.constexpr, SAMPLES: tl.constexpr,
):  # fmt: skip
    """Gradient [b, site] of what the sites release per spike: grid (tiles of sites).

    Wanted where that of the source unit is, and where it emitted.
    """
    s = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    b = (first_sample + tl.arange(0, SAMPLES)).to(tl.int64)
    known = s < size.n_sites
    unit = tl.load(sites.unit + s, mask=known, other=0)[:, None]
    real = known[:, None] & (b < size.n_batch)[None, :]
    emitted = emitted_before(inputs, segment, b[None, :], k, t, unit, real, size)
    at = (k * size.n_batch + b)[None, :] * size.n_cells + unit
    of_cell = real & (unit < size.n_cells)
    wanted = (tl.load(segment.slope + at, mask=of_cell, other=0.0) != 0) | (emitted != 0)
    if INPUTS:
        wanted = wanted | (real & (unit >= size.n_cells))
    released = released_before(b[None, :], k, s[:, None], real, size, sites, segment)
    total = walk(
        t, size.n_units + s, known, b, wanted, emitted * released, size, graph, arrival,
        grads.weight, WEIGHTS, ROWS, EDGES, SAMPLES,
    )  # fmt: skip
    tl.store(grads.release + b[None, :] * size.n_sites + s[:, None], total, mask=real)


@triton.jit
def loss_at(loss, b, t, i, within):
    """Gradient of an output of step t, [b or 1, t or 1, n]."""
    row = b * loss.by_sample + tl.cast(t, tl.int64) * loss.by_step
    return tl.load(loss.value + row + i, mask=within, other=0.0)


@triton.jit
def synapses_adjoint(
    l_y, synapse, arrival, l_drive, y, arrived, gradient, i, within, size, SYNAPSE: tl.constexpr,
    PER_PORT: tl.constexpr,
):  # fmt: skip
    """Adjoint of `synapses_step`; writes the gradient of what arrived to `arrival` [R, n, b].

    Adds the gradient of the PER_PORT coefficients where SYNAPSE; y, arrived: before the step.
    """
    n = size.n_cells
    plane = size.n_receptors * n
    for r in range(size.n_receptors):
        at = r * n + i
        c, l = synapse + at, l_y + at  # noqa: E741
        l1_fast = tl.load(l, mask=within, other=0.0)
        l2_fast = tl.load(l + plane, mask=within, other=0.0)
        l1_slow = tl.load(l + 2 * plane, mask=within, other=0.0)
        l2_slow = tl.load(l + 3 * plane, mask=within, other=0.0)
        P11_fast = tl.load(c + 5 * plane, mask=within, other=0.0)
        P11_slow = tl.load(c + 8 * plane, mask=within, other=0.0)
        if SYNAPSE:
            g = gradient + at
            y1_fast = tl.load(y + at, mask=within, other=0.0)
            y2_fast = tl.load(y + plane + at, mask=within, other=0.0)
            y1_slow = tl.load(y + 2 * plane + at, mask=within, other=0.0)
            y2_slow = tl.load(y + 3 * plane + at, mask=within, other=0.0)
            arriving = tl.load(arrived + at, mask=within, other=0.0)
            add(g, l_drive * y1_fast, within)
            add(g + plane, l_drive * y2_fast, within)
            add(g + 2 * plane, l_drive * y1_slow, within)
            add(g + 3 * plane, l_drive * y2_slow, within)
            add(g + 4 * plane, l2_fast * y1_fast, within)
            add(g + 5 * plane, l1_fast * y1_fast + l2_fast * y2_fast, within)
            add(g + 6 * plane, l1_fast * arriving, within)
            add(g + 7 * plane, l2_slow * y1_slow, within)
            add(g + 8 * plane, l1_slow * y1_slow + l2_slow * y2_slow, within)
            add(g + 9 * plane, l1_slow * arriving, within)
            if PER_PORT == 12:
                add(g + 10 * plane, l2_fast * arriving, within)
                add(g + 11 * plane, l_drive * arriving, within)
        init_fast = tl.load(c + 6 * plane, mask=within, other=0.0)
        init_slow = tl.load(c + 9 * plane, mask=within, other=0.0)
        l_arriving = init_fast * l1_fast + init_slow * l1_slow
        if PER_PORT == 12:
            l_arriving += tl.load(c + 10 * plane, mask=within, other=0.0) * l2_fast
            l_arriving += tl.load(c + 11 * plane, mask=within, other=0.0) * l_drive
        tl.store(arrival + at.to(tl.int64) * size.n_batch, l_arriving, mask=within)
        P31_fast = tl.load(c, mask=within, other=0.0)
        P32_fast = tl.load(c + plane, mask=within, other=0.0)
        P31_slow = tl.load(c + 2 * plane, mask=within, other=0.0)
        P32_slow = tl.load(c + 3 * plane, mask=within, other=0.0)
        P21_fast = tl.load(c + 4 * plane, mask=within, other=0.0)
        P21_slow = tl.load(c + 7 * plane, mask=within, other=0.0)
        l1_fast = P11_fast * l1_fast + P21_fast * l2_fast + P31_fast * l_drive
        l1_slow = P11_slow * l1_slow + P21_slow * l2_slow + P31_slow * l_drive
        tl.store(l, l1_fast, mask=within)
        tl.store(l + plane, P11_fast * l2_fast + P32_fast * l_drive, mask=within)
        tl.store(l + 2 * plane, l1_slow, mask=within)
        tl.store(l + 3 * plane, P11_slow * l2_slow + P32_slow * l_drive, mask=within)


@triton.jit
def adaptation_adjoint(
    l_asc, asc, adaptation, gradient, l_constant, spiked, active, i, within, size,
    MEMBRANE: tl.constexpr,
):  # fmt: skip
    """Adjoint of the after-spike currents of one step; all [A, n] of a sample, asc before the step."""
    n = size.n_cells
    field = size.n_asc * n
    for a in range(size.n_asc):
        at = a * n + i
        c = adaptation + at
        l = tl.load(l_asc + at, mask=within, other=0.0)  # noqa: E741
        decay = tl.load(c + field, mask=within, other=0.0)
        refractory = tl.load(c + 3 * field, mask=within, other=0.0)
        l_free = tl.where(spiked, l * refractory, l)
        if MEMBRANE:
            g = gradient + at
            before = tl.load(asc + at, mask=within, other=0.0)
            add(g, l_constant * before, within)
            add(g + field, tl.where(active, l_free * before, 0.0), within)
            add(g + 2 * field, tl.where(spiked, l, 0.0), within)
            add(g + 3 * field, tl.where(spiked, l * before * decay, 0.0), within)
        mean = tl.load(c, mask=within, other=0.0)
        l_before = tl.where(active, l_free * decay + l_constant * mean, l)
        tl.store(l_asc + at, l_before, mask=within)


@triton.jit
def with_jump_of_currents(l_z, l_asc, asc, adaptation, i, within, size):
    """The gradient of a spike, with what it changes through the after-spike currents."""
    n = size.n_cells
    field = size.n_asc * n
    for a in range(size.n_asc):
        c = adaptation + a * n + i
        free = tl.load(asc + a * n + i, mask=within, other=0.0)
        free = free * tl.load(c + field, mask=within, other=0.0)
        change = tl.load(c + 2 * field, mask=within, other=0.0) - free
        change += free * tl.load(c + 3 * field, mask=within, other=0.0)
        l_z += tl.load(l_asc + a * n + i, mask=within, other=0.0) * change
    return l_z


@triton.jit
def threshold_gradient(
    g, l_u, l_spike, l_by_spikes, l_by_voltage, U, constant, th_spike, by_spikes, th_voltage,
    spiked, active, within, n,
):  # fmt: skip
    """Adds the gradient of the coefficients of `ThresholdDynamics`; what moves as before the step."""
    add(g, tl.where(spiked, l_u * U, 0.0), within)
    add(g + n, tl.where(spiked, l_spike, 0.0), within)
    add(g + 2 * n, tl.where(active, l_by_spikes * th_spike, 0.0), within)
    add(g + 3 * n, tl.where(spiked, l_spike * by_spikes, 0.0), within)
    add(g + 4 * n, l_by_voltage * th_voltage, within)
    add(g + 5 * n, l_by_voltage * U, within)
    add(g + 6 * n, l_by_voltage * constant, within)


@triton.jit(do_not_specialize=["t", "k"])
def cells_adjoint(
    t, k, size, cell, drive, segment, adjoint, arrival, losses, grads, grad_cell,
    DETACH: tl.constexpr, MOVING: tl.constexpr, MEMBRANE: tl.constexpr, SYNAPSE: tl.constexpr,
    CURRENT: tl.constexpr, PER_PORT: tl.constexpr, CELLS: tl.constexpr,
):  # fmt: skip
    """Adjoint of `cells`, step t, the k-th of its segment: grid (tiles of cells, samples)."""
    n = size.n_cells
    b = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * CELLS + tl.arange(0, CELLS)
    within = i < n
    at, row = b * n + i, k * size.n_batch + b
    kept = row * n + i
    asc, l_asc = segment.asc + row * size.n_asc * n, adjoint.asc + b * size.n_asc * n
    phase = tl.load(segment.phase + kept, mask=within, other=0)
    active, spiked = phase != 0, phase == 2

    if CURRENT:
        following = grads.current.value + b * grads.current.by_sample
        following += tl.cast(t, tl.int64) * grads.current.by_step
        add(following + i, tl.load(adjoint.current + at, mask=within, other=0.0), within)
    V_th = tl.load(cell.membrane + 2 * n + i, mask=within, other=1.0)
    U_reset = tl.load(cell.membrane + 3 * n + i, mask=within, other=0.0)
    free = tl.load(drive + (b * size.n_steps + t) * n + i, mask=within, other=0.0)
    U, constant, threshold = free, free, V_th
    if MEMBRANE or MOVING:
        U = tl.load(segment.U + kept, mask=within, other=0.0)
        constant = tl.load(segment.current + kept, mask=within, other=0.0)
        constant = constant_current(constant, asc, cell.adaptation, i, within, size)
    if MOVING:
        th, moving = cell.threshold + i, segment.moving + row * 2 * n + i
        l_moving = adjoint.moving + b * 2 * n + i
        threshold = tl.load(segment.threshold + kept, mask=within, other=0.0)
        fraction = tl.load(th, mask=within, other=0.0)
        spike_add = tl.load(th + n, mask=within, other=0.0)
        spike_decay = tl.load(th + 2 * n, mask=within, other=0.0)
        spike_refractory = tl.load(th + 3 * n, mask=within, other=0.0)
        th_spike = tl.load(moving, mask=within, other=0.0)
        l_spike = tl.load(l_moving, mask=within, other=0.0)
        l_voltage = tl.load(l_moving + n, mask=within, other=0.0)
        U_reset += fraction * U
        by_spikes = th_spike * spike_decay

    l_u = tl.load(adjoint.U + at, mask=within, other=0.0)
    l_u += loss_at(losses.voltage, b, t, i, within)
    g_drive = loss_at(losses.drive, b, t, i, within)
    l_z = loss_at(losses.spikes, b, t, i, within)
    l_z += tl.load(grads.unit + b * size.n_units + i, mask=within, other=0.0)
    if not DETACH:
        l_z += l_u * (U_reset - free)
        l_z = with_jump_of_currents(l_z, l_asc, asc, cell.adaptation, i, within, size)
        if MOVING:
            l_z += l_spike * (by_spikes * spike_refractory + spike_add - by_spikes)
    l_x = l_z * tl.load(segment.slope + kept, mask=within, other=0.0) / V_th  # 0 unless active
    l_free = tl.where(active, l_x + g_drive + tl.where(spiked, 0.0, l_u), 0.0)
    P33 = tl.load(cell.membrane + i, mask=within, other=0.0)
    P30 = tl.load(cell.membrane + n + i, mask=within, other=0.0)
    l_constant, l_before = l_free * P30, l_free * P33
    if MOVING:
        l_by_spikes = tl.where(spiked, l_spike * spike_refractory, l_spike) - l_x
        l_by_voltage = tl.where(active, l_voltage - l_x, 0.0)
        l_constant += l_by_voltage * tl.load(th + 6 * n, mask=within, other=0.0)
        l_before += l_by_voltage * tl.load(th + 5 * n, mask=within, other=0.0)
        l_before += tl.where(spiked, l_u * fraction, 0.0)
        voltage_decay = tl.load(th + 4 * n, mask=within, other=0.0)
        tl.store(l_moving, tl.where(active, l_by_spikes * spike_decay, l_spike), mask=within)
        l_th_voltage = tl.where(active, l_by_voltage * voltage_decay, l_voltage)
        tl.store(l_moving + n, l_th_voltage, mask=within)
    if MEMBRANE:
        g = grad_cell.membrane + b * 4 * n + i
        add(g, l_free * U, within)
        add(g + n, l_free * constant, within)
        # x = (U - threshold)/V_th; the threshold contains V_th
        add(g + 2 * n, -l_x - l_x * (free - threshold) / V_th, within)
        add(g + 3 * n, tl.where(spiked, l_u, 0.0), within)
        if MOVING:
            threshold_gradient(
                grad_cell.threshold + b * 7 * n + i, l_u, l_spike, l_by_spikes, l_by_voltage, U,
                constant, th_spike, by_spikes, tl.load(moving + n, mask=within, other=0.0), spiked,
                active, within, n,
            )  # fmt: skip
    g_adaptation = grad_cell.adaptation + b * 4 * size.n_asc * n
    adaptation_adjoint(
        l_asc, asc, cell.adaptation, g_adaptation, l_constant, spiked, active, i, within, size,
        MEMBRANE,
    )  # fmt: skip
    tl.store(adjoint.U + at, tl.where(active, l_before, l_u + g_drive), mask=within)
    tl.store(adjoint.current + at, l_constant, mask=within)

    plane = size.n_receptors * n
    here = (t % size.n_slots).to(tl.int64) * plane * size.n_batch + b
    synapses_adjoint(
        adjoint.y + b * 4 * plane, cell.synapse, arrival + here, l_free,
        segment.y + row * 4 * plane, segment.arrived + row * plane,
        grad_cell.synapse + b * PER_PORT * plane, i, within, size, SYNAPSE, PER_PORT,
    )  # fmt: skip
