"""Compiled reset and moving threshold of GLIF levels 2, 4 and 5: forward, replayed and in reverse.

These stand in for the membrane's functions of the other kernels where a network has such a cell, so that
levels 1 and 3 pay nothing. The equations are those of `neurons.glif.ThresholdDynamics`.

Layouts: threshold [7, n] in the order of `fields.THRESHOLD`; moving [b, 2, n]: th_spike, th_voltage; the
rest as in `cpu.forward` and `cpu.backward`.
"""

from numba import njit, prange

from v1builder.model.backends import fields as of
from v1builder.model.backends.cpu.compiled import kernel


@kernel()
def _move(i, U, constant, moving, threshold):
    """Moves the threshold of an active cell by a step; returns its moving part."""
    moving[of.TH_SPIKE, i] *= threshold[of.SPIKE_DECAY, i]
    followed = threshold[of.PER_MV, i] * U + threshold[of.PER_PA, i] * constant
    moving[of.TH_VOLTAGE, i] = moving[of.TH_VOLTAGE, i] * threshold[of.VOLTAGE_DECAY, i] + followed
    return moving[of.TH_SPIKE, i], moving[of.TH_VOLTAGE, i]


@kernel()
def moving_membrane_step(
    U, asc, refractory, current, synaptic, moving, membrane, adaptation, threshold, t_ref, drive,
    spikes, spiked, lo, hi,
):  # fmt: skip
    """`membrane_step` with a threshold that moves."""
    n_asc = asc.shape[0]
    count = 0
    for i in range(lo, hi):
        if refractory[i] > 0:
            refractory[i] -= 1
            drive[i] = U[i]
            continue
        constant = current[i]
        for a in range(n_asc):
            constant += adaptation[of.ASC_MEAN, a, i] * asc[a, i]
            asc[a, i] *= adaptation[of.ASC_DECAY, a, i]
        u = U[i] * membrane[of.P33, i] + constant * membrane[of.P30, i] + synaptic[i]
        drive[i] = u
        by_spikes, by_voltage = _move(i, U[i], constant, moving, threshold)
        if u > membrane[of.V_TH, i] + by_spikes + by_voltage:
            u = threshold[of.RESET_FRACTION, i] * U[i] + membrane[of.V_RESET, i]
            moving[of.TH_SPIKE, i] = (
                moving[of.TH_SPIKE, i] * threshold[of.SPIKE_REFRACTORY, i]
                + threshold[of.SPIKE_ADD, i]
            )
            for a in range(n_asc):
                asc[a, i] = (
                    adaptation[of.ASC_AMPS, a, i] + asc[a, i] * adaptation[of.ASC_REFRACTORY, a, i]
                )
            refractory[i] = t_ref[i]
            spikes[i] = 1
            spiked[count] = i
            count += 1
        U[i] = u
    return count


@kernel()
def _replay_step(k, b, lo, hi, drive, U, asc, refractory, moving, cells, segment):
    membrane, adaptation = cells.membrane, cells.adaptation
    for i in range(lo, hi):
        segment.U[k, b, i] = U[i]
        segment.moving[k, b, of.TH_SPIKE, i] = moving[of.TH_SPIKE, i]
        segment.moving[k, b, of.TH_VOLTAGE, i] = moving[of.TH_VOLTAGE, i]
        segment.threshold[k, b, i] = membrane[of.V_TH, i]
        constant = segment.current[k, b, i]
        for a in range(asc.shape[0]):
            segment.asc[k, b, a, i] = asc[a, i]
            constant += adaptation[of.ASC_MEAN, a, i] * asc[a, i]
        if refractory[i] > 0:
            refractory[i] -= 1
            segment.phase[k, b, i] = 0
            continue
        segment.phase[k, b, i] = 1
        for a in range(asc.shape[0]):
            asc[a, i] *= adaptation[of.ASC_DECAY, a, i]
        by_spikes, by_voltage = _move(i, U[i], constant, moving, cells.threshold)
        segment.threshold[k, b, i] = membrane[of.V_TH, i] + by_spikes + by_voltage
        if drive[i] > segment.threshold[k, b, i]:
            segment.phase[k, b, i] = 2
            U[i] = cells.threshold[of.RESET_FRACTION, i] * U[i] + membrane[of.V_RESET, i]
            moving[of.TH_SPIKE, i] = (
                moving[of.TH_SPIKE, i] * cells.threshold[of.SPIKE_REFRACTORY, i]
                + cells.threshold[of.SPIKE_ADD, i]
            )
            refractory[i] = cells.t_ref[i]
            for a in range(asc.shape[0]):
                asc[a, i] = (
                    adaptation[of.ASC_AMPS, a, i] + asc[a, i] * adaptation[of.ASC_REFRACTORY, a, i]
                )
        else:
            U[i] = drive[i]


@njit(cache=True, parallel=True)
def replay_moving_membrane(t_begin, t_end, n_blocks, block_size, drive, state, cells, segment):
    """Phase, state and threshold before every step, from the stored drive and segment.current."""
    n_batch, n_cells = state.U.shape
    for task in prange(n_batch * n_blocks):
        b = task // n_blocks
        lo = (task % n_blocks) * block_size
        hi = min(lo + block_size, n_cells)
        for t in range(t_begin, t_end):
            _replay_step(
                t - t_begin, b, lo, hi, drive[b, t], state.U[b], state.asc[b], state.refractory[b],
                state.moving[b], cells, segment,
            )  # fmt: skip


