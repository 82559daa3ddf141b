"""Compiled backward pass of the fused backend: the adjoint of `cpu.forward`, in reverse time.

Work is cut into blocks of cells, all samples together, so that a weight is read once for the
whole batch. A block first pulls, along the out-edges of its cells, the gradient of their spikes from
`arrival` (the gradient with respect to what arrives at a cell and receptor at a step), then runs
the adjoint of its cells' update, then writes its part of `arrival` for the step. Nothing is shared.

Exact shortcuts: out-edges are walked only where the surrogate derivative is not zero or a spike reached
weights or sites that learn, and the weight gradient only for sources that spiked.

Layouts as in `cpu.forward`, and
    arrival [(D+1)*R*Np, b]: step s at position s mod (D+1), samples side by side
    l_U, l_current [b, n], l_asc [b, A, n], l_y [b, tile, R, 4*WIDTH]: gradient of the loss with
        respect to the state after the step in hand
    phase [k, b, n]: 0 refractory, 1 active, 2 spiked, for the k steps of a segment
"""

import math

from numba import njit, prange

from v1builder.model.backends import fields as of
from v1builder.model.backends.cpu.compiled import kernel
from v1builder.model.backends.cpu.membrane import membrane_adjoint
from v1builder.model.backends.cpu.sites import release_before, sites_adjoint
from v1builder.model.backends.cpu.threshold import moving_membrane_adjoint
from v1builder.model.backends.cpu.tiles import WIDTH
from v1builder.model.backends.cpu.walk import pull, pull_weights, turn


@kernel()
def _bell(code, s):
    """Derivative of the spike s >= 0 widths off the threshold, for height 1; `Surrogate.code` from 1 on."""
    if code == 1:
        return 1.0 if s < 0.5 else 0.0
    if code == 2:
        return math.exp(-0.5 * s * s)
    if code == 3:
        e = math.exp(-s)
        return 4.0 * e / ((1.0 + e) * (1.0 + e))
    return 1.0 / ((1.0 + s) * (1.0 + s))


@kernel()
def _synapse_adjoint(l_y, c, l_drive, arrival):
    """Adjoint of one receptor of one tile; writes the gradient of what arrived to `arrival`."""
    for i in range(WIDTH):
        y1_fast = l_y[of.Y1_FAST * WIDTH + i]
        y2_fast = l_y[of.Y2_FAST * WIDTH + i]
        y1_slow = l_y[of.Y1_SLOW * WIDTH + i]
        y2_slow = l_y[of.Y2_SLOW * WIDTH + i]
        u = l_drive[i]
        arrival[i] = (
            c[of.Y1_INIT_FAST * WIDTH + i] * y1_fast + c[of.Y1_INIT_SLOW * WIDTH + i] * y1_slow
        )
        l_y[of.Y1_FAST * WIDTH + i] = (
            c[of.P11_FAST * WIDTH + i] * y1_fast
            + c[of.P21_FAST * WIDTH + i] * y2_fast
            + c[of.P31_FAST * WIDTH + i] * u
        )
        l_y[of.Y2_FAST * WIDTH + i] = (
            c[of.P11_FAST * WIDTH + i] * y2_fast + c[of.P32_FAST * WIDTH + i] * u
        )
        l_y[of.Y1_SLOW * WIDTH + i] = (
            c[of.P11_SLOW * WIDTH + i] * y1_slow + c[of.P21_SLOW * WIDTH + i] * y2_slow
        )
        l_y[of.Y1_SLOW * WIDTH + i] += c[of.P31_SLOW * WIDTH + i] * u
        l_y[of.Y2_SLOW * WIDTH + i] = (
            c[of.P11_SLOW * WIDTH + i] * y2_slow + c[of.P32_SLOW * WIDTH + i] * u
        )


