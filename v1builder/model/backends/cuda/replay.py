"""Triton kernels that recompute, for one segment of a rollout, what the backward pass needs.

`replay` needs no other cell, because the voltage before the spike test is stored: each program takes a
tile of cells through all steps of the segment. Only the gradient of the synapses' coefficients needs what
arrived: then the spikes are listed and delivered again, step by step (`list_cells`, `deliver`,
`replay_synapses`), where the order of a sum, and so its last bit, may differ from that of the forward pass.

Layouts as in `cuda.forward`, and of the k steps of a segment, before each
    phase [k, b, n]: 0 refractory, 1 active, 2 spiked; slope [k, b, n]: surrogate dz/dx
    asc [k+1, b, A, n]; U, current, threshold [k, b, n]; moving [k, b, 2, n]
    y [k, b, 4, R, n]; arrived [k, b, R, n]
"""

import triton
import triton.language as tl

from v1builder.model.backends.cuda.forward import (
    after_spike_currents,
    append,
    constant_current,
    moved,
    reset,
    synapses_step,
)


@triton.jit
def surrogate_slope(x, KIND: tl.constexpr, DAMPENING: tl.constexpr, WIDTH: tl.constexpr):
    """Surrogate dz/dx; KIND as in `Surrogate.code`."""
    s = tl.abs(x / WIDTH)
    if KIND == 0:
        bump = tl.maximum(1 - s, 0)
    elif KIND == 1:
        bump = (s < 0.5).to(s.dtype)
    elif KIND == 2:
        bump = tl.exp(-0.5 * s * s)
    elif KIND == 3:
        e = tl.exp(-s)
        bump = 4 * e / ((1 + e) * (1 + e))
    else:
        bump = 1 / ((1 + s) * (1 + s))
    return bump * DAMPENING


@triton.jit(do_not_specialize=["begin", "end"])
def replay(
    begin, end, size, cell, start, injected, drive, segment,
    KIND: tl.constexpr, DAMPENING: tl.constexpr, WIDTH: tl.constexpr,
    MOVING: tl.constexpr, MEMBRANE: tl.constexpr, CELLS: tl.constexpr,
):  # fmt: skip
    """Steps begin..end of every cell from the state `start` before them: grid (tiles, samples).

    Fills phase, slope and asc of `segment`; U and current where the threshold moves or the gradient of
    the MEMBRANE is wanted; moving and threshold where it moves.
    """
    n = size.n_cells
    b = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * CELLS + tl.arange(0, CELLS)
    within = i < n
    V_th = tl.load(cell.membrane + 2 * n + i, mask=within, other=1.0)
    V_reset = tl.load(cell.membrane + 3 * n + i, mask=within, other=0.0)
    t_ref = tl.load(cell.t_ref + i, mask=within, other=0)
    U = tl.load(start.U + b * n + i, mask=within, other=0.0)
    current = tl.load(start.current + b * n + i, mask=within, other=0.0)
    refractory = tl.load(start.refractory + b * n + i, mask=within, other=1)
    th_spike, th_voltage = tl.zeros_like(U), tl.zeros_like(U)
    if MOVING:
        th_spike = tl.load(start.moving + b * 2 * n + i, mask=within, other=0.0)
        th_voltage = tl.load(start.moving + (b * 2 + 1) * n + i, mask=within, other=0.0)
    for a in range(size.n_asc):
        asc = tl.load(start.asc + (b * size.n_asc + a) * n + i, mask=within, other=0.0)
        tl.store(segment.asc + (b * size.n_asc + a) * n + i, asc, mask=within)
    for t in range(begin, end):
        k = t - begin
        row = k * size.n_batch + b
        at, asc = row * n + i, segment.asc + row * size.n_asc * n
        active = refractory == 0
        free = tl.load(drive + (b * size.n_steps + t) * n + i, mask=within, other=0.0)
        threshold, U_reset = V_th, V_reset
        if MEMBRANE or MOVING:
            tl.store(segment.U + at, U, mask=within)
            tl.store(segment.current + at, current, mask=within)
        if MOVING:
            moving = segment.moving + row * 2 * n + i
            tl.store(moving, th_spike, mask=within)
            tl.store(moving + n, th_voltage, mask=within)
            constant = constant_current(current, asc, cell.adaptation, i, within, size)
            by_spikes, by_voltage = moved(
                th_spike, th_voltage, U, constant, cell.threshold, i, within, n
            )
            threshold = V_th + by_spikes + by_voltage
            tl.store(segment.threshold + at, threshold, mask=within)
            spiked = active & (free > threshold) & within
            kept, th_spike, th_voltage = reset(
                spiked, active, U, th_spike, th_voltage, by_spikes, by_voltage, cell.threshold, i,
                within, n,
            )  # fmt: skip
            U_reset = kept + V_reset
        else:
            spiked = active & (free > threshold) & within
        after = asc + size.n_batch * size.n_asc * n
        after_spike_currents(asc, after, cell.adaptation, spiked, active, i, within, size)
        U = tl.where(spiked, U_reset, free)
        refractory = tl.where(spiked, t_ref, tl.maximum(refractory - 1, 0))
        following = (
            injected.value + b * injected.by_sample + tl.cast(t, tl.int64) * injected.by_step
        )
        current = tl.load(following + i, mask=within, other=0.0)
        slope = surrogate_slope((free - threshold) / V_th, KIND, DAMPENING, WIDTH)
        tl.store(segment.slope + at, tl.where(active, slope, 0.0), mask=within)
        phase = active.to(tl.int8) + spiked.to(tl.int8)
        tl.store(segment.phase + at, phase.to(tl.uint8), mask=within)
        tl.debug_barrier()  # what `after` holds is read in the next step


@triton.jit(do_not_specialize=["k"])
def list_cells(k, size, segment, events, CELLS: tl.constexpr):
    """Appends to list k of `events` the cells that spiked in the k-th step of a segment."""
    b = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * CELLS + tl.arange(0, CELLS)
    at = (k * size.n_batch + b) * size.n_cells + i
    phase = tl.load(segment.phase + at, mask=i < size.n_cells, other=0)
    one = tl.full([CELLS], 1, events.value.dtype.element_ty)
    append(events, k, i, tl.zeros_like(i) + b.to(tl.int32), one, phase == 2)


@triton.jit(do_not_specialize=["t", "k"])
def replay_synapses(t, k, size, cell, state, segment, PER_PORT: tl.constexpr, CELLS: tl.constexpr):
    """Keeps y before step t and what arrived in it, and takes y and ring of `state` a step on."""
    b = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * CELLS + tl.arange(0, CELLS)
    within = i < size.n_cells
    plane = size.n_receptors * size.n_cells
    y = state.y + b * (plane * 4)
    ring = state.ring + (b * size.n_slots + t % size.n_slots) * plane
    kept = (k * size.n_batch + b) * plane
    for r in range(size.n_receptors):
        at = r * size.n_cells + i
        tl.store(segment.arrived + kept + at, tl.load(ring + at, mask=within), mask=within)
        for field in range(4):
            value = tl.load(y + field * plane + at, mask=within)
            tl.store(segment.y + kept * 4 + field * plane + at, value, mask=within)
    synapses_step(y, cell.synapse, ring, i, within, size, PER_PORT, CELLS)