@kernel()
def _moving_gradient(
    i, spiked, l_u, l_x, l_free, l_spike, l_by_spikes, l_by_voltage, over, constant, U, before,
    cells, grad_cells,
):  # fmt: skip
    """Adds the gradient of one cell's coefficients of membrane and threshold."""
    membrane, threshold = grad_cells.membrane, grad_cells.threshold
    membrane[of.P33, i] += l_free * U
    membrane[of.P30, i] += l_free * constant
    membrane[of.V_TH, i] -= l_x + l_x * over / cells.membrane[of.V_TH, i]
    threshold[of.SPIKE_DECAY, i] += l_by_spikes * before[of.TH_SPIKE, i]
    threshold[of.VOLTAGE_DECAY, i] += l_by_voltage * before[of.TH_VOLTAGE, i]
    threshold[of.PER_MV, i] += l_by_voltage * U
    threshold[of.PER_PA, i] += l_by_voltage * constant
    if spiked:
        membrane[of.V_RESET, i] += l_u
        threshold[of.RESET_FRACTION, i] += l_u * U
        threshold[of.SPIKE_ADD, i] += l_spike
        threshold[of.SPIKE_REFRACTORY, i] += (
            l_spike * before[of.TH_SPIKE, i] * cells.threshold[of.SPIKE_DECAY, i]
        )


@kernel()
def moving_membrane_adjoint(
    lo, hi, b, detach_reset, slope, grad_spike, drive, asc_before, moving_before, u_before,
    current_before, phase, at_threshold, adjoint, l_drive, g_spikes, g_voltage, g_drive, cells,
    grad_cells,
):  # fmt: skip
    """`membrane_adjoint` with a threshold that moves."""
    membrane, adaptation, threshold = cells.membrane, cells.adaptation, cells.threshold
    l_U, l_asc, l_moving = adjoint.U[b], adjoint.asc[b], adjoint.moving[b]
    n_asc = l_asc.shape[0]
    with_parameters = grad_cells.membrane.shape[0] > 0
    for i in range(lo, hi):
        l_u = l_U[i] + g_voltage[i]
        if phase[i] == 0:
            l_U[i] = l_u + g_drive[i]
            l_drive[i] = 0
            adjoint.current[b, i] = 0
            continue
        l_spike = l_moving[of.TH_SPIKE, i]
        by_spikes = moving_before[of.TH_SPIKE, i] * threshold[of.SPIKE_DECAY, i]
        constant = current_before[i]
        l_z = g_spikes[i] + grad_spike[i]
        if not detach_reset:
            l_z += l_u * (
                threshold[of.RESET_FRACTION, i] * u_before[i] + membrane[of.V_RESET, i] - drive[i]
            )
            l_z += l_spike * (
                by_spikes * threshold[of.SPIKE_REFRACTORY, i]
                + threshold[of.SPIKE_ADD, i]
                - by_spikes
            )
        for a in range(n_asc):
            constant += adaptation[of.ASC_MEAN, a, i] * asc_before[a, i]
            if not detach_reset:
                free = asc_before[a, i] * adaptation[of.ASC_DECAY, a, i]
                l_z += l_asc[a, i] * (
                    adaptation[of.ASC_AMPS, a, i]
                    + free * adaptation[of.ASC_REFRACTORY, a, i]
                    - free
                )
        l_x = l_z * slope[i] / membrane[of.V_TH, i]
        spiked = phase[i] == 2
        l_free, l_by_spikes = l_x + g_drive[i], l_spike - l_x
        if spiked:
            l_by_spikes = l_spike * threshold[of.SPIKE_REFRACTORY, i] - l_x
        else:
            l_free += l_u
        l_by_voltage = l_moving[of.TH_VOLTAGE, i] - l_x
        l_constant = l_free * membrane[of.P30, i] + l_by_voltage * threshold[of.PER_PA, i]
        if with_parameters:
            _moving_gradient(
                i, spiked, l_u, l_x, l_free, l_spike, l_by_spikes, l_by_voltage,
                drive[i] - at_threshold[i], constant, u_before[i], moving_before, cells, grad_cells,
            )  # fmt: skip
        for a in range(n_asc):
            l = l_asc[a, i]  # noqa: E741
            if spiked:
                if with_parameters:
                    grad_cells.adaptation[of.ASC_AMPS, a, i] += l
                    free = asc_before[a, i] * adaptation[of.ASC_DECAY, a, i]
                    grad_cells.adaptation[of.ASC_REFRACTORY, a, i] += l * free
                l = l * adaptation[of.ASC_REFRACTORY, a, i]  # noqa: E741
            if with_parameters:
                grad_cells.adaptation[of.ASC_MEAN, a, i] += l_constant * asc_before[a, i]
                grad_cells.adaptation[of.ASC_DECAY, a, i] += l * asc_before[a, i]
            l_asc[a, i] = (
                l * adaptation[of.ASC_DECAY, a, i] + l_constant * adaptation[of.ASC_MEAN, a, i]
            )
        l_U[i] = l_free * membrane[of.P33, i] + l_by_voltage * threshold[of.PER_MV, i]
        if spiked:
            l_U[i] += l_u * threshold[of.RESET_FRACTION, i]
        l_moving[of.TH_SPIKE, i] = l_by_spikes * threshold[of.SPIKE_DECAY, i]
        l_moving[of.TH_VOLTAGE, i] = l_by_voltage * threshold[of.VOLTAGE_DECAY, i]
        l_drive[i] = l_free
        adjoint.current[b, i] = l_constant
