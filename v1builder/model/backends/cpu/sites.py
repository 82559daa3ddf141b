"""Compiled short-term plasticity: `v1builder.model.plasticity.step`, forward, replayed and in reverse.

Sites are sorted by their source unit, cells before inputs: those of unit i are first[i]..first[i+1].
To the walks along the edges a site is one more source, numbered after all cells and input units, and
what it releases is the value of its spike. u and x relax step by step as in the reference: that costs
a fraction of a nanosecond per site, and no number depends on where a rollout was cut.

Layouts: u, x and their adjoints l_u, l_x [b, site]; u_before, x_before [k, b, site] for the k steps of a
segment; grad_sites [3, site] of U, P_rec, P_fac, of length 0 when nobody wants it.
"""

from typing import Final

from numba import njit, prange

from v1builder.model.backends.cpu.compiled import copy, kernel

#: U, u, x and both decays of so many sites fit into a level 1 cache beside the spikes.
_SITES_PER_BLOCK: Final = 1024


@kernel()
def _relax_all(u, x, P_fac, P_rec):
    one = u.dtype.type(1)
    for s in range(u.shape[0]):
        u[s] *= P_fac[s]
        x[s] = one + (x[s] - one) * P_rec[s]


@kernel()
def _relax(u, x, sites, lo, hi):
    """Sites lo..hi. Slices begin at 0, and an index that cannot be negative lets a loop be vectorised."""
    _relax_all(u[lo:hi], x[lo:hi], sites.P_fac[lo:hi], sites.P_rec[lo:hi])


@kernel()
def _spike(u, x, U, s, value, one):
    """The source of site s emits `value`: changes u and x, which have relaxed; returns the release."""
    raised = u[s] + U[s] * (one - u[s])
    released = raised * x[s]
    once = min(value, one)
    u[s] += once * (raised - u[s])
    x[s] -= once * released
    return value * released / U[s]


@kernel()
def release_before(u, x, sites, s):
    """What site s would release at one spike, from u and x before the step."""
    one = u.dtype.type(1)
    relaxed = u[s] * sites.P_fac[s]
    raised = relaxed + sites.U[s] * (one - relaxed)
    return raised * (one + (x[s] - one) * sites.P_rec[s]) / sites.U[s]


@kernel()
def release(u, x, sites, lo, hi, source, value, count):
    """One step of the sites of cells lo..hi, of which the first `count` in `source` spiked.

    Appends the sites that release to `source`, with what they release; returns the new count.
    """
    n_units = sites.first.shape[0] - 1
    one = u.dtype.type(1)
    _relax(u, x, sites, sites.first[lo], sites.first[hi])
    n = count
    for j in range(count):
        value[j] = one
        for s in range(sites.first[source[j]], sites.first[source[j] + 1]):
            source[n] = n_units + s
            value[n] = _spike(u, x, sites.U, s, one, one)
            n += 1
    return n


@kernel()
def count_releases(start, source, first_site, count):
    """Adds to count [b*T] the number of input spikes and of the releases that they cause."""
    for row in range(count.shape[0]):
        total = 0
        for j in range(start[row], start[row + 1]):
            total += 1 + first_site[source[j] + 1] - first_site[source[j]]
        count[row] += total


@kernel()
def _release_block(lo, hi, row_begin, row_end, spike_at, out_at, u, x, sites, spikes, out):
    """Steps row_begin..row_end of one sample, of the sites of units lo..hi; u, x [s].

    spike_at, out_at [step]: the first spike of these units or of later ones, and where it goes to; left
    behind the last of these units.
    """
    n_units = sites.first.shape[0] - 1
    one = u.dtype.type(1)
    first, last = sites.first[lo], sites.first[hi]
    for row in range(row_begin, row_end):
        _relax(u, x, sites, first, last)
        j, at = spike_at[row - row_begin], out_at[row - row_begin]
        while j < spikes.start[row + 1] and spikes.source[j] < hi:
            unit, value = spikes.source[j], spikes.value[j]
            out.source[at] = unit
            out.value[at] = value
            at += 1
            for s in range(sites.first[unit], sites.first[unit + 1]):
                out.source[at] = n_units + s
                out.value[at] = _spike(u, x, sites.U, s, value, one)
                at += 1
            j += 1
        spike_at[row - row_begin], out_at[row - row_begin] = j, at


@njit(cache=True, parallel=True)
def release_inputs(t_begin, t_end, n_cells, u, x, sites, spikes, out):
    """Steps t_begin..t_end of the sites of all inputs: fills `out` with the spikes and the releases.

    All steps of some units, whose sites stay in a level 1 cache, before those of the next: spikes of a
    step are in the order of their units, so each unit's go behind those of the units before.
    """
    n_batch, n_units = u.shape[0], sites.first.shape[0] - 1
    n_steps = (spikes.start.shape[0] - 1) // n_batch
    for b in prange(n_batch):
        begin, end = b * n_steps + t_begin, b * n_steps + t_end
        spike_at, out_at = spikes.start[begin:end].copy(), out.start[begin:end].copy()
        lo = n_cells
        while lo < n_units:
            hi = lo + 1
            while hi < n_units and sites.first[hi + 1] - sites.first[lo] <= _SITES_PER_BLOCK:
                hi += 1
            _release_block(lo, hi, begin, end, spike_at, out_at, u[b], x[b], sites, spikes, out)
            lo = hi


