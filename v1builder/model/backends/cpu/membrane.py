"""Compiled membrane, after-spike currents and threshold of GLIF levels 1 and 3: forward and in reverse.

Every function is a row of passes over cells lo..hi, each with few arrays and without a branch: that is what
the compiler turns into vector instructions. With a branch per cell it does not, which took four times as
long. What few cells do, spiking, is a pass of its own.

Layouts: adaptation [4, A, n], membrane [4, n] and asc [A, n] as in `cpu.forward`; phase, asc_before,
u_before and the adjoints l_* as in `cpu.backward`; all of one sample.
"""

from v1builder.model.backends import fields as of
from v1builder.model.backends.cpu.compiled import copy, kernel


@kernel()
def _add(values, out):
    for i in range(out.shape[0]):
        out[i] += values[i]


@kernel()
def _add_product(x, y, out):
    for i in range(out.shape[0]):
        out[i] += x[i] * y[i]


@kernel()
def _add_triple(x, y, z, out):
    for i in range(out.shape[0]):
        out[i] += x[i] * (y[i] * z[i])


@kernel()
def _integrate(U, P33, P30, synaptic, current_to_drive):
    for i in range(U.shape[0]):
        u = U[i] * P33[i] + current_to_drive[i] * P30[i]
        current_to_drive[i] = u + synaptic[i]


@kernel()
def _hold(U, refractory, drive):
    for i in range(U.shape[0]):
        drive[i] = U[i] if refractory[i] > 0 else drive[i]


@kernel()
def _decay_active(decay, refractory, asc):
    for i in range(asc.shape[0]):
        asc[i] = asc[i] if refractory[i] > 0 else asc[i] * decay[i]


@kernel()
def _phases(drive, V_th, refractory, phase):
    """0 refractory, 1 active, 2 spiked; returns how many spiked."""
    count = 0
    for i in range(phase.shape[0]):
        crossed = drive[i] > V_th[i]
        count += crossed and refractory[i] <= 0
        phase[i] = 0 if refractory[i] > 0 else (2 if crossed else 1)
    return count


@kernel()
def _count_down(refractory):
    for i in range(refractory.shape[0]):
        refractory[i] -= refractory[i] > 0


@kernel()
def _move(U, asc, refractory, membrane, adaptation, drive, phase, lo, hi):
    """What every cell does in a step once `drive` is known; returns how many spike."""
    cells = slice(lo, hi)
    count = _phases(drive[cells], membrane[of.V_TH, cells], refractory[cells], phase[cells])
    for a in range(asc.shape[0]):
        _decay_active(adaptation[of.ASC_DECAY, a, cells], refractory[cells], asc[a, cells])
    copy(drive[cells], U[cells])  # of a refractory cell both are the same
    _count_down(refractory[cells])
    return count


@kernel()
def _reset(i, U, asc, refractory, membrane, adaptation, t_ref):
    U[i] = membrane[of.V_RESET, i]
    refractory[i] = t_ref[i]
    for a in range(asc.shape[0]):
        asc[a, i] = adaptation[of.ASC_AMPS, a, i] + asc[a, i] * adaptation[of.ASC_REFRACTORY, a, i]


@kernel()
def membrane_step(
    U, asc, refractory, current, synaptic, membrane, adaptation, t_ref, drive, spikes, spiked, phase,
    lo, hi,
):  # fmt: skip
    """One step of membrane, after-spike currents and threshold.

    Writes the voltage before the spike test to `drive`, 1 to `spikes` and the positions of the cells
    that spiked to `spiked`; returns their number. `phase` is scratch.
    """
    cells = slice(lo, hi)
    copy(current[cells], drive[cells])
    for a in range(asc.shape[0]):
        _add_product(adaptation[of.ASC_MEAN, a, cells], asc[a, cells], drive[cells])
    _integrate(
        U[cells], membrane[of.P33, cells], membrane[of.P30, cells], synaptic[cells], drive[cells]
    )
    _hold(U[cells], refractory[cells], drive[cells])
    n_spiked = _move(U, asc, refractory, membrane, adaptation, drive, phase, lo, hi)
    count = 0
    if n_spiked > 0:
        for i in range(lo, hi):
            if phase[i] == 2:
                _reset(i, U, asc, refractory, membrane, adaptation, t_ref)
                spikes[i] = 1
                spiked[count] = i
                count += 1
    return count


@kernel()
def membrane_replay(
    U, asc, refractory, membrane, adaptation, t_ref, drive, phase, asc_before, u_before, with_u, lo, hi
):  # fmt: skip
    """One step from the stored drive; writes phase and the state before it (u_before only if `with_u`)."""
    cells = slice(lo, hi)
    if with_u:
        copy(U[cells], u_before[cells])
    for a in range(asc.shape[0]):
        copy(asc[a, cells], asc_before[a, cells])
    if _move(U, asc, refractory, membrane, adaptation, drive, phase, lo, hi) > 0:
        for i in range(lo, hi):
            if phase[i] == 2:
                _reset(i, U, asc, refractory, membrane, adaptation, t_ref)


@kernel()
def _through_voltage(l_u, V_reset, drive, l_z):
    """Adds what the reset of the voltage says of the spike."""
    for i in range(l_z.shape[0]):
        l_z[i] += l_u[i] * (V_reset[i] - drive[i])


@kernel()
def _through_asc(l_asc, amps, kept, asc_before, decay, l_z):
    """Adds what the reset of an after-spike current says of the spike."""
    for i in range(l_z.shape[0]):
        free = asc_before[i] * decay[i]
        l_z[i] += l_asc[i] * (amps[i] + free * kept[i] - free)