@kernel()
def _instant_adjoint(l_y, c, l_drive, arrival):
    """The gradient of what arrived, through what it did at once; before `_synapse_adjoint`."""
    for i in range(WIDTH):
        arrival[i] = (
            c[of.Y2_INIT_FAST * WIDTH + i] * l_y[of.Y2_FAST * WIDTH + i]
            + c[of.U_JUMP * WIDTH + i] * l_drive[i]
        )


@kernel()
def _instant_gradient(grad, l_y, arriving, l_drive):
    """Adds the gradient of the two further coefficients."""
    for i in range(WIDTH):
        grad[of.Y2_INIT_FAST * WIDTH + i] += l_y[of.Y2_FAST * WIDTH + i] * arriving[i]
        grad[of.U_JUMP * WIDTH + i] += l_drive[i] * arriving[i]


@kernel()
def _synapse_gradient(grad, l_y, y, arriving, l_drive):
    """Adds the gradient of the ten coefficients of one receptor of one tile, y before the step."""
    for i in range(WIDTH):
        l1_fast = l_y[of.Y1_FAST * WIDTH + i]
        l2_fast = l_y[of.Y2_FAST * WIDTH + i]
        l1_slow = l_y[of.Y1_SLOW * WIDTH + i]
        l2_slow = l_y[of.Y2_SLOW * WIDTH + i]
        y1_fast = y[of.Y1_FAST * WIDTH + i]
        y2_fast = y[of.Y2_FAST * WIDTH + i]
        y1_slow = y[of.Y1_SLOW * WIDTH + i]
        y2_slow = y[of.Y2_SLOW * WIDTH + i]
        u = l_drive[i]
        grad[of.P31_FAST * WIDTH + i] += u * y1_fast
        grad[of.P32_FAST * WIDTH + i] += u * y2_fast
        grad[of.P31_SLOW * WIDTH + i] += u * y1_slow
        grad[of.P32_SLOW * WIDTH + i] += u * y2_slow
        grad[of.P21_FAST * WIDTH + i] += l2_fast * y1_fast
        grad[of.P11_FAST * WIDTH + i] += l1_fast * y1_fast + l2_fast * y2_fast
        grad[of.Y1_INIT_FAST * WIDTH + i] += l1_fast * arriving[i]
        grad[of.P21_SLOW * WIDTH + i] += l2_slow * y1_slow
        grad[of.P11_SLOW * WIDTH + i] += l1_slow * y1_slow + l2_slow * y2_slow
        grad[of.Y1_INIT_SLOW * WIDTH + i] += l1_slow * arriving[i]


