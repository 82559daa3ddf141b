"""One cell: coefficients against independent mathematics, closed forms, and gradients."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from v1builder.model.neurons import glif
from v1builder.model.neurons.glif import GlifParameters, GlifState, Propagators
from v1builder.model.surrogate import SURROGATE_KINDS, Surrogate

F64 = torch.float64
PARAMETERS = [
    name for name in GlifParameters.__dataclass_fields__ if name not in ("threshold", "psc_shape")
]


def coefficient_names(propagators):
    """Of the coefficients that this model has."""
    names = Propagators.__dataclass_fields__
    return [name for name in names if getattr(propagators, name) is not None]


def parameters(n=1, dtype=F64, **changed):
    """A cell like the published ones with two after-spike currents and two receptors."""
    values = {
        "C_m": [90.0],
        "g": [5.0],
        "V_th": [30.0],
        "V_reset": [0.0],
        "t_ref": [3.8],
        "asc_amps": [[-40.0, -110.0]],
        "asc_decay": [[0.003, 0.1]],
        "asc_r": [[1.0, 1.0]],
        "tau_syn_fast": [[1.7, 0.9]],
        "tau_syn_slow": [[4.4, 7.2]],
        "amp_slow": [[0.6, 0.0]],
    } | changed
    return GlifParameters(
        **{k: torch.tensor(v, dtype=dtype).repeat_interleave(n, 0) for k, v in values.items()}
    )


def rest(parameters, batch=1):
    n, r = parameters.tau_syn_fast.shape
    dtype = parameters.C_m.dtype

    def zeros(*shape):
        return torch.zeros(*shape, dtype=dtype)

    synapses = [zeros(batch, n, r) for _ in range(4)]
    return GlifState(
        U=zeros(batch, n),
        asc=zeros(batch, n, parameters.asc_amps.shape[1]),
        refractory=torch.zeros(batch, n, dtype=torch.int32),
        y1_fast=synapses[0],
        y2_fast=synapses[1],
        y1_slow=synapses[2],
        y2_slow=synapses[3],
        current=zeros(batch, n),
        pending=zeros(1, batch, n, r),
        th_spike=zeros(batch, n),
        th_voltage=zeros(batch, n),
        u=zeros(batch, 0),
        x=zeros(batch, 0),
    )


def run(parameters, dt, n_steps, current=0.0, arriving=None, surrogate=None, detach_reset=False):
    """Spikes and voltages [t, n] of one sample."""
    p = glif.propagators(parameters, dt)
    state = rest(parameters)
    n, r = parameters.tau_syn_fast.shape
    injected = torch.as_tensor(current, dtype=parameters.C_m.dtype).expand(1, n)
    state = GlifState(**{**state.__dict__, "current": injected.clone()})
    none = torch.zeros(1, n, r, dtype=parameters.C_m.dtype)
    spikes, voltage = [], []
    for t in range(n_steps):
        now = none if arriving is None else arriving[t][None]
        z, _, state = glif.step(state, now, injected, p, surrogate or Surrogate(), detach_reset)
        spikes.append(z[0])
        voltage.append(state.U[0])
    return torch.stack(spikes), torch.stack(voltage)


def exact_coefficients(tau, C_m, g, dt):
    """P11, P21, P31, P32, P33, P30 from the matrix exponential of d(y1, y2, U, I)/dt."""
    system = np.array(
        [
            [-1 / tau, 0, 0, 0],
            [1, -1 / tau, 0, 0],
            [0, 1 / C_m, -g / C_m, 1 / C_m],
            [0, 0, 0, 0],
        ]
    )
    P = expm(system * dt)
    return P[0, 0], P[1, 0], P[2, 0], P[2, 1], P[2, 2], P[2, 3]


@pytest.mark.parametrize("dt", [1.0, 0.1])
@pytest.mark.parametrize("tau_over_tau_m", [0.05, 0.3, 1 - 1e-4, 1 - 1e-9, 1.0, 1 + 1e-6, 2.0, 9.0])
def test_coefficients_equal_the_matrix_exponential(dt, tau_over_tau_m):
    C_m, g = 90.0, 5.0
    tau = tau_over_tau_m * C_m / g
    ours = glif.propagators(
        parameters(tau_syn_fast=[[tau]], tau_syn_slow=[[tau]], amp_slow=[[0.5]]), dt
    )
    exact = exact_coefficients(tau, C_m, g, dt)
    names = ("P11_fast", "P21_fast", "P31_fast", "P32_fast", "P33", "P30")
    for name, value in zip(names, exact, strict=True):
        assert getattr(ours, name).item() == pytest.approx(value, rel=1e-12), name
    assert ours.P31_slow.item() == ours.P31_fast.item()


def test_float32_coefficients_keep_their_digits():
    slow = {"asc_decay": [[1e-7, 3e-4]], "tau_syn_fast": [[18.0, 18.001]]}
    exact = glif.propagators(parameters(**slow), 0.1)
    single = glif.propagators(parameters(dtype=torch.float32, **slow), 0.1)
    for name in coefficient_names(exact):
        a, b = getattr(exact, name).double(), getattr(single, name).double()
        assert torch.allclose(a, b, rtol=2e-6, atol=0), name
    assert exact.asc_mean[0, 0].item() == pytest.approx(1 - 0.5e-8, rel=1e-12)


@pytest.mark.parametrize(
    ("t_ref", "dt", "steps"),
    # Measured in NEST 3.10: intervals of a cell that spikes as soon as it may.
    [
        (5.5, 1.0, 6),
        (1.55, 1.0, 2),
        (2.5, 1.0, 3),
        (3.0, 1.0, 3),
        (1.0004, 1.0, 1),
        (1.0006, 1.0, 2),
        (0.05, 1.0, 1),
        (1.55, 0.1, 16),
        (3.0, 0.1, 30),
        (1.0006, 0.1, 11),
        (2.85, 0.1, 29),
        (1.55, 0.25, 7),
        (3.125, 0.25, 13),
    ],
)
def test_refractory_steps_as_nest_counts_them(t_ref, dt, steps):
    assert glif.refractory_steps(torch.tensor([t_ref], dtype=F64), dt).item() == steps
    silent = parameters(t_ref=[t_ref], asc_amps=[[0.0, 0.0]])
    spikes, _ = run(silent, dt, 5 * steps + 20, current=1e7)
    assert set(torch.diff(spikes[:, 0].nonzero()[:, 0]).tolist()) == {steps + 1}


def test_unit_psc_peaks_at_its_weight():
    """A weight of 1 pA gives a fast alpha current with a peak of 1 pA at tau_fast."""
    dt, tau = 0.001, 1.7
    p = parameters(tau_syn_fast=[[tau]], tau_syn_slow=[[4.0]], amp_slow=[[0.0]])
    coefficients, state = glif.propagators(p, dt), rest(p)
    no_current = torch.zeros(1, 1, dtype=F64)
    trace = []
    for t in range(4000):
        arriving = torch.full((1, 1, 1), 1.0 if t == 0 else 0.0, dtype=F64)
        _, _, state = glif.step(state, arriving, no_current, coefficients, Surrogate())
        trace.append(state.y2_fast.item())
    assert max(trace) == pytest.approx(1.0, abs=1e-6)
    assert np.argmax(trace) * dt == pytest.approx(tau, abs=0.002)


def test_rheobase():
    """Without after-spike currents the smallest current that ever makes a cell spike is g V_th."""
    quiet = parameters(asc_amps=[[0.0, 0.0]])
    rheobase = 5.0 * 30.0
    assert run(quiet, 1.0, 3000, current=rheobase * (1 - 1e-6))[0].sum() == 0
    assert run(quiet, 1.0, 3000, current=rheobase * (1 + 1e-6))[0].sum() > 0


@pytest.mark.parametrize("times_rheobase", [1.05, 1.5, 3.0])
def test_rate_of_a_leaky_integrator(times_rheobase):
    """Interval of the LIF, t_ref + tau ln(I/(I - I_rheobase)), in whole steps."""
    dt, tau = 0.1, 90.0 / 5.0
    quiet = parameters(asc_amps=[[0.0, 0.0]])
    spikes, _ = run(quiet, dt, 4000, current=150.0 * times_rheobase)
    climb = tau * math.log(times_rheobase / (times_rheobase - 1))
    steps = math.floor(climb / dt) + 1 + 38
    assert set(torch.diff(spikes[:, 0].nonzero()[:, 0]).tolist()) == {steps}


def test_after_spike_currents_follow_their_closed_form():
    """Hyperpolarising currents lower the rate; between spikes they decay exactly."""
    with_asc = run(parameters(), 1.0, 1000, current=300.0)[0].sum()
    without = run(parameters(asc_amps=[[0.0, 0.0]]), 1.0, 1000, current=300.0)[0].sum()
    assert 0 < with_asc < without
    p = parameters()
    state = rest(p)
    state = GlifState(**{**state.__dict__, "U": torch.tensor([[31.0]], dtype=F64)})
    coefficients = glif.propagators(p, 1.0)
    silence = torch.zeros(1, 1, 2, dtype=F64)
    z, _, state = glif.step(state, silence, torch.zeros(1, 1, dtype=F64), coefficients, Surrogate())
    assert z.item() == 0  # the leak of one step has brought it back below threshold
    state = GlifState(**{**state.__dict__, "U": torch.tensor([[40.0]], dtype=F64)})
    for t in range(1 + 4 + 7):
        z, _, state = glif.step(
            state, silence, torch.zeros(1, 1, dtype=F64), coefficients, Surrogate()
        )
        assert z.item() == (1 if t == 0 else 0)
    expected = torch.tensor([-40.0, -110.0]) * torch.exp(-7 * torch.tensor([0.003, 0.1]))
    assert torch.allclose(state.asc[0, 0], expected.double(), rtol=1e-6)


def test_gradients_of_the_coefficients():
    tiny = 1e-5  # tau_syn this close to tau_m, where the textbook formula divides 0 by 0
    p = parameters(tau_syn_fast=[[18.0, 18.0 * (1 + tiny)]], amp_slow=[[0.6, 0.2]])
    names = [name for name in PARAMETERS if name != "t_ref"]
    values = [getattr(p, name).requires_grad_() for name in names]

    def coefficients(*values):
        made = GlifParameters(t_ref=p.t_ref, **dict(zip(names, values, strict=True)))
        result = glif.propagators(made, 1.0)
        made_of = coefficient_names(result)
        return tuple(getattr(result, name) for name in made_of if name != "t_ref_steps")

    assert torch.autograd.gradcheck(coefficients, values, eps=1e-6, atol=1e-8)


def test_gradients_of_the_voltage_below_threshold():
    """In every parameter, the weights and the current, through 12 steps, by finite differences."""
    generator = torch.Generator().manual_seed(0)
    p = parameters(n=2, V_th=[500.0])
    names = [name for name in PARAMETERS if name not in ("t_ref", "V_th")]
    values = [getattr(p, name).clone().requires_grad_() for name in names]
    arriving = 20 * torch.rand(12, 2, 2, dtype=F64, generator=generator)
    narrow = Surrogate("boxcar", width=0.1)  # exactly 0 this far from threshold

    def voltage(arriving, current, *values):
        made = GlifParameters(t_ref=p.t_ref, V_th=p.V_th, **dict(zip(names, values, strict=True)))
        return run(made, 1.0, 12, current, arriving, narrow)[1]

    current = torch.tensor([50.0, -20.0], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(
        voltage, (arriving.requires_grad_(), current, *values), eps=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("detach_reset", [False, True])
def test_gradient_through_a_spike_by_hand(detach_reset):
    """Two steps, one spike: the chain rule written out, with the surrogate where the spike is."""
    dt, P33 = 1.0, math.exp(-5.0 / 90.0)
    P30 = (1 - P33) / 5.0
    current, V_th, V_reset = 700.0, 7.2, 1.0
    p = parameters(t_ref=[0.0], V_reset=[V_reset], V_th=[V_th], asc_decay=[[0.003, 0.1]])
    I_0 = torch.tensor(current, dtype=F64, requires_grad=True)
    surrogate = Surrogate("triangular", dampening=0.4, width=1.5)
    spikes, voltage = run(p, dt, 2, I_0, surrogate=surrogate, detach_reset=detach_reset)
    U_0 = current * P30
    assert V_th < U_0
    assert spikes[0].item() == 1
    (gradient,) = torch.autograd.grad(voltage[1, 0], I_0)

    bump = 0.4 * (1 - abs((U_0 - V_th) / V_th) / 1.5) / V_th  # dz/dU
    dU_0 = P30
    dz_0 = 0.0 if detach_reset else bump * dU_0
    U_after = dz_0 * (V_reset - U_0)  # z = 1: only the jump's own derivative remains
    means = [(1 - math.exp(-k)) / k for k in (0.003, 0.1)]
    asc_0 = [dz_0 * amp for amp in (-40.0, -110.0)]
    dU_1 = U_after * P33 + P30 * (1 + sum(m * a for m, a in zip(means, asc_0, strict=True)))
    U_1 = V_reset * P33 + P30 * (
        current + sum(m * a for m, a in zip(means, (-40, -110), strict=True))
    )
    spiked_again = V_th < U_1
    assert not spiked_again
    bump_1 = 0.4 * max(0, 1 - abs((U_1 - V_th) / V_th) / 1.5) / V_th
    dz_1 = 0.0 if detach_reset else bump_1 * dU_1
    expected = dU_1 + dz_1 * (V_reset - U_1)
    assert gradient.item() == pytest.approx(expected, rel=1e-12)


def test_gradient_of_a_spike_with_respect_to_the_threshold():
    V_th = torch.tensor([30.0], dtype=F64, requires_grad=True)
    p = GlifParameters(**{**parameters().__dict__, "V_th": V_th})
    spikes, _ = run(p, 1.0, 1, 600.0, surrogate=Surrogate("triangular", dampening=0.5, width=2.0))
    U = 600.0 * (1 - math.exp(-5.0 / 90.0)) / 5.0
    (gradient,) = torch.autograd.grad(spikes.sum(), V_th)
    x = (U - 30.0) / 30.0
    assert gradient.item() == pytest.approx(-0.5 * (1 - abs(x) / 2) * U / 30.0**2, rel=1e-12)


def test_a_refractory_cell_has_no_gradient():
    p = parameters()
    held = {"refractory": torch.full((1, 1), 3, dtype=torch.int32)}
    U = torch.tensor([[29.0]], dtype=F64, requires_grad=True)
    state = GlifState(**{**rest(p).__dict__, **held, "U": U})
    silence = torch.zeros(1, 1, 2, dtype=F64)
    z, drive, after = glif.step(
        state, silence, torch.zeros(1, 1, dtype=F64), glif.propagators(p, 1.0), Surrogate()
    )
    assert torch.autograd.grad(z.sum(), U, retain_graph=True)[0].item() == 0
    assert drive.item() == after.U.item() == 29.0
    assert after.refractory.item() == 2


@pytest.mark.parametrize("kind", SURROGATE_KINDS)
def test_surrogates_are_bumps_of_their_height(kind):
    surrogate = Surrogate(kind, dampening=0.3, width=0.8)
    x = torch.linspace(-4, 4, 801, dtype=F64)
    bump = surrogate.derivative(x)
    assert bump.max().item() == pytest.approx(0.3)
    assert bump[400] == bump.max()
    assert torch.allclose(bump, bump.flip(0), rtol=1e-12)
    assert (bump >= 0).all()
    assert surrogate.has_compact_support == bool((bump == 0).any())