@kernel()
def _at_threshold(l_z, V_th, slope_to_l_x):
    for i in range(l_z.shape[0]):
        slope_to_l_x[i] = l_z[i] * slope_to_l_x[i] / V_th[i]


@kernel()
def _before_test(l_x, g_drive, phase, l_u, l_drive):
    """The gradient of the voltage before the spike test."""
    zero = l_u.dtype.type(0)
    for i in range(l_drive.shape[0]):
        l_drive[i] = l_x[i] + g_drive[i] + (zero if phase[i] == 2 else l_u[i])


@kernel()
def _before_step(P33, phase, l_drive, l_U):
    """The gradient of the voltage before the step; a refractory cell's drive is nothing but that."""
    zero = l_U.dtype.type(0)
    for i in range(l_U.shape[0]):
        refractory = phase[i] == 0
        l_U[i] = l_drive[i] if refractory else l_drive[i] * P33[i]
        l_drive[i] = zero if refractory else l_drive[i]


@kernel()
def _scale(values, factor, out):
    for i in range(out.shape[0]):
        out[i] = values[i] * factor[i]


@kernel()
def _asc_adjoint(phase, kept, decay, l_constant, mean, l_asc):
    for i in range(l_asc.shape[0]):
        after = l_asc[i] * kept[i] if phase[i] == 2 else l_asc[i]
        free = after * decay[i] + l_constant[i] * mean[i]
        l_asc[i] = l_asc[i] if phase[i] == 0 else free


@kernel()
def _gradient_at_threshold(l_x, drive, V_th, phase, l_u, grad_V_th, grad_V_reset):
    for i in range(l_x.shape[0]):
        grad_V_th[i] -= l_x[i] * drive[i] / V_th[i]
    zero = l_u.dtype.type(0)
    for i in range(l_x.shape[0]):
        grad_V_reset[i] += l_u[i] if phase[i] == 2 else zero


@kernel()
def _gradient_of_asc(phase, kept, asc_before, l_asc, grad_decay):
    zero = l_asc.dtype.type(0)
    for i in range(l_asc.shape[0]):
        after = l_asc[i] * kept[i] if phase[i] == 2 else l_asc[i]
        grad_decay[i] += zero if phase[i] == 0 else after * asc_before[i]


@kernel()
def _gradient_of_asc_reset(phase, asc_before, decay, l_asc, grad_amps, grad_kept):
    for i in range(l_asc.shape[0]):
        if phase[i] == 2:
            grad_amps[i] += l_asc[i]
            grad_kept[i] += l_asc[i] * (asc_before[i] * decay[i])


@kernel()
def membrane_adjoint(
    lo, hi, detach_reset, phase, slope, grad_spike, drive, asc_before, u_before, current_before,
    l_U, l_asc, l_current, l_drive, g_spikes, g_voltage, g_drive, membrane, adaptation,
    grad_membrane, grad_adaptation,
):  # fmt: skip
    """Adjoint of `membrane_step`; leaves dL/d(drive) of active cells in l_drive and overwrites slope."""
    cells = slice(lo, hi)
    n_asc = l_asc.shape[0]
    with_parameters = grad_membrane.shape[0] > 0
    _add(g_voltage[cells], l_U[cells])
    copy(g_spikes[cells], l_drive[cells])
    _add(grad_spike[cells], l_drive[cells])
    if not detach_reset:
        _through_voltage(l_U[cells], membrane[of.V_RESET, cells], drive[cells], l_drive[cells])
        for a in range(n_asc):
            _through_asc(
                l_asc[a, cells], adaptation[of.ASC_AMPS, a, cells], adaptation[of.ASC_REFRACTORY, a, cells],
                asc_before[a, cells], adaptation[of.ASC_DECAY, a, cells], l_drive[cells],
            )  # fmt: skip
    _at_threshold(l_drive[cells], membrane[of.V_TH, cells], slope[cells])
    if with_parameters:
        _gradient_at_threshold(
            slope[cells], drive[cells], membrane[of.V_TH, cells], phase[cells], l_U[cells],
            grad_membrane[of.V_TH, cells], grad_membrane[of.V_RESET, cells],
        )  # fmt: skip
    _before_test(slope[cells], g_drive[cells], phase[cells], l_U[cells], l_drive[cells])
    _before_step(membrane[of.P33, cells], phase[cells], l_drive[cells], l_U[cells])
    _scale(l_drive[cells], membrane[of.P30, cells], l_current[cells])
    if with_parameters:
        _add_product(l_drive[cells], u_before[cells], grad_membrane[of.P33, cells])
        _add_product(l_drive[cells], current_before[cells], grad_membrane[of.P30, cells])
    for a in range(n_asc):
        mean, decay = adaptation[of.ASC_MEAN, a, cells], adaptation[of.ASC_DECAY, a, cells]
        kept, before = adaptation[of.ASC_REFRACTORY, a, cells], asc_before[a, cells]
        if with_parameters:
            _add_triple(l_drive[cells], mean, before, grad_membrane[of.P30, cells])
            _add_product(l_current[cells], before, grad_adaptation[of.ASC_MEAN, a, cells])
            _gradient_of_asc(
                phase[cells], kept, before, l_asc[a, cells], grad_adaptation[of.ASC_DECAY, a, cells]
            )
            _gradient_of_asc_reset(
                phase[cells], before, decay, l_asc[a, cells], grad_adaptation[of.ASC_AMPS, a, cells],
                grad_adaptation[of.ASC_REFRACTORY, a, cells],
            )  # fmt: skip
        _asc_adjoint(phase[cells], kept, decay, l_current[cells], mean, l_asc[a, cells])
