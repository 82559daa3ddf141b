"""Compiled step of GLIFR cells and its adjoint, see `model.neurons.glifr`; `cpu.smooth` drives them.

Layouts, b sample, n cell, a after-spike current, r port:

    U, current, sent [b, n]; asc [b, n, a]; y [4, b, n, r] (y1_fast, y2_fast, y1_slow, y2_slow)
    arriving [b, n*r]
    membrane [4, n], adaptation [3, n, a], synapse [12, n, r]: fields of the coefficients in the order below
"""

import math
from typing import Final

from numba import njit, prange

from v1builder.model.backends.cpu.compiled import kernel

MEMBRANE: Final = ("P33", "P30", "V_th", "V_reset")
ADAPTATION: Final = ("asc_decay", "asc_amps", "asc_refractory")
SYNAPSE: Final = (
    *("P11_fast", "P21_fast", "y1_init_fast", "P11_slow", "P21_slow", "y1_init_slow"),
    *("P31_fast", "P32_fast", "P31_slow", "P32_slow", "y2_init_fast", "U_jump"),
)
CELLS_PER_TASK: Final = 128


@kernel()
def _block(
    lo, hi, sigma, per_step, before_sent, U, asc, y, current, arriving, membrane, adaptation, synapse,
    sent, after_U, after_asc, after_y,
):  # fmt: skip
    """One step of the cells lo..hi of every sample."""
    n_batch, n_receptors = U.shape[0], synapse.shape[2]
    one = U.dtype.type(1)
    for b in range(n_batch):
        for i in range(lo, hi):
            before = U[b, i]
            s = before_sent[b, i]
            constant = current[b, i]
            for a in range(asc.shape[2]):
                kick = adaptation[1, i, a] + asc[b, i, a] * (adaptation[2, i, a] - one)
                now = asc[b, i, a] * adaptation[0, i, a] + s * kick
                after_asc[b, i, a] = now
                constant += now
            v = before * membrane[0, i] + constant * membrane[1, i] - s * (before - membrane[3, i])
            for r in range(n_receptors):
                arrived = arriving[b, i * n_receptors + r]
                y1_fast, y2_fast, y1_slow, y2_slow = (
                    y[0, b, i, r], y[1, b, i, r], y[2, b, i, r], y[3, b, i, r],
                )  # fmt: skip
                v += synapse[6, i, r] * y1_fast + synapse[7, i, r] * y2_fast
                v += synapse[8, i, r] * y1_slow + synapse[9, i, r] * y2_slow
                v += synapse[11, i, r] * arrived
                after_y[0, b, i, r] = synapse[0, i, r] * y1_fast + synapse[2, i, r] * arrived
                after_y[1, b, i, r] = (
                    synapse[1, i, r] * y1_fast + synapse[0, i, r] * y2_fast
                    + synapse[10, i, r] * arrived
                )  # fmt: skip
                after_y[2, b, i, r] = synapse[3, i, r] * y1_slow + synapse[5, i, r] * arrived
                after_y[3, b, i, r] = synapse[4, i, r] * y1_slow + synapse[3, i, r] * y2_slow
            after_U[b, i] = v
            sent[b, i] = per_step / (one + math.exp((membrane[2, i] - v) / sigma))


