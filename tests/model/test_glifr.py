"""GLIFR: against the published formulas in numpy, gradients against finite differences, the GLIF limit."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import random_network, with_plasticity
from scipy.linalg import expm

from v1builder.load import load_network, save_network
from v1builder.model import V1Network, plasticity
from v1builder.model.backends import graded
from v1builder.model.neurons.glifr import SIGMA_V
from v1builder.schema.errors import ConfigError
from v1builder.train import load_experiment, train

F64 = torch.float64
CELL = ["C_m", "g", "V_th", "V_reset", "asc_amps", "asc_decay", "asc_r"]
SYNAPSE = ["tau_syn_fast", "tau_syn_slow", "amp_slow"]


def glifr_of(network, **options):
    return V1Network(
        network, **{"dtype": F64, "neuron": "glifr", "backend": "reference", **options}
    )


def lgn_of(network, batch, n_steps, rate=0.04, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = len(network.nodes["lgn"])
    return {"lgn": torch.rand(batch, n_steps, size, generator=generator) < rate}


def randomised(network, seed=0):
    """The same network with other parameters, of which asc_r is not the published 1."""
    rng = np.random.default_rng(seed)
    network = copy.deepcopy(network)
    values = network.membrane.values
    for name in ("C_m", "g", "asc_amps", "asc_decay"):
        values[name] *= rng.uniform(0.7, 1.4, values[name].shape)
    values["V_reset"] += rng.uniform(-5, 5, values["V_reset"].shape)
    # Above 1 + k tau a depolarising current of an active cell grows without bound.
    values["asc_r"] = rng.uniform(0, 1, values["asc_r"].shape)
    return replace(network, bias_current=rng.uniform(0, 40, network.n_cells))


@pytest.fixture
def network(glif_models, kinetics):
    return random_network(glif_models, kinetics, n=16, drive=0.8)


def published(network, lgn, current, dt, sigma_V, tau):
    """s dt/tau and V [t, n] of one sample by the published formulas, edge by edge.

    Synaptic currents by matrix exponentials of (y1, y2, V); u and x of every edge for itself.
    """
    n, n_steps = network.n_cells, len(lgn)
    p = {name: network.membrane.per_cell(name) for name in network.membrane.values}
    q = {name: network.receptors.per_cell(name) for name in network.receptors.values}
    V_th, V_reset = p["V_th"] - p["E_L"], p["V_reset"] - p["E_L"]
    k_m, R, k_j = p["g"] / p["C_m"], 1 / p["g"], p["asc_decay"]
    r_j, a_j = p["asc_r"] - 1, p["asc_amps"]
    kernels, jumps = [], []
    for tau_syn, amplitude in (
        (q["tau_syn_fast"], np.ones_like(q["amp_slow"])),
        (q["tau_syn_slow"], q["amp_slow"]),
    ):
        M = np.zeros((*tau_syn.shape, 3, 3))
        for cell, receptor in np.ndindex(tau_syn.shape):
            rate = -1 / tau_syn[cell, receptor]
            M[cell, receptor] = expm(
                dt * np.array([[rate, 0, 0], [1, rate, 0], [0, 1 / p["C_m"][cell], -k_m[cell]]])
            )
        kernels.append(M)
        jumps.append(amplitude * np.e / tau_syn)
    y = [np.zeros((n, 10, 2)) for _ in kernels]
    V, I, s = np.zeros(n), np.zeros((n, 2)), 1 / (1 + np.exp(V_th / sigma_V))  # noqa: E741
    acting = current[0] * 0 + network.bias_current
    edges = []
    for population in network.edges.values():
        table = population.plasticity
        group = np.full(len(population), -1) if table is None else table.group_of
        plastic, row = group >= 0, np.maximum(group, 0)
        U, rec, fac = (
            (table.values[k][row] for k in ("U", "tau_rec", "tau_fac"))
            if table is not None
            else (np.ones(len(population)),) * 3
        )
        steps = np.maximum(1, np.floor(population.delay.astype(float).round(5) / dt + 0.5))
        with np.errstate(divide="ignore"):
            forget = np.where(fac > 0, np.exp(-dt / np.where(fac > 0, fac, 1)), 0)
        edges.append([population, plastic, U, rec, forget, steps.astype(int)])
    ux = [[np.zeros(len(e[0])), np.ones(len(e[0]))] for e in edges]
    queue = np.zeros((n_steps + 60, n, 10))
    sent, voltages = [], []
    for t in range(n_steps):
        I = (I * r_j + a_j) * s[:, None] * dt / tau + (1 - dt * k_j) * I  # noqa: E741
        I_syn = sum(
            np.einsum("nrj,nrj->n", M[..., 2, :2], z) for M, z in zip(kernels, y, strict=True)
        )
        V = (
            I_syn
            + dt * k_m * R * (I.sum(1) + acting)
            + (1 - dt * k_m) * V
            - (dt / tau) * s * (V - V_reset)
        )
        s = 1 / (1 + np.exp(-(V - V_th) / sigma_V))
        for (population, plastic, U, rec, forget, steps), state in zip(edges, ux, strict=True):
            source = s * dt / tau if population.source == "v1" else lgn[t]
            z = source[population.source_index]
            u, x = state[0] * forget, 1 - (1 - state[1]) * np.exp(-dt / rec)
            after = u + U * (1 - u)
            release = np.where(plastic, after * x / U, 1)
            state[:] = u + z * (after - u), x - z * after * x
            np.add.at(
                queue,
                (t + steps, population.target_index, population.receptor),
                population.weight * z * release,
            )
        for i, M in enumerate(kernels):
            y[i] = np.einsum("nrij,nrj->nri", M[..., :2, :2], y[i])
            y[i][..., 0] += jumps[i] * queue[t]
        acting = current[t] + network.bias_current
        sent.append(s * dt / tau)
        voltages.append(V)
    return np.array(sent), np.array(voltages)


@pytest.mark.parametrize(
    ("dt", "sigma_V", "tau", "plastic"),
    [(1.0, 6.0, None, False), (0.5, 2.0, 2.0, False), (1.0, 2.0, 5.0, True)],
)
def test_equals_the_published_formulas(network, dt, sigma_V, tau, plastic):
    network = randomised(network)
    if plastic:
        network = with_plasticity(network)
    inputs = lgn_of(network, 2, 300)
    current = torch.tensor(np.random.default_rng(1).normal(0, 50, (1, 300, 16)))
    model = glifr_of(network, dt=dt, sigma_V=sigma_V, tau=tau)
    with torch.no_grad():
        rollout = model(inputs, current=current, record_voltage=True)
    for sample in range(2):
        s, V = published(
            network, inputs["lgn"][sample].numpy(), current[0].numpy(), dt, sigma_V, tau or dt
        )
        assert s.max() > 0.5 * dt / (tau or dt)
        assert np.abs(rollout.spikes[sample].numpy() - s).max() < 1e-12
        assert np.abs(rollout.voltage[sample].numpy() - V).max() < 1e-12 * np.abs(V).max()
    assert torch.equal(rollout.drive, rollout.voltage)


def test_the_published_smoothness_is_the_default(network):
    assert SIGMA_V == 1.0
    neurons = [glifr_of(network).neuron, glifr_of(network, sigma_V=1.0, tau=1.0).neuron]
    assert neurons[0].smooth == neurons[1].smooth


def test_gradients_in_everything(glif_models, kinetics):
    """gradcheck in every parameter, all weights, inputs, currents and the initial state."""
    small = random_network(glif_models, kinetics, n=2, n_input=2, in_degree=3, drive=0.5)
    small = with_plasticity(randomised(small))
    names = [*CELL, *SYNAPSE, "v1_to_v1.weight", "lgn_to_v1.weight"]
    names += [f"v1_to_v1.{name}" for name in ("U", "tau_rec", "tau_fac")]
    model = glifr_of(small, sigma_V=6.0, tau=2.0, trainable=names)
    parameters = {name: value.detach().clone() for name, value in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    begin = model({"lgn": torch.rand(1, 30, 2, dtype=F64, generator=generator)}).state
    moving = [
        "U",
        "asc",
        "y1_fast",
        "y2_fast",
        "y1_slow",
        "y2_slow",
        "current",
        "pending",
        "u",
        "x",
    ]
    lgn = torch.rand(1, 5, 2, dtype=F64, generator=generator)
    injected = 20 * torch.rand(1, 5, 2, dtype=F64, generator=generator)
    arguments = [*parameters.values(), *(getattr(begin, name).detach() for name in moving)]
    arguments = [a.clone().requires_grad_() for a in (*arguments, lgn, injected)]

    def outcome(*values):
        of_model = dict(zip(parameters, values, strict=False))
        state = replace(
            begin, **dict(zip(moving, values[len(parameters) : len(parameters) + 10], strict=True))
        )
        rollout = torch.func.functional_call(
            model, of_model, ({"lgn": values[-2]},), {"current": values[-1], "state": state}
        )
        end = rollout.state
        return rollout.spikes, end.U, end.asc, end.pending, end.y2_slow, end.x

    gradients = torch.autograd.grad(
        sum(part.sum() for part in outcome(*arguments)), arguments, allow_unused=True
    )
    assert all(g is not None and g.abs().max() > 0 for g in gradients)
    assert torch.autograd.gradcheck(outcome, arguments, rtol=1e-4, atol=1e-7, fast_mode=False)


def test_the_gradient_of_a_loss_is_its_slope(network):
    """No surrogate: a finite difference along any direction is what autograd says."""
    names = ["v1_to_v1.weight", "lgn_to_v1.weight", "V_th", "C_m", "asc_amps"]
    model = glifr_of(network, sigma_V=2.0, tau=4.0, trainable=names, checkpoint_steps=40)
    inputs = lgn_of(network, 2, 100)
    late = torch.linspace(0, 1, 100, dtype=F64)[:, None]

    def loss():
        return (model(inputs).spikes * late).sum()

    value = loss()
    value.backward()
    assert value > 10
    generator = torch.Generator().manual_seed(2)
    start = [p.detach().clone() for p in model.parameters()]
    for _ in range(3):
        direction = [torch.randn(p.shape, dtype=F64, generator=generator) for p in start]
        slope = sum((p.grad * d).sum() for p, d in zip(model.parameters(), direction, strict=True))
        shifted = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                for p, p0, d in zip(model.parameters(), start, direction, strict=True):
                    p.copy_(p0 + step * d)
                shifted.append(loss().item())
        difference = (shifted[0] - shifted[1]) / 2e-6
        assert difference == pytest.approx(slope.item(), rel=1e-5)


def euler_glif_spikes(p, current, dt, n_steps):
    """Number of spikes of every cell as GLIF3 in forward Euler, without refractory period."""
    V_th, V_reset = p["V_th"] - p["E_L"], p["V_reset"] - p["E_L"]
    V, I, count = np.zeros_like(V_th), np.zeros_like(p["asc_amps"]), 0  # noqa: E741
    for _ in range(n_steps):
        V = V + dt * (-p["g"] * V + current + I.sum(1)) / p["C_m"]
        I = I - dt * p["asc_decay"] * I  # noqa: E741
        spikes = V > V_th  # noqa: SIM300
        V = np.where(spikes, V_reset, V)
        I = np.where(spikes[:, None], p["asc_r"] * I + p["asc_amps"], I)  # noqa: E741
        count = count + spikes
    return count


def test_a_sharp_cell_fires_like_the_glif_cell(network):
    """sigma_V -> 0, tau = dt: the same rate within 1 % and one spike, for cells of every adaptation."""
    del network.edges["v1_to_v1"], network.edges["lgn_to_v1"]
    network.membrane.values["t_ref"][:] = 0
    p = {name: network.membrane.per_cell(name) for name in network.membrane.values}
    dt, n_steps = 0.05, 20_000
    current = 1.5 * p["g"] * (p["V_th"] - p["E_L"])
    model = glifr_of(network, dt=dt, sigma_V=1e-6, trainable=())
    with torch.no_grad():
        s = model(current=torch.tensor(current)[None, None], n_steps=n_steps).spikes[0].numpy()
    crossings = (np.diff((s > 0.5).astype(int), axis=0) > 0).sum(0)
    expected = euler_glif_spikes(p, current, dt, n_steps)
    assert expected.min() > 5
    assert (np.abs(crossings - expected) <= 1 + 0.01 * expected).all()


def test_tau_limits_the_rate(network):
    del network.edges["v1_to_v1"], network.edges["lgn_to_v1"]
    strong = torch.full((1, 1, 16), 1e4, dtype=F64)
    with torch.no_grad():
        sent = glifr_of(network, tau=5.0)(n_steps=400, current=strong).spikes
    assert sent.max() <= 1 / 5
    assert sent[:, 200:].mean() > 0.15


def test_graded_release_is_the_mean_over_spikes():
    """One step: over spiking and not. A long train without facilitation: the closed form."""
    p = plasticity.coefficients(*(torch.tensor([v], dtype=F64) for v in (0.3, 80.0, 150.0)), 1.0)
    u, x = torch.tensor([[0.2]], dtype=F64), torch.tensor([[0.7]], dtype=F64)
    chance = 0.35
    graded, silent, spiking = (
        plasticity.step(u, x, torch.tensor([[z]], dtype=F64), p) for z in (chance, 0.0, 1.0)
    )
    for mean, without, with_spike in zip(graded, silent, spiking, strict=True):
        expected = (1 - chance) * without + chance * with_spike
        assert mean.item() == pytest.approx(expected.item(), rel=1e-14)

    p = plasticity.coefficients(*(torch.tensor([v], dtype=F64) for v in (0.4, 50.0, 0.0)), 1.0)
    u, x = torch.zeros(1, 1, dtype=F64), torch.ones(1, 1, dtype=F64)
    for _ in range(2000):
        release, u, x = plasticity.step(u, x, torch.tensor([[0.03]], dtype=F64), p)
    recovered = np.exp(-1 / 50)
    available = (1 - recovered) / (1 - recovered * (1 - 0.4 * 0.03))
    assert release.item() == pytest.approx(0.03 * available, rel=1e-12)


@pytest.mark.parametrize("split", [1, 37, 79])
def test_a_run_can_be_cut_anywhere(network, split):
    model = glifr_of(with_plasticity(network), sigma_V=2.0, tau=4.0)
    lgn = lgn_of(network, 2, 80)["lgn"]
    with torch.no_grad():
        whole = model({"lgn": lgn})
        first = model({"lgn": lgn[:, :split]})
        second = model({"lgn": lgn[:, split:]}, state=first.state)
    assert torch.equal(torch.cat([first.spikes, second.spikes], 1), whole.spikes)
    for name, value in vars(whole.state).items():
        assert torch.equal(value, getattr(second.state, name)), name


def test_a_small_network_learns_a_task(network):
    """Two input patterns; which of two cells is more active tells them apart."""
    model = glifr_of(network, dtype=torch.float32, sigma_V=3.0, tau=4.0)
    patterns = torch.cat([lgn_of(network, 1, 60, seed=seed)["lgn"] for seed in (1, 2, 3, 4)])
    target = torch.tensor([0, 1, 1, 0])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.15)
    losses = []
    for _ in range(40):
        logits = model({"lgn": patterns}).spikes[:, :, :2].sum(1)
        loss = torch.nn.functional.cross_entropy(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(losses[::8])
    assert losses[0] > 0.4
    assert losses[-1] < 0.05
    assert torch.equal(logits.argmax(1), target)


def test_a_trained_network_goes_through_sonata(small_network_folder, tmp_path):
    network = load_network(small_network_folder)
    names = [*CELL, "v1_to_v1.weight"]
    model = glifr_of(network, sigma_V=2.0, tau=4.0, trainable=names)
    generator = torch.Generator().manual_seed(0)
    inputs = {
        name: torch.rand(2, 120, size, generator=generator) < 0.06
        for name, size in model.input_sizes.items()
    }
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    before = model(inputs).spikes
    before.mean().backward()
    optimizer.step()
    after = model(inputs).spikes.detach()
    assert (after - before).abs().max() > 1e-3
    save_network(model.export(network), tmp_path / "trained")
    trained = load_network(tmp_path / "trained")
    # Weights are float32 in SONATA.
    assert torch.allclose(glifr_of(trained, sigma_V=2.0, tau=4.0)(inputs).spikes, after, atol=1e-5)


def test_asc_decay_is_trained_below_the_limit_of_the_step(network):
    model = glifr_of(network, dt=2.0, trainable=["asc_decay"])
    assert np.allclose(
        model.cells.asc_decay.values().detach(), network.membrane.values["asc_decay"]
    )
    with torch.no_grad():
        model.cells.asc_decay.raw += 20
    assert model.cells.asc_decay().max() <= 0.5
    assert torch.isfinite(model(lgn_of(network, 1, 5)).spikes).all()


def test_what_it_cannot_do_is_explained(network):
    for options, message in (
        ({"dt": 20.0}, r"1 - dt g/C_m is negative.*make dt at most"),
        ({"dt": 20.0}, r"1 - dt asc_decay is negative"),
        ({"tau": 0.5}, "tau must not be shorter than dt"),
        ({"sigma_V": 0.0}, "sigma_V must be positive"),
        ({"neuron": "glift"}, "unknown neuron 'glift'"),
        ({"neuron": "glif", "sigma_V": 2.0}, "sigma_V belongs to neuron 'glifr'"),
        ({"trainable": ["th_spike_add"]}, "level 2, 4 or 5"),
    ):
        with pytest.raises(ConfigError, match=f"(?s){message}"):
            glifr_of(network, **options)
    with pytest.raises(ConfigError, match="use backend 'reference' or 'auto'"):
        glifr_of(with_plasticity(network), backend="fused")
    network.membrane.values["voltage_reset_fraction"][0] = 0.3
    with pytest.raises(ConfigError, match="level 2, 4 or 5"):
        glifr_of(network)


def test_training_into_instability_is_an_error(network):
    model = glifr_of(network, trainable=["C_m"])
    with torch.no_grad():
        model.cells.C_m.raw -= 5
    with pytest.raises(ConfigError, match="too long for forward Euler"):
        model(lgn_of(network, 1, 5))


def test_auto_takes_compiled_kernels_that_agree(network):
    pytest.importorskip("numba")
    model = glifr_of(network, backend="auto")
    assert model.computed_by()["backend"] == "fused"
    inputs = lgn_of(network, 2, 30)
    torch.testing.assert_close(
        model(inputs).spikes, glifr_of(network)(inputs).spikes, rtol=1e-10, atol=1e-13
    )


def test_an_experiment_can_ask_for_it(small_column, tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text(
        f"""
