"""Triton kernels of short-term plasticity: `v1builder.model.plasticity.step`, forward and in reverse.

Sites are sorted by their source unit, cells before inputs: those of unit i are first[i]..first[i+1]. To
the walks along the edges a site is one more source, numbered after all units, and what it releases is
the value of its spike.

Layouts: u, x and their adjoints [b, s]; u_before, x_before of a segment [k, b, s]; dense [b, t, input
unit]: what the inputs emit; grad_sites [b, 3, s] of U, P_rec, P_fac. The rest as in `cuda.forward`.
"""

import triton
import triton.language as tl

from v1builder.model.backends.cuda.forward import append


@triton.jit
def emitted_inputs(inputs, b, t, unit, mask, size):
    """What input units emitted in step t, in the model's dtype; `unit` counts from the first cell."""
    n_inputs = size.n_units - size.n_cells
    row = (b * size.n_steps + t) * n_inputs + (unit - size.n_cells)
    return tl.load(inputs.dense + row, mask=mask, other=0).to(inputs.value.dtype.element_ty)


@triton.jit
def emitted_before(inputs, segment, b, k, t, unit, mask, size):
    """What any unit emitted in step t, the k-th of a segment."""
    of_cell = mask & (unit < size.n_cells)
    phase = tl.load(
        segment.phase + (k * size.n_batch + b) * size.n_cells + unit, mask=of_cell, other=0
    )
    of_inputs = emitted_inputs(inputs, b, t, unit, mask & (unit >= size.n_cells), size)
    return (phase == 2).to(of_inputs.dtype) + of_inputs


@triton.jit
def release(u, x, sites, s, within):
    """U and x of sites relaxed by a step, what they gain at a spike (raised - u), and U."""
    U = tl.load(sites.U + s, mask=within, other=1.0)
    u = u * tl.load(sites.P_fac + s, mask=within, other=0.0)
    x = 1 + (x - 1) * tl.load(sites.P_rec + s, mask=within, other=0.0)
    return u, x, U * (1 - u), U


@triton.jit(do_not_specialize=["t"])
def sites_step(t, size, sites, state, spikes, events, inputs, SITES: tl.constexpr):
    """Step t of every site, after `cells`: grid (tiles of sites, samples). Appends what is released."""
    b = tl.program_id(1).to(tl.int64)
    s = tl.program_id(0) * SITES + tl.arange(0, SITES)
    within = s < size.n_sites
    unit = tl.load(sites.unit + s, mask=within, other=0)
    row = (b * size.n_steps + t) * size.n_cells + unit
    value = tl.load(spikes + row, mask=within & (unit < size.n_cells), other=0.0)
    value += emitted_inputs(inputs, b, t, unit, within & (unit >= size.n_cells), size)
    at = b * size.n_sites + s
    u = tl.load(state.u + at, mask=within, other=0.0)
    x = tl.load(state.x + at, mask=within, other=0.0)
    u, x, jump, U = release(u, x, sites, s, within)
    released, once = (u + jump) * x, tl.minimum(value, 1)
    tl.store(state.u + at, u + once * jump, mask=within)
    tl.store(state.x + at, x - once * released, mask=within)
    append(
        events, t, size.n_units + s, tl.zeros_like(s) + b.to(tl.int32), value * released / U,
        within & (value != 0),
    )  # fmt: skip


@triton.jit(do_not_specialize=["begin", "end"])
def replay_sites(begin, end, size, sites, state, inputs, segment, SITES: tl.constexpr):
    """U and x before every step of a segment; state: u, x [b, s] before the first."""
    b = tl.program_id(1).to(tl.int64)
    s = tl.program_id(0) * SITES + tl.arange(0, SITES)
    within = s < size.n_sites
    unit = tl.load(sites.unit + s, mask=within, other=0)
    u = tl.load(state.u + b * size.n_sites + s, mask=within, other=0.0)
    x = tl.load(state.x + b * size.n_sites + s, mask=within, other=0.0)
    for t in range(begin, end):
        k = t - begin
        at = (k * size.n_batch + b) * size.n_sites + s
        tl.store(segment.u + at, u, mask=within)
        tl.store(segment.x + at, x, mask=within)
        value = emitted_before(inputs, segment, b, k, t, unit, within, size)
        u, x, jump, _ = release(u, x, sites, s, within)
        once = tl.minimum(value, 1)
        x = x - once * ((u + jump) * x)
        u = u + once * jump


