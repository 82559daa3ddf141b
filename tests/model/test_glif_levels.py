"""GLIF levels 2, 4 and 5 and the other current shapes: mathematics, hand-made steps, gradients."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from test_glif import F64, parameters, rest, run

from v1builder.model.neurons import glif
from v1builder.model.neurons.glif import GlifParameters, ThresholdParameters
from v1builder.model.surrogate import Surrogate
from v1builder.schema.names import PSC_DELTA, PSC_EXPONENTIAL
from v1builder.schema.parameters import THRESHOLD_PARAMETERS

LEVEL_5 = {
    "th_spike_add": 3.0,
    "th_spike_decay": 0.02,
    "voltage_reset_fraction": 0.4,
    "th_voltage_index": 0.03,
    "th_voltage_decay": 0.08,
}


def level_5(n=1, **changed):
    """A cell with all mechanisms; zeros in `changed` take one away."""
    of_cell = {name: changed.pop(name, value) for name, value in LEVEL_5.items()}
    threshold = ThresholdParameters(
        **{name: torch.full((n,), value, dtype=F64) for name, value in of_cell.items()}
    )
    return GlifParameters(**{**parameters(n=n, **changed).__dict__, "threshold": threshold})


@pytest.mark.parametrize("decay", [0.08, 5.0 / 90.0, 5.0 / 90.0 * (1 + 1e-9), 0.0])
def test_voltage_threshold_follows_its_equation(decay):
    """Against the matrix exponential of (U, th_voltage, constant current), at b = g/C_m too."""
    dt, a, C_m, g, current = 0.7, 0.03, 90.0, 5.0, 40.0
    p = glif.propagators(level_5(th_voltage_decay=decay, V_th=[500.0]), dt)
    matrix = np.array([[-g / C_m, 0, 1 / C_m], [a, -decay, 0], [0, 0, 0]])
    U, th, _ = expm(matrix * dt) @ [3.0, 2.0, current]
    state = rest(level_5())
    state.U[:], state.th_voltage[:], state.current[:] = 3.0, 2.0, current
    silence = torch.zeros(1, 1, 2, dtype=F64)
    _, _, after = glif.step(state, silence, torch.zeros(1, 1, dtype=F64), p, Surrogate())
    assert after.U.item() == pytest.approx(U, rel=1e-13)
    assert after.th_voltage.item() == pytest.approx(th, rel=1e-12)


def test_one_spike_of_level_5_by_hand():
    """Threshold, reset from the voltage before the step, and both parts held while refractory."""
    dt, t_ref = 1.0, 3.8
    p = level_5(asc_amps=[[0.0, 0.0]])
    coefficients = glif.propagators(p, dt)
    state = rest(p)
    state.U[:], state.th_spike[:], state.th_voltage[:], state.current[:] = 29.0, 1.5, -6.0, 100.0
    silence, nothing = torch.zeros(1, 1, 2, dtype=F64), torch.zeros(1, 1, dtype=F64)
    z, drive, after = glif.step(state, silence, nothing, coefficients, Surrogate())
    P33 = math.exp(-5 / 90)
    U = 29.0 * P33 + 100.0 * (1 - P33) / 5
    assert drive.item() == pytest.approx(U, rel=1e-14)
    assert z.item() == 1  # 28.5 would not have reached V_th = 30: the threshold is below it
    assert U < 30.0
    assert after.U.item() == pytest.approx(0.4 * 29.0, rel=1e-14)
    raised = 1.5 * math.exp(-0.02 * dt) * math.exp(-0.02 * t_ref) + 3.0
    assert after.th_spike.item() == pytest.approx(raised, rel=1e-14)
    later = after
    for _ in range(4):
        z, _, later = glif.step(later, silence, nothing, coefficients, Surrogate())
        assert z.item() == 0
    assert later.th_spike.item() == after.th_spike.item()
    assert later.th_voltage.item() == after.th_voltage.item()
    assert later.U.item() == after.U.item()


def test_without_its_mechanisms_level_5_is_level_3():
    nothing = dict.fromkeys(LEVEL_5, 0.0)
    plain = run(parameters(), 1.0, 600, current=400.0)
    reduced = run(level_5(**nothing), 1.0, 600, current=400.0)
    assert plain[0].sum() > 10
    assert torch.equal(plain[0], reduced[0])
    assert torch.equal(plain[1], reduced[1])


@pytest.mark.parametrize("name", THRESHOLD_PARAMETERS)
def test_every_mechanism_changes_the_spikes(name):
    everything = run(level_5(), 1.0, 600, current=400.0)[0]
    without = run(level_5(**{name: 0.0}), 1.0, 600, current=400.0)[0]
    assert everything.sum() > 10
    assert not torch.equal(everything, without)


def test_gradients_of_level_5_below_threshold():
    """In what moves the threshold, seen through the spike at a threshold nothing reaches."""
    names = [name for name in LEVEL_5 if name != "voltage_reset_fraction"]
    values = [torch.tensor([LEVEL_5[name]], dtype=F64, requires_grad=True) for name in names]
    p = level_5(V_th=[500.0])

    def thresholds(current, *values):
        changed = {**p.threshold.__dict__, **dict(zip(names, values, strict=True))}
        made = GlifParameters(**{**p.__dict__, "threshold": ThresholdParameters(**changed)})
        coefficients, state = glif.propagators(made, 1.0), rest(made)
        state.th_spike[:] = 2.0
        silence = torch.zeros(1, 1, 2, dtype=F64)
        seen = []
        for _ in range(10):
            _, _, state = glif.step(
                state, silence, current.expand(1, 1), coefficients, Surrogate("boxcar", width=0.1)
            )
            seen += [state.th_spike, state.th_voltage, state.U]
        dynamics = coefficients.threshold
        return torch.cat(seen), dynamics.th_spike_refractory, dynamics.th_spike_add

    current = torch.tensor(50.0, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(thresholds, (current, *values), eps=1e-6, atol=1e-8)


def test_a_level_5_spike_passes_gradients_to_all_its_parameters():
    values = {n: torch.tensor([v], dtype=F64, requires_grad=True) for n, v in LEVEL_5.items()}
    p = GlifParameters(**{**parameters().__dict__, "threshold": ThresholdParameters(**values)})
    spikes, voltage = run(p, 1.0, 200, 400.0)
    assert spikes.sum() > 3
    grads = torch.autograd.grad(spikes.sum() + voltage.sum(), list(values.values()))
    assert all(grad.abs().item() > 0 for grad in grads)


@pytest.mark.parametrize("kind", ["exponential", "delta"])
def test_other_current_shapes_against_their_closed_forms(kind):
    """One spike of weight 12 arrives in step 2: an exponential current, or a jump of the voltage."""
    dt, tau_s, tau_m = 0.5, 2.0, 18.0
    code = PSC_EXPONENTIAL if kind == "exponential" else PSC_DELTA
    p = parameters(tau_syn_fast=[[tau_s, tau_s]], V_th=[500.0])
    shape = torch.full((1, 2), code, dtype=torch.int8)
    p = GlifParameters(**{**p.__dict__, "psc_shape": shape})
    arriving = torch.zeros(40, 1, 2, dtype=F64)
    arriving[2, 0, 1] = 12.0
    voltage = run(p, dt, 40, arriving=arriving)[1][:, 0].numpy()
    if kind == "delta":
        since = dt * np.arange(38)
        expected = 12.0 * np.exp(-since / tau_m)
        assert np.allclose(voltage[2:], expected, rtol=1e-12)
    else:
        since = dt * np.arange(38)  # the current jumps at the end of step 2
        tau = tau_m * tau_s / (tau_m - tau_s)
        expected = 12.0 / 90.0 * tau * (np.exp(-since / tau_m) - np.exp(-since / tau_s))
        assert np.allclose(voltage[2:], expected, rtol=1e-10, atol=1e-14)
        assert voltage.max() > 0.1
    assert (voltage[:2] == 0).all()


def test_a_delta_spike_is_lost_on_a_refractory_cell():
    p = GlifParameters(
        **{**parameters().__dict__, "psc_shape": torch.full((1, 2), PSC_DELTA, dtype=torch.int8)}
    )
    arriving = torch.zeros(12, 1, 2, dtype=F64)
    arriving[[0, 2], 0, 0] = 40.0
    spikes, voltage = run(p, 1.0, 12, arriving=arriving)
    assert spikes[:, 0].tolist() == [1.0] + [0.0] * 11
    assert (voltage[:5] == 0).all()