@kernel()
def _synapses_adjoint(
    lo, hi, l_y, cells, l_drive, arrival_now, scratch, y_before, arrived, grad_synapse
):
    """Adjoint of all receptors of the cells of whole tiles lo..hi, every sample; scratch [2, WIDTH]."""
    instant = cells.synapse.shape[2] > of.U_JUMP * WIDTH
    n_batch = l_y.shape[0]
    n_receptors = cells.synapse.shape[1]
    n_padded = l_drive.shape[1]
    only = arrival_now.reshape(arrival_now.size)  # of use when there is one sample
    for tile in range(lo // WIDTH, hi // WIDTH):
        at = tile * WIDTH
        c = cells.synapse[cells.same_as[tile]]
        for r in range(n_receptors):
            for b in range(n_batch):
                l_here = l_drive[b, at : at + WIDTH]
                if grad_synapse.shape[0] > 0:
                    _synapse_gradient(
                        grad_synapse[tile, r],
                        l_y[b, tile, r],
                        y_before[b, tile, r],
                        arrived[b, r, at : at + WIDTH],
                        l_here,
                    )
                    if instant:
                        _instant_gradient(
                            grad_synapse[tile, r],
                            l_y[b, tile, r],
                            arrived[b, r, at : at + WIDTH],
                            l_here,
                        )
                if instant:
                    _instant_adjoint(l_y[b, tile, r], c[r], l_here, scratch[1])
                first = r * n_padded + at
                if n_batch == 1:
                    arrived_here = only[first : first + WIDTH]
                    _synapse_adjoint(l_y[b, tile, r], c[r], l_here, arrived_here)
                else:
                    _synapse_adjoint(l_y[b, tile, r], c[r], l_here, scratch[0])
                    for i in range(WIDTH):
                        arrival_now[first + i, b] = scratch[0, i]
                if instant:
                    for i in range(WIDTH):
                        arrival_now[first + i, b] += scratch[1, i]


@kernel()
def _at(loss, b, t):
    """Where the gradient of step t lies in that of an output, [b or 1, t or 1, n]."""
    return min(b, loss.shape[0] - 1), min(t, loss.shape[1] - 1)


@kernel()
def _slopes(phase, drive, threshold, V_th, surrogate, slope):
    """Surrogate derivative dz/dx of some cells of one sample; 0 while refractory."""
    zero, one = slope.dtype.type(0), slope.dtype.type(1)
    width, height = slope.dtype.type(surrogate.width), slope.dtype.type(surrogate.dampening)
    for i in range(slope.shape[0]):
        slope[i] = abs((drive[i] - threshold[i]) / V_th[i] / width)
    if surrogate.code == 0:  # a loop of its own, which can be vectorised
        for i in range(slope.shape[0]):
            slope[i] = max(one - slope[i], zero)
    else:
        for i in range(slope.shape[0]):
            slope[i] = _bell(surrogate.code, slope[i])
    for i in range(slope.shape[0]):
        slope[i] = height * slope[i] if phase[i] != 0 else zero


@kernel()
def _pull_units(
    lo, hi, n_wanted, t_base, k, graph, sites, segment, adjoint, scratch, turned, grad_sites,
    grad_weight,
):  # fmt: skip
    """Gradient of what the wanted units of lo..hi emit, and the adjoint of all sites of lo..hi.

    Adds to the gradient of the weights of those that emitted, unless it is of length 0.
    """
    wanted = scratch.wanted[lo : lo + n_wanted]
    pull(
        wanted, 0, graph, adjoint.ring, turned, t_base, scratch.emitted, scratch.grad_unit,
        grad_weight,
    )  # fmt: skip
    first = sites.first[lo]
    if sites.first[hi] == first:
        return
    n = 0
    for j in range(n_wanted):
        for s in range(sites.first[wanted[j]], sites.first[wanted[j] + 1]):
            scratch.wanted_site[first + n] = s
            n += 1
            if grad_weight.shape[0] == 0:
                continue
            for b in range(adjoint.u.shape[0]):
                value = scratch.emitted[wanted[j], b]
                if value != 0:
                    value *= release_before(segment.u[k, b], segment.x[k, b], sites, s)
                scratch.released[s, b] = value
    n_units = sites.first.shape[0] - 1
    pull(
        scratch.wanted_site[first : first + n], n_units, graph, adjoint.ring, turned, t_base,
        scratch.released, scratch.grad_release, grad_weight,
    )  # fmt: skip
    sites_adjoint(
        lo, hi, wanted, scratch.emitted, scratch.grad_release, sites, adjoint.u, adjoint.x,
        segment.u[k], segment.x[k], scratch.per_site, scratch.grad_unit, grad_sites,
    )  # fmt: skip


@kernel()
def _mark(phase, slope, why):
    """Why a cell's edges might be walked: 1, a spike would have mattered; 2, one was emitted; 3, both."""
    for i in range(why.shape[0]):
        why[i] |= (slope[i] != 0) + 2 * (phase[i] == 2)


@kernel()
def _pull_cells(lo, hi, t_base, k, graph, sites, segment, adjoint, scratch, turned, grads):
    """Gradient of the spikes of cells lo..hi, and of the weights of those that spiked.

    Out-edges are walked only where the surrogate `slope` is not zero in some sample, and where a spike
    matters to weights or sites.
    """
    phase = segment.phase[k]
    scratch.why[lo:hi] = 0
    for b in range(phase.shape[0]):
        _mark(phase[b, lo:hi], scratch.slope[b, lo:hi], scratch.why[lo:hi])
    with_weights = grads.weight.shape[0] > 0
    n_wanted = 0
    for i in range(lo, hi):
        spiked = scratch.why[i] >= 2
        if scratch.why[i] % 2 == 0:
            scratch.grad_unit[i] = 0
            if not (spiked and (with_weights or sites.first[i + 1] > sites.first[i])):
                continue
        scratch.wanted[lo + n_wanted] = i
        n_wanted += 1
        if spiked:
            for b in range(phase.shape[0]):
                scratch.emitted[i, b] = phase[b, i] == 2
    _pull_units(
        lo, hi, n_wanted, t_base, k, graph, sites, segment, adjoint, scratch, turned, grads.sites,
        grads.weight,
    )  # fmt: skip
    for j in range(n_wanted):
        i = scratch.wanted[lo + j]
        if scratch.why[i] >= 2:
            scratch.emitted[i] = 0


@kernel()
def _pull_inputs(
    lo, hi, t, n_steps, t_base, k, graph, inputs, sites, segment, adjoint, scratch, turned, grads
):  # fmt: skip
    """Gradient of what the input units lo..hi emit, whether they spiked or not, and of their sites."""
    n_batch, n_cells = adjoint.U.shape
    n_wanted = 0
    for i in range(lo, hi):
        scratch.emitted[i] = 0
    for b in range(n_batch):
        for j in range(inputs.start[b * n_steps + t], inputs.start[b * n_steps + t + 1]):
            if inputs.source[j] >= lo and inputs.source[j] < hi:
                scratch.emitted[inputs.source[j], b] = inputs.value[j]
    for i in range(lo, hi):
        some = grads.input.shape[0] > 0
        for b in range(n_batch):
            some |= scratch.emitted[i, b] != 0
        if some:
            scratch.wanted[lo + n_wanted] = i
            n_wanted += 1
    _pull_units(
        lo, hi, n_wanted, t_base, k, graph, sites, segment, adjoint, scratch, turned, grads.sites,
        grads.weight[:0],
    )  # fmt: skip
    if grads.input.shape[0] > 0:
        for b in range(n_batch):
            for i in range(lo, hi):
                grads.input[b, t, i - n_cells] = scratch.grad_unit[i, b]


@kernel()
def _share(first, last, task, n_tasks):
    n = last - first
    return first + task * n // n_tasks, first + (task + 1) * n // n_tasks


@kernel()
def _task(
    task, t, k, n_tasks, task_size, surrogate, with_inputs, drive, segment, cells, graph, inputs,
    sites, adjoint, scratch, losses, grads, grad_cells,
):  # fmt: skip
    """Step t (the k-th of its segment) of one block of cells and its share of the inputs."""
    n_batch, n_cells = adjoint.U.shape
    n_padded = scratch.l_drive.shape[1]
    n_steps = drive.shape[1]
    plane = cells.synapse.shape[1] * n_padded
    base = (t % (adjoint.ring.shape[0] // plane)) * plane
    lo = task * task_size
    hi_padded = min(lo + task_size, n_padded)
    hi = min(lo + task_size, n_cells)

    for b in range(n_batch):
        threshold = cells.membrane[of.V_TH]
        if adjoint.moving.shape[1] > 0:
            threshold = segment.threshold[k, b]
        _slopes(
            segment.phase[k, b, lo:hi], drive[b, t, lo:hi], threshold[lo:hi],
            cells.membrane[of.V_TH, lo:hi], surrogate, scratch.slope[b, lo:hi],
        )  # fmt: skip
    turned = scratch.turned[task]
    if turned.shape[0] > 0:
        turn(graph, adjoint.ring, base, turned)
    _pull_cells(lo, hi, base, k, graph, sites, segment, adjoint, scratch, turned, grads)
    n_units = sites.first.shape[0] - 1
    if with_inputs:
        first, last = _share(n_cells, n_units, task, n_tasks)
        _pull_inputs(
            first, last, t, n_steps, base, k, graph, inputs, sites, segment, adjoint, scratch,
            turned, grads,
        )  # fmt: skip
    if grads.weight.shape[0] > 0:
        first, last = _share(n_cells, (graph.row.shape[0] - 1) // graph.n_blocks, task, n_tasks)
        pull_weights(
            first, last, t, n_steps, graph, inputs, adjoint.ring, turned, base, grads.weight
        )

    of_membrane = min(k, segment.U.shape[0] - 1)
    for b in range(n_batch):
        if grads.current.shape[0] > 0:
            sample = min(b, grads.current.shape[0] - 1)
            step = min(t, grads.current.shape[1] - 1)
            for i in range(lo, hi):
                grads.current[sample, step, i] += adjoint.current[b, i]
        if adjoint.moving.shape[1] > 0:
            moving_membrane_adjoint(
                lo, hi, b, surrogate.detach_reset, scratch.slope[b], scratch.grad_unit[:, b],
                drive[b, t], segment.asc[k, b], segment.moving[k, b], segment.U[k, b],
                segment.current[k, b], segment.phase[k, b], segment.threshold[k, b], adjoint,
                scratch.l_drive[b], losses.spikes[_at(losses.spikes, b, t)],
                losses.voltage[_at(losses.voltage, b, t)], losses.drive[_at(losses.drive, b, t)],
                cells, grad_cells,
            )  # fmt: skip
            continue
        membrane_adjoint(
            lo, hi, surrogate.detach_reset, segment.phase[k, b], scratch.slope[b],
            scratch.grad_unit[:, b], drive[b, t], segment.asc[k, b], segment.U[of_membrane, b],
            segment.current[of_membrane, b], adjoint.U[b], adjoint.asc[b], adjoint.current[b],
            scratch.l_drive[b], losses.spikes[_at(losses.spikes, b, t)],
            losses.voltage[_at(losses.voltage, b, t)], losses.drive[_at(losses.drive, b, t)],
            cells.membrane, cells.adaptation, grad_cells.membrane, grad_cells.adaptation,
        )  # fmt: skip
    at = min(k, segment.y.shape[0] - 1)
    _synapses_adjoint(
        lo, hi_padded, adjoint.y, cells, scratch.l_drive, adjoint.ring[base : base + plane],
        scratch.tile[task], segment.y[at], segment.arrived[at], grad_cells.synapse,
    )  # fmt: skip


@njit(cache=True, parallel=True)
def retreat(
    t_begin, t_end, threaded, n_tasks, task_size, surrogate, with_inputs, drive, segment, cells,
    graph, inputs, sites, adjoint, scratch, losses, grads, grad_cells,
):  # fmt: skip
    """Adjoint of the steps t_end-1 down to t_begin, in place; adds to every gradient that has a size.

    The arguments are the structures of `backends.layout`; adjoint.ring is `arrival`. The input units
    are walked only `with_inputs`, for the gradient of their values or of their sites.
    """
    for t in range(t_end - 1, t_begin - 1, -1):
        k = t - t_begin
        if threaded:
            for task in prange(n_tasks):
                _task(
                    task, t, k, n_tasks, task_size, surrogate, with_inputs, drive, segment, cells,
                    graph, inputs, sites, adjoint, scratch, losses, grads, grad_cells,
                )  # fmt: skip
        else:
            for task in range(n_tasks):
                _task(
                    task, t, k, n_tasks, task_size, surrogate, with_inputs, drive, segment, cells,
                    graph, inputs, sites, adjoint, scratch, losses, grads, grad_cells,
                )  # fmt: skip
