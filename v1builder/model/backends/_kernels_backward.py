"""Compiled backward pass of the fused backend: the adjoint of `_kernels_forward`, in reverse time.

Work is cut into blocks of cells, all samples together, so that a weight is read once for the
whole batch. A block first pulls, along the out-edges of its cells, the gradient of their spikes from
`arrival` (the gradient with respect to what arrives at a cell and receptor at a step), then runs
the adjoint of its cells' update, then writes its part of `arrival` for the step. Nothing is shared.

Exact shortcuts: out-edges are walked only where the surrogate derivative is not zero, and the
weight gradient only for sources that spiked.

Layouts as in `_kernels_forward`, and
    arrival [(D+1)*R*Np, b]: step s at position s mod (D+1), samples side by side
    l_U, l_current [b, n], l_asc [b, A, n], l_y [b, tile, R, 4*WIDTH]: gradient of the loss with
        respect to the state after the step in hand
    phase [k, b, n]: 0 refractory, 1 active, 2 spiked, for the k steps of a segment
"""

import math

from numba import njit, prange

from v1builder.model.backends._kernels_forward import WIDTH
from v1builder.model.backends._kernels_walk import (
    pull_input_spikes,
    pull_inputs,
    pull_recurrent,
)


@njit(cache=True)
def _surrogate(code, x, width):
    """Derivative of the spike with respect to x, for height 1; `code` as in `Surrogate.code`."""
    s = abs(x / width)
    if code == 0:
        return max(1.0 - s, 0.0)
    if code == 1:
        return 1.0 if s < 0.5 else 0.0
    if code == 2:
        return math.exp(-0.5 * s * s)
    if code == 3:
        e = math.exp(-s)
        return 4.0 * e / ((1.0 + e) * (1.0 + e))
    return 1.0 / ((1.0 + s) * (1.0 + s))


@njit(cache=True)
def _synapse_adjoint(l_y, c, l_drive, arrival):
    """Adjoint of one receptor of one tile; writes the gradient of what arrived to `arrival`."""
    for i in range(WIDTH):
        y1_fast = l_y[i]
        y2_fast = l_y[WIDTH + i]
        y1_slow = l_y[2 * WIDTH + i]
        y2_slow = l_y[3 * WIDTH + i]
        u = l_drive[i]
        arrival[i] = c[6 * WIDTH + i] * y1_fast + c[9 * WIDTH + i] * y1_slow
        l_y[i] = c[5 * WIDTH + i] * y1_fast + c[4 * WIDTH + i] * y2_fast + c[i] * u
        l_y[WIDTH + i] = c[5 * WIDTH + i] * y2_fast + c[WIDTH + i] * u
        l_y[2 * WIDTH + i] = c[8 * WIDTH + i] * y1_slow + c[7 * WIDTH + i] * y2_slow
        l_y[2 * WIDTH + i] += c[2 * WIDTH + i] * u
        l_y[3 * WIDTH + i] = c[8 * WIDTH + i] * y2_slow + c[3 * WIDTH + i] * u


@njit(cache=True)
def _synapse_gradient(grad, l_y, y, arriving, l_drive):
    """Adds the gradient of the ten coefficients of one receptor of one tile, y before the step."""
    for i in range(WIDTH):
        l1_fast = l_y[i]
        l2_fast = l_y[WIDTH + i]
        l1_slow = l_y[2 * WIDTH + i]
        l2_slow = l_y[3 * WIDTH + i]
        y1_fast = y[i]
        y2_fast = y[WIDTH + i]
        y1_slow = y[2 * WIDTH + i]
        y2_slow = y[3 * WIDTH + i]
        u = l_drive[i]
        grad[i] += u * y1_fast
        grad[WIDTH + i] += u * y2_fast
        grad[2 * WIDTH + i] += u * y1_slow
        grad[3 * WIDTH + i] += u * y2_slow
        grad[4 * WIDTH + i] += l2_fast * y1_fast
        grad[5 * WIDTH + i] += l1_fast * y1_fast + l2_fast * y2_fast
        grad[6 * WIDTH + i] += l1_fast * arriving[i]
        grad[7 * WIDTH + i] += l2_slow * y1_slow
        grad[8 * WIDTH + i] += l1_slow * y1_slow + l2_slow * y2_slow
        grad[9 * WIDTH + i] += l1_slow * arriving[i]