@njit(cache=True, parallel=True)
def advance(
    threaded, sigma, per_step, before_sent, U, asc, y, current, arriving, membrane, adaptation,
    synapse, sent, after_U, after_asc, after_y,
):  # fmt: skip
    """One step: writes sent, after_U, after_asc and after_y; before_sent is what the step before sent."""
    n = U.shape[1]
    n_tasks = -(-n // CELLS_PER_TASK)
    if threaded:
        for task in prange(n_tasks):
            lo = task * CELLS_PER_TASK
            _block(
                lo, min(lo + CELLS_PER_TASK, n), sigma, per_step, before_sent, U, asc, y, current,
                arriving, membrane, adaptation, synapse, sent, after_U, after_asc, after_y,
            )  # fmt: skip
    else:
        _block(
            0, n, sigma, per_step, before_sent, U, asc, y, current, arriving, membrane, adaptation,
            synapse, sent, after_U, after_asc, after_y,
        )  # fmt: skip


@kernel()
def _block_adjoint(
    lo, hi, sigma, per_step, detach_reset, before_sent, U, asc, y, current, arriving, membrane,
    adaptation, synapse, after_sent, after_asc, l_sent, l_U, l_asc, l_y, l_current, l_arriving,
    g_membrane, g_adaptation, g_synapse,
):  # fmt: skip
    """Adjoint of `_block`; l_U, l_asc and l_y turn from after the step to before it."""
    n_batch, n_receptors = U.shape[0], synapse.shape[2]
    one, zero = U.dtype.type(1), U.dtype.type(0)
    for b in range(n_batch):
        for i in range(lo, hi):
            before = U[b, i]
            s, sent = before_sent[b, i], after_sent[b, i]
            of_sent = l_sent[b, i] * sent * (one - sent / per_step) / sigma
            u = l_U[b, i] + of_sent
            constant = current[b, i]
            of_constant = u * membrane[1, i]
            of_s = -u * (before - membrane[3, i])
            for a in range(asc.shape[2]):
                constant += after_asc[b, i, a]
                was = asc[b, i, a]
                stays = adaptation[2, i, a] - one
                of_now = l_asc[b, i, a] + of_constant
                of_s += of_now * (adaptation[1, i, a] + was * stays)
                l_asc[b, i, a] = of_now * (adaptation[0, i, a] + s * stays)
                g_adaptation[0, i, a] += of_now * was
                g_adaptation[1, i, a] += of_now * s
                g_adaptation[2, i, a] += of_now * s * was
            if detach_reset:
                of_s = zero
            of_before = of_s * s * (one - s / per_step) / sigma
            l_U[b, i] = u * (membrane[0, i] - s) + of_before
            l_current[b, i] = of_constant
            g_membrane[0, i] += u * before
            g_membrane[1, i] += u * constant
            g_membrane[2, i] -= of_sent + of_before
            g_membrane[3, i] += u * s
            for r in range(n_receptors):
                arrived = arriving[b, i * n_receptors + r]
                y1_fast, y2_fast, y1_slow, y2_slow = (
                    y[0, b, i, r], y[1, b, i, r], y[2, b, i, r], y[3, b, i, r],
                )  # fmt: skip
                l1_fast, l2_fast, l1_slow, l2_slow = (
                    l_y[0, b, i, r], l_y[1, b, i, r], l_y[2, b, i, r], l_y[3, b, i, r],
                )  # fmt: skip
                g_synapse[0, i, r] += l1_fast * y1_fast + l2_fast * y2_fast
                g_synapse[1, i, r] += l2_fast * y1_fast
                g_synapse[2, i, r] += l1_fast * arrived
                g_synapse[3, i, r] += l1_slow * y1_slow + l2_slow * y2_slow
                g_synapse[4, i, r] += l2_slow * y1_slow
                g_synapse[5, i, r] += l1_slow * arrived
                g_synapse[6, i, r] += u * y1_fast
                g_synapse[7, i, r] += u * y2_fast
                g_synapse[8, i, r] += u * y1_slow
                g_synapse[9, i, r] += u * y2_slow
                g_synapse[10, i, r] += l2_fast * arrived
                g_synapse[11, i, r] += u * arrived
                l_arriving[b, i * n_receptors + r] = (
                    synapse[2, i, r] * l1_fast + synapse[10, i, r] * l2_fast
                    + synapse[5, i, r] * l1_slow + synapse[11, i, r] * u
                )  # fmt: skip
                l_y[0, b, i, r] = (
                    synapse[0, i, r] * l1_fast + synapse[1, i, r] * l2_fast + synapse[6, i, r] * u
                )
                l_y[1, b, i, r] = synapse[0, i, r] * l2_fast + synapse[7, i, r] * u
                l_y[2, b, i, r] = (
                    synapse[3, i, r] * l1_slow + synapse[4, i, r] * l2_slow + synapse[8, i, r] * u
                )
                l_y[3, b, i, r] = synapse[3, i, r] * l2_slow + synapse[9, i, r] * u


@njit(cache=True, parallel=True)
def retreat(
    threaded, sigma, per_step, detach_reset, before_sent, U, asc, y, current, arriving, membrane,
    adaptation, synapse, after_sent, after_asc, l_sent, l_U, l_asc, l_y, l_current, l_arriving,
    g_membrane, g_adaptation, g_synapse,
):  # fmt: skip
    """The adjoint of a step, in place; adds to the gradients g_ of the coefficients."""
    n = U.shape[1]
    n_tasks = -(-n // CELLS_PER_TASK)
    if threaded:
        for task in prange(n_tasks):
            lo = task * CELLS_PER_TASK
            _block_adjoint(
                lo, min(lo + CELLS_PER_TASK, n), sigma, per_step, detach_reset, before_sent, U, asc,
                y, current, arriving, membrane, adaptation, synapse, after_sent, after_asc, l_sent,
                l_U, l_asc, l_y, l_current, l_arriving, g_membrane, g_adaptation, g_synapse,
            )  # fmt: skip
    else:
        _block_adjoint(
            0, n, sigma, per_step, detach_reset, before_sent, U, asc, y, current, arriving, membrane,
            adaptation, synapse, after_sent, after_asc, l_sent, l_U, l_asc, l_y, l_current,
            l_arriving, g_membrane, g_adaptation, g_synapse,
        )  # fmt: skip