@kernel()
def _replay_block(
    lo, hi, b, t_begin, t_end, n_steps, phase, spikes, sites, u, x, u_before, x_before
):
    """Of one sample and the sites of units lo..hi; u, x [s]."""
    n_cells = phase.shape[2]
    one = u.dtype.type(1)
    first, last = sites.first[lo], sites.first[hi]
    for t in range(t_begin, t_end):
        k = t - t_begin
        copy(u[first:last], u_before[k, b, first:last])
        copy(x[first:last], x_before[k, b, first:last])
        _relax(u, x, sites, first, last)
        for i in range(lo, min(hi, n_cells)):
            if phase[k, b, i] == 2:
                for s in range(sites.first[i], sites.first[i + 1]):
                    _spike(u, x, sites.U, s, one, one)
        row = b * n_steps + t
        for j in range(spikes.start[row], spikes.start[row + 1]):
            unit = spikes.source[j]
            if unit >= lo and unit < hi:
                for s in range(sites.first[unit], sites.first[unit + 1]):
                    _spike(u, x, sites.U, s, spikes.value[j], one)


@njit(cache=True, parallel=True)
def replay_sites(t_begin, t_end, n_units, n_blocks, phase, spikes, sites, u, x, u_before, x_before):
    """U and x before every step, of the sites of the first `n_units` units. u and x are updated."""
    n_batch = u.shape[0]
    n_steps = (spikes.start.shape[0] - 1) // n_batch
    for task in prange(n_batch * n_blocks):
        b, block = task // n_blocks, task % n_blocks
        lo, hi = block * n_units // n_blocks, (block + 1) * n_units // n_blocks
        _replay_block(
            lo, hi, b, t_begin, t_end, n_steps, phase, spikes, sites, u[b], x[b], u_before,
            x_before,
        )  # fmt: skip


@kernel()
def _per_source_value(gradient, U, P_fac, P_rec, l_u, l_x, u_before, x_before, out):
    """Gradient of the value, at most 1, that the source of each of some sites emits in one sample.

    Whether the source spiked or not: what the site would have released, and how that would have changed
    u and x.
    """
    one = l_u.dtype.type(1)
    for s in range(out.shape[0]):
        u = u_before[s] * P_fac[s]
        jump = U[s] * (one - u)
        released = (u + jump) * (one + (x_before[s] - one) * P_rec[s])
        out[s] = gradient[s] * released / U[s] + l_u[s] * jump - l_x[s] * released


@kernel()
def _spike_adjoint(s, value, gradient, sites, l_u, l_x, u_before, x_before, grad_sites):
    """Adjoint of `_spike` of one site of one sample, whose source emitted `value`.

    l_u, l_x become those of what had relaxed. Returns the gradient of a value above 1, which changes u
    and x no more than 1 does.
    """
    one = l_u.dtype.type(1)
    U = sites.U[s]
    u = u_before[s] * sites.P_fac[s]
    x = one + (x_before[s] - one) * sites.P_rec[s]
    released = (u + U * (one - u)) * x
    once = min(value, one)
    l_released = gradient * value / U - l_x[s] * once
    l_raised = l_u[s] * once + l_released * x
    if grad_sites.shape[0] > 0:
        grad_sites[0, s] += l_raised * (one - u) - gradient * value * released / (U * U)
    l_u[s] = l_u[s] * (one - once) + l_raised * (one - U)
    l_x[s] += l_released * (u + U * (one - u))
    return gradient * released / U


@kernel()
def _relax_adjoint(l_u, l_x, P_fac, P_rec):
    """Adjoint of `_relax` of some sites of one sample."""
    for s in range(l_u.shape[0]):
        l_u[s] *= P_fac[s]
        l_x[s] *= P_rec[s]


@kernel()
def _relax_gradient(l_u, l_x, u_before, x_before, grad_rec, grad_fac):
    """Adds the gradient of the coefficients of `_relax`."""
    one = l_u.dtype.type(1)
    for s in range(l_u.shape[0]):
        grad_rec[s] += l_x[s] * (x_before[s] - one)
        grad_fac[s] += l_u[s] * u_before[s]


@kernel()
def sites_adjoint(
    lo, hi, wanted, emitted, gradient, sites, l_u, l_x, u_before, x_before, per_site, grad_source,
    grad_sites,
):  # fmt: skip
    """Adjoint of one step of the sites of units lo..hi, `wanted` of which spiked or need a gradient.

    emitted and grad_source [unit, b], gradient [site, b]: of the release, for wanted units; per_site
    [site] is scratch.
    """
    first, last = sites.first[lo], sites.first[hi]
    one = l_u.dtype.type(1)
    for b in range(l_u.shape[0]):
        here = slice(first, last)
        _per_source_value(
            gradient[here, b], sites.U[here], sites.P_fac[here], sites.P_rec[here], l_u[b, here],
            l_x[b, here], u_before[b, here], x_before[b, here], per_site[here],
        )  # fmt: skip
        for j in range(wanted.shape[0]):
            unit = wanted[j]
            value = emitted[unit, b]
            total = grad_source[unit, b]
            for s in range(sites.first[unit], sites.first[unit + 1]):
                of_value = per_site[s]
                if value != 0:
                    above = _spike_adjoint(
                        s, value, gradient[s, b], sites, l_u[b], l_x[b], u_before[b], x_before[b],
                        grad_sites,
                    )  # fmt: skip
                    if value > one:
                        of_value = above
                total += of_value
            grad_source[unit, b] = total
        if grad_sites.shape[0] > 0:
            _relax_gradient(
                l_u[b, here], l_x[b, here], u_before[b, here], x_before[b, here],
                grad_sites[1, here], grad_sites[2, here],
            )  # fmt: skip
        _relax_adjoint(l_u[b, here], l_x[b, here], sites.P_fac[here], sites.P_rec[here])