name = "smooth"
[network]
path = "{small_column}"
[task]
name = "orientation_discrimination"
n_deltas = 2
n_phases = 1
gray_before_ms = 5.0
on_ms = 30.0
gray_after_ms = 5.0
response_ms = [10.0, 40.0]
[model]
neuron = "glifr"
sigma_V = 2.0
tau = 5.0
[readout]
pool_size = 10
[train]
steps = 1
batch_size = 2
validation_trials = 2
test_trials = 2
"""
    )
    result = train(load_experiment(path), tmp_path / "run")
    assert 0 < result["rate_Hz"] < 200
    path.write_text(path.read_text().replace('"glifr"', '"glif"'))
    with pytest.raises(ConfigError, match="sigma_V belongs to neuron 'glifr'"):
        train(load_experiment(path), tmp_path / "other")


@pytest.mark.parametrize("batch", [1, 3])
def test_a_matrix_delivers_what_walks_along_the_edges_do(network, batch, monkeypatch):
    """Signals, and gradients of weights and cells, of a network with several edges between two cells."""
    found = []
    for dense_from in (0.0, 2.0):
        monkeypatch.setattr(graded, "_DENSE_FROM", dense_from)
        model = glifr_of(network, trainable=["v1_to_v1.weight", "V_th"])
        rollout = model(lgn_of(network, batch, 30))
        learned = list(model.parameters())
        gradients = torch.autograd.grad(rollout.spikes.square().sum(), learned)
        assert all(gradient.abs().max() > 0 for gradient in gradients)
        found.append([rollout.spikes.detach(), *gradients])
    for matrix, walk in zip(*found, strict=True):
        torch.testing.assert_close(matrix, walk, rtol=1e-10, atol=1e-12)