@njit(cache=True)
def _synapses_adjoint(
    lo, hi, l_y, synapse, l_drive, arrival_now, scratch, y_before, arrived, grad_synapse
):
    """Adjoint of all receptors of the cells of whole tiles lo..hi, every sample."""
    n_batch = l_y.shape[0]
    n_receptors = synapse.shape[1]
    n_padded = l_drive.shape[1]
    only = arrival_now.reshape(arrival_now.size)  # of use when there is one sample
    for b in range(n_batch):
        for tile in range(lo // WIDTH, hi // WIDTH):
            at = tile * WIDTH
            for r in range(n_receptors):
                l_here = l_drive[b, at : at + WIDTH]
                if grad_synapse.shape[0] > 0:
                    _synapse_gradient(
                        grad_synapse[tile, r],
                        l_y[b, tile, r],
                        y_before[b, tile, r],
                        arrived[b, r, at : at + WIDTH],
                        l_here,
                    )
                first = r * n_padded + at
                if n_batch == 1:
                    arrived_here = only[first : first + WIDTH]
                    _synapse_adjoint(l_y[b, tile, r], synapse[tile, r], l_here, arrived_here)
                else:
                    _synapse_adjoint(l_y[b, tile, r], synapse[tile, r], l_here, scratch)
                    for i in range(WIDTH):
                        arrival_now[first + i, b] = scratch[i]


@njit(cache=True)
def _membrane_adjoint(
    lo, hi, detach_reset, phase, slope, grad_spike, drive, asc_before, u_before, current_before,
    l_U, l_asc, l_current, l_drive, g_spikes, g_voltage, g_drive, membrane, adaptation,
    grad_membrane, grad_adaptation,
):  # fmt: skip
    """Adjoint of `membrane_step` for cells lo..hi of one sample; leaves dL/d(drive) in l_drive."""
    n_asc = l_asc.shape[0]
    with_parameters = grad_membrane.shape[0] > 0
    for i in range(lo, hi):
        l_u = l_U[i] + g_voltage[i]
        if phase[i] == 0:
            l_U[i] = l_u + g_drive[i]
            l_drive[i] = 0
            l_current[i] = 0
            continue
        u = drive[i]
        l_z = g_spikes[i] + grad_spike[i]
        if not detach_reset:
            l_z += l_u * (membrane[3, i] - u)
            for a in range(n_asc):
                free = asc_before[a, i] * adaptation[1, a, i]
                l_z += l_asc[a, i] * (adaptation[2, a, i] + free * adaptation[3, a, i] - free)
        l_x = l_z * slope[i] / membrane[2, i]
        spiked = phase[i] == 2
        l_free = l_x + g_drive[i]
        if not spiked:
            l_free += l_u
        l_constant = l_free * membrane[1, i]
        if with_parameters:
            constant = current_before[i]
            for a in range(n_asc):
                constant += adaptation[0, a, i] * asc_before[a, i]
                grad_adaptation[0, a, i] += l_constant * asc_before[a, i]
                if spiked:
                    free = asc_before[a, i] * adaptation[1, a, i]
                    grad_adaptation[2, a, i] += l_asc[a, i]
                    grad_adaptation[3, a, i] += l_asc[a, i] * free
            grad_membrane[0, i] += l_free * u_before[i]
            grad_membrane[1, i] += l_free * constant
            grad_membrane[2, i] -= l_x * u / membrane[2, i]
            if spiked:
                grad_membrane[3, i] += l_u
        for a in range(n_asc):
            l = l_asc[a, i]  # noqa: E741
            if spiked:
                l = l * adaptation[3, a, i]  # noqa: E741
            if with_parameters:
                grad_adaptation[1, a, i] += l * asc_before[a, i]
            l_asc[a, i] = l * adaptation[1, a, i] + l_constant * adaptation[0, a, i]
        l_U[i] = l_free * membrane[0, i]
        l_drive[i] = l_free
        l_current[i] = l_constant


@njit(cache=True)
def _slopes(lo, hi, phase, drive, V_th, code, dampening, width, slope):
    """Surrogate derivative dz/dx of cells lo..hi of one sample; 0 while refractory."""
    for i in range(lo, hi):
        slope[i] = 0
        if phase[i] != 0:
            slope[i] = dampening * _surrogate(code, (drive[i] - V_th[i]) / V_th[i], width)


@njit(cache=True)
def _task(
    task, t, k, n_tasks, task_size, n_blocks, code, dampening, width, detach_reset,
    phase, drive, asc_before, u_before, current_before, y_before, arrived,
    membrane, adaptation, synapse, weight, slot, row, input_start, input_source, input_value,
    l_U, l_asc, l_current, l_y, l_drive, arrival, slope, grad_spike, wanted, scratch,
    g_spikes, g_voltage, g_drive, grad_weight, grad_input, grad_current,
    grad_membrane, grad_adaptation, grad_synapse,
):  # fmt: skip
    """Step t (the k-th of its segment) of one block of cells and its share of the inputs."""
    n_batch, n_cells = l_U.shape
    n_padded = l_drive.shape[1]
    n_steps = drive.shape[1]
    plane = synapse.shape[1] * n_padded
    n_slots = arrival.shape[0] // plane
    base = (t % n_slots) * plane
    lo = task * task_size
    hi_padded = min(lo + task_size, n_padded)
    hi = min(lo + task_size, n_cells)

    for b in range(n_batch):
        _slopes(lo, hi, phase[k, b], drive[b, t], membrane[2], code, dampening, width, slope[b])
    pull_recurrent(
        lo, hi, n_blocks, phase[k], slope, weight, slot, row, arrival, base, grad_spike,
        grad_weight, wanted[task],
    )  # fmt: skip
    n_inputs = (row.shape[0] - 1) // n_blocks - n_cells
    first = n_cells + task * n_inputs // n_tasks
    last = n_cells + (task + 1) * n_inputs // n_tasks
    if grad_weight.shape[0] > 0:
        for b in range(n_batch):
            begin, end = input_start[b * n_steps + t], input_start[b * n_steps + t + 1]
            pull_inputs(
                first, last, b, n_blocks, slot, row, arrival, base, input_source[begin:end],
                input_value[begin:end], grad_weight,
            )  # fmt: skip
    if grad_input.shape[0] > 0:
        pull_input_spikes(
            first, last, n_cells, n_blocks, weight, slot, row, arrival, base, grad_input[:, t]
        )

    for b in range(n_batch):
        if grad_current.shape[0] > 0:
            sample = min(b, grad_current.shape[0] - 1)
            step = min(t, grad_current.shape[1] - 1)
            for i in range(lo, hi):
                grad_current[sample, step, i] += l_current[b, i]
        _membrane_adjoint(
            lo, hi, detach_reset, phase[k, b], slope[b], grad_spike[:, b], drive[b, t],
            asc_before[k, b], u_before[min(k, u_before.shape[0] - 1), b],
            current_before[min(k, current_before.shape[0] - 1), b],
            l_U[b], l_asc[b], l_current[b], l_drive[b],
            g_spikes[min(b, g_spikes.shape[0] - 1), min(t, g_spikes.shape[1] - 1)],
            g_voltage[min(b, g_voltage.shape[0] - 1), min(t, g_voltage.shape[1] - 1)],
            g_drive[min(b, g_drive.shape[0] - 1), min(t, g_drive.shape[1] - 1)],
            membrane, adaptation, grad_membrane, grad_adaptation,
        )  # fmt: skip
    here = arrival[base : base + plane]
    at = min(k, y_before.shape[0] - 1)
    _synapses_adjoint(
        lo, hi_padded, l_y, synapse, l_drive, here, scratch[task], y_before[at], arrived[at],
        grad_synapse,
    )  # fmt: skip


@njit(cache=True, parallel=True)
def retreat(
    t_begin, t_end, threaded, n_tasks, task_size, n_blocks, code, dampening, width, detach_reset,
    phase, drive, asc_before, u_before, current_before, y_before, arrived,
    membrane, adaptation, synapse, weight, slot, row, input_start, input_source, input_value,
    l_U, l_asc, l_current, l_y, l_drive, arrival, slope, grad_spike, wanted, scratch,
    g_spikes, g_voltage, g_drive, grad_weight, grad_input, grad_current,
    grad_membrane, grad_adaptation, grad_synapse,
):  # fmt: skip
    """Adjoint of the steps t_end-1 down to t_begin, in place; adds to every grad_* that has a size.

    phase [k, b, n], asc_before [k, b, A, n] are the segment's; u_before, current_before [k, b, n],
    y_before [k, b, tile, R, 4*WIDTH], arrived [k, b, R, Np] are needed only with grad_membrane and
    grad_synapse (else of length 1); g_* [b or 1, t or 1, n] are the gradients of the outputs. l_drive
    [b, Np], slope [b, n], grad_spike [n, b], wanted [task, task_size], scratch [task, WIDTH] are scratch.
    """
    for t in range(t_end - 1, t_begin - 1, -1):
        k = t - t_begin
        if threaded:
            for task in prange(n_tasks):
                _task(
                    task, t, k, n_tasks, task_size, n_blocks, code, dampening, width, detach_reset,
                    phase, drive, asc_before, u_before, current_before, y_before, arrived,
                    membrane, adaptation, synapse, weight, slot, row, input_start, input_source,
                    input_value, l_U, l_asc, l_current, l_y, l_drive, arrival, slope, grad_spike,
                    wanted, scratch, g_spikes, g_voltage, g_drive, grad_weight, grad_input,
                    grad_current, grad_membrane, grad_adaptation, grad_synapse,
                )  # fmt: skip
        else:
            for task in range(n_tasks):
                _task(
                    task, t, k, n_tasks, task_size, n_blocks, code, dampening, width, detach_reset,
                    phase, drive, asc_before, u_before, current_before, y_before, arrived,
                    membrane, adaptation, synapse, weight, slot, row, input_start, input_source,
                    input_value, l_U, l_asc, l_current, l_y, l_drive, arrival, slope, grad_spike,
                    wanted, scratch, g_spikes, g_voltage, g_drive, grad_weight, grad_input,
                    grad_current, grad_membrane, grad_adaptation, grad_synapse,
                )  # fmt: skip