@triton.jit(do_not_specialize=["t", "k"])
def list_sites(t, k, size, sites, inputs, segment, events, SITES: tl.constexpr):
    """Appends to list k of `events` what the sites released in step t, the k-th of a segment."""
    b = tl.program_id(1).to(tl.int64)
    s = tl.program_id(0) * SITES + tl.arange(0, SITES)
    within = s < size.n_sites
    unit = tl.load(sites.unit + s, mask=within, other=0)
    value = emitted_before(inputs, segment, b, k, t, unit, within, size)
    released = released_before(b, k, s, within, size, sites, segment)
    append(
        events, k, size.n_units + s, tl.zeros_like(s) + b.to(tl.int32), value * released,
        within & (value != 0),
    )  # fmt: skip


@triton.jit
def released_before(b, k, s, within, size, sites, segment):
    """What sites release at one spike in the k-th step of a segment."""
    at = (k * size.n_batch + b) * size.n_sites + s
    u = tl.load(segment.u + at, mask=within, other=0.0)
    x = tl.load(segment.x + at, mask=within, other=0.0)
    u, x, jump, U = release(u, x, sites, s, within)  # pyright: ignore[reportGeneralTypeIssues]
    return (u + jump) * x / U


@triton.jit(do_not_specialize=["t", "k"])
def sites_adjoint(
    t, k, size, sites, inputs, segment, adjoint, grads, PARAMETERS: tl.constexpr, UNITS: tl.constexpr
):  # fmt: skip
    """Adjoint of step t of all sites of every unit: grid (tiles of units, samples).

    Takes the gradient of every release from grads.release [b, s] and adds to grads.unit [b, unit]. A
    unit's sites belong to one program, so nothing is shared.
    """
    b = tl.program_id(1).to(tl.int64)
    unit = tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    known = unit < size.n_units
    first = tl.load(sites.first + unit, mask=known, other=0)
    last = tl.load(sites.first + unit + 1, mask=known, other=0)
    value = emitted_before(inputs, segment, b, k, t, unit, known, size)
    once = tl.minimum(value, 1)
    of_unit = grads.unit + b * size.n_units + unit
    g_unit = tl.load(of_unit, mask=known, other=0.0)
    for j in range(tl.max(last - first)):
        s, within = first + j, first + j < last
        at = b * size.n_sites + s
        before = (k * size.n_batch + b) * size.n_sites + s
        u_before = tl.load(segment.u + before, mask=within, other=0.0)
        x_before = tl.load(segment.x + before, mask=within, other=0.0)
        l_u = tl.load(adjoint.u + at, mask=within, other=0.0)
        l_x = tl.load(adjoint.x + at, mask=within, other=0.0)
        g = tl.load(grads.release + at, mask=within, other=0.0)
        u, x, jump, U = release(u_before, x_before, sites, s, within)
        released = (u + jump) * x
        g_unit += g * released / U + tl.where(value <= 1, l_u * jump - l_x * released, 0.0)
        l_released = g * value / U - l_x * once
        l_raised = l_u * once + l_released * x
        l_u = l_u * (1 - once) + l_raised * (1 - U)
        l_x = l_x + l_released * (u + jump)
        if PARAMETERS:
            of_site = grads.sites + b * 3 * size.n_sites + s
            g_U = tl.load(of_site, mask=within, other=0.0)
            g_U += l_raised * (1 - u) - g * value * released / (U * U)
            g_rec = tl.load(of_site + size.n_sites, mask=within, other=0.0)
            g_fac = tl.load(of_site + 2 * size.n_sites, mask=within, other=0.0)
            tl.store(of_site, g_U, mask=within)
            tl.store(of_site + size.n_sites, g_rec + l_x * (x_before - 1), mask=within)
            tl.store(of_site + 2 * size.n_sites, g_fac + l_u * u_before, mask=within)
        P_fac = tl.load(sites.P_fac + s, mask=within, other=0.0)
        P_rec = tl.load(sites.P_rec + s, mask=within, other=0.0)
        tl.store(adjoint.u + at, l_u * P_fac, mask=within)
        tl.store(adjoint.x + at, l_x * P_rec, mask=within)
    tl.store(of_unit, g_unit, mask=known)
