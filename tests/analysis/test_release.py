"""Steady release and its filter, against the step of the model, NEST's update and the linearised model."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from v1builder.analysis.release import (
    Release,
    poisson_efficacy,
    regular_efficacy,
    release_filter,
)
from v1builder.analysis.transfer import transformed
from v1builder.lgn import modulated_poisson_spikes
from v1builder.model import plasticity as stp

SYNAPSES = [Release(0.5, 200.0, 0.0), Release(0.15, 60.0, 500.0), Release(0.3, 130.0, 50.0)]


@pytest.fixture(params=SYNAPSES, ids=["depressing", "facilitating", "both"])
def synapse(request):
    return request.param


def stepped(synapse, spikes):
    """[trial, step] efficacy of every step with a spike, by the step of the model at 1 ms."""
    each = [torch.tensor([value], dtype=torch.float64) for value in synapse]
    p = stp.coefficients(*each, dt=1.0)
    u, x = torch.zeros(len(spikes), 1).double(), torch.ones(len(spikes), 1).double()
    found = []
    for now in torch.from_numpy(spikes.astype(float)).T:
        released, u, x = stp.step(u, x, now[:, None], p)
        found.append(released[:, 0])
    return torch.stack(found, dim=1).numpy()


@pytest.mark.parametrize("interval", [20, 100])
def test_regular_spikes_of_the_models_own_step(synapse, interval):
    spikes = np.zeros((1, 60 * interval))
    spikes[:, ::interval] = 1
    last = stepped(synapse, spikes)[0, ::interval][-1]
    assert regular_efficacy(synapse, 1000 / interval) == pytest.approx(last, rel=1e-6)


def test_regular_spikes_of_nests_update(synapse):
    """tsodyks2_synapse: weight u x, then x and u of the next spike after the interval h."""
    U, tau_rec, tau_fac = synapse
    h, u, x = 40.0, U, 1.0
    for _ in range(400):
        sent = u * x
        x_decay = math.exp(-h / tau_rec)
        u_decay = math.exp(-h / tau_fac) if tau_fac > 0 else 0.0
        x = 1 + (x - x * u - 1) * x_decay
        u = U + u * (1 - U) * u_decay
    assert regular_efficacy(synapse, 1000 / h) == pytest.approx(sent / U, rel=1e-9)


def test_poisson_spikes_of_the_models_own_step():
    """Exact where nothing facilitates; a few per cent where u and x go together."""
    spikes = np.random.default_rng(0).random((300, 3000)) < 0.02
    for synapse, error in zip(SYNAPSES, (0.02, 0.1, 0.06), strict=True):
        late = stepped(synapse, spikes)[:, 1500:][spikes[:, 1500:]].mean()
        assert poisson_efficacy(synapse, 20.0) == pytest.approx(late, rel=error)


def test_at_rest_and_without_plasticity_it_is_1(synapse):
    assert poisson_efficacy(synapse, 0.0) == 1.0
    assert regular_efficacy(synapse, 0.01) == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(release_filter(synapse, 0.0, [1.0, 50.0]), 1.0)


def test_the_filter_at_both_ends(synapse):
    """Slowly the slope of efficacy times rate, fast the efficacy itself."""
    rate, d = 15.0, 1e-4
    slope = (
        poisson_efficacy(synapse, rate + d) * (rate + d)
        - poisson_efficacy(synapse, rate - d) * (rate - d)
    ) / (2 * d)
    slow, fast = release_filter(synapse, rate, [1e-6, 1e6])
    assert slow.real == pytest.approx(slope, rel=1e-6)
    assert fast.real == pytest.approx(poisson_efficacy(synapse, rate), rel=1e-3)


def test_the_filter_is_the_fourier_transform_of_the_linearised_model(synapse):
    """The mean equations themselves, driven by a rate that is modulated by 1 %."""
    U, tau_rec, tau_fac = synapse
    r0, f, depth = 0.015, 4.0, 0.01
    w = 2 * np.pi * f / 1000

    def rate(t):
        return r0 * (1 + depth * np.cos(w * t))

    def u_of(v):
        return v + U * (1 - v)

    def change(t, y):
        v, x = y
        dv = -v / tau_fac + U * (1 - v) * rate(t) if tau_fac > 0 else 0.0
        return dv, (1 - x) / tau_rec - u_of(v) * x * rate(t)

    period = 1000 / f
    t = np.linspace(20 * period, 24 * period, 801)
    found = solve_ivp(change, (0, t[-1]), (0.0, 1.0), t_eval=t, rtol=1e-9, atol=1e-11)
    passed = u_of(found.y[0]) * found.y[1] / U * rate(t)
    modulation = 2 * np.mean((passed * np.exp(-1j * w * t))[:-1]) / (r0 * depth)
    expected = release_filter(synapse, 1000 * r0, [f])[0]
    assert abs(modulation - expected) < 0.01 * abs(expected)


def test_depression_passes_on_changes_and_facilitation_what_lasts():
    depressing, facilitating, _ = SYNAPSES
    # 1 + U r tau_rec = 3: the efficacy is a third, and its product with the rate rises by a ninth.
    slow, fast = np.abs(release_filter(depressing, 20.0, [1e-4, 1e4]))
    assert (slow, fast) == (pytest.approx(1 / 9, rel=1e-3), pytest.approx(1 / 3, rel=1e-3))
    slow, fast = np.abs(release_filter(facilitating._replace(tau_rec=5.0), 5.0, [0.1, 100.0]))
    assert slow > 1.1 * fast


@pytest.mark.parametrize("frequency", [4.0, 25.0])
def test_modulated_poisson_spikes_are_released_as_the_filter_says(frequency):
    """S_xy/S_xx of the modulation and of what the step of the model releases, of a depressing synapse."""
    synapse, rate, depth = SYNAPSES[0], 20.0, 0.5
    t = torch.arange(1500, dtype=torch.float64)
    modulation = depth * torch.cos(2 * torch.pi * frequency * t / 1000).expand(4000, -1)
    generator = torch.Generator().manual_seed(1)
    every = modulated_poisson_spikes(torch.tensor([rate]), 1 + modulation, 1.0, generator)
    spikes = every.clamp(max=1)[..., 0].numpy()
    released = torch.from_numpy(stepped(synapse, spikes) * spikes)
    f = torch.tensor([frequency], dtype=torch.float64)
    given, found = (transformed(one[:, 500:, None], f, 1.0)[:, 0] for one in (modulation, released))
    response = (given.conj() * found).sum() / (given.abs() ** 2).sum()
    expected = rate / 1000 * release_filter(synapse, rate, [frequency])[0]
    assert abs(response.item() - expected) < 0.05 * abs(expected)
