"""Measured activity: spikes, efficacies and after-spike currents against the model, step by step."""

import dataclasses

import numpy as np
import pytest
import torch
from handmade import make_network, with_plasticity

from v1builder.experiments import history
from v1builder.experiments.history import Probe, SpikeHistory, measure_history
from v1builder.experiments.trains import SynapseDynamics, Trains, onset_release, release
from v1builder.model import V1Network, plasticity
from v1builder.schema.errors import ConfigError, NetworkError

DYNAMICS = (
    SynapseDynamics(0.2, 130.0, 50.0),
    SynapseDynamics(0.14, 60.0, 490.0),
    SynapseDynamics(0.4, 200.0, 0.0),
)
WARM_UP, WINDOW, TRIALS = 120, 200, 5


def trains_of(counts, first_step=0):
    """Trains of dense spike counts [trial, step, unit]."""
    trial, unit, step = np.nonzero(counts.transpose(0, 2, 1))
    number = counts[trial, step, unit].astype(float)
    n, steps, units = counts.shape
    return Trains(trial, unit, step, number, np.full(n, first_step), np.full(n, steps), units)


def stepped(counts, dynamics, dt):
    """[trial, step, unit] release by the model's own step, and u, x after it."""
    p = plasticity.coefficients(*(torch.tensor([v], dtype=torch.float64) for v in dynamics), dt)
    spikes = torch.tensor(counts).double()
    u, x = torch.zeros_like(spikes[:, 0]), torch.ones_like(spikes[:, 0])
    releases, states = [], []
    for t in range(spikes.shape[1]):
        released, u, x = plasticity.step(u, x, spikes[:, t], p)
        releases.append(released)
        states.append((u, x))
    return torch.stack(releases, 1).numpy(), states


@pytest.fixture(scope="module")
def counts():
    """Bursts, silence, and several spikes in a step; every unit at its own rate."""
    rng = np.random.default_rng(3)
    rate = np.array([0.0, 0.002, 0.01, 0.05, 0.3, 1.5])
    return rng.poisson(rate, (4, 300, len(rate)))


@pytest.mark.parametrize("dynamics", DYNAMICS)
@pytest.mark.parametrize("dt", [1.0, 0.25])
def test_release_is_that_of_the_model(counts, dynamics, dt):
    trains = trains_of(counts)
    found = np.zeros(counts.shape)
    found[trains.trial, trains.step, trains.unit] = release(trains, dynamics, dt) * trains.number
    np.testing.assert_allclose(found, stepped(counts, dynamics, dt)[0], rtol=1e-12)


@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_release_at_onset_is_what_a_spike_would_release_there(counts, dynamics):
    first = 150
    probe = counts.copy()
    probe[:, first] = 1
    expected = stepped(probe, dynamics, 1.0)[0][:, first].mean(axis=0)
    np.testing.assert_allclose(onset_release(trains_of(counts, first), dynamics, 1.0), expected)


#: Pair, rate of the source (Hz), efficacy by the steady-state formula, over 200 ms and 600 ms from rest.
FORMULA = (
    (SynapseDynamics(0.14223, 104.93, 207.71), 4, 1.49, 1.17, 1.31),  # pyr -> sst
    (SynapseDynamics(0.14389, 61.563, 490.79), 10, 2.65, 1.46, 1.95),  # sst -> vip
    (SynapseDynamics(0.20273, 193.91, 20.927), 12, 0.76, 0.94, 0.83),  # pvalb -> pyr
)


@pytest.mark.parametrize(("dynamics", "rate", "steady", "short", "longer"), FORMULA)
def test_the_steady_state_formula_does_not_hold_in_short_trials(
    dynamics, rate, steady, short, longer
):
    per_ms = rate / 1000
    u = dynamics.U * (1 + dynamics.tau_fac * per_ms) / (1 + dynamics.U * dynamics.tau_fac * per_ms)
    formula = u / (1 + u * dynamics.tau_rec * per_ms) / dynamics.U
    assert formula == pytest.approx(steady, abs=0.005)
    for steps, expected in ((200, short), (600, longer)):
        poisson = np.random.default_rng(0).random((3000, steps, 1)) < per_ms
        found = release(trains_of(poisson), dynamics, 1.0).mean()
        assert found == pytest.approx(expected, abs=0.02)
        assert abs(found - formula) > 0.05


def spiking(seed=0, **options):
    """A plastic network that its inputs make fire, with plastic input synapses too, and its inputs."""
    network = with_plasticity(make_network(seed))
    network = with_plasticity(network, "lgn_to_v1", np.arange(40) % 4 - 1)
    edges = {
        name: dataclasses.replace(e, weight=e.weight * (60 if name == "lgn_to_v1" else 5))
        for name, e in network.edges.items()
    }
    network = dataclasses.replace(network, edges=edges)
    generator = torch.Generator().manual_seed(seed)
    lgn = torch.poisson(torch.full((TRIALS, WARM_UP + WINDOW, 6), 0.06), generator=generator)
    lgn = lgn.to(torch.uint8)
    assert (lgn > 1).any()
    return network, V1Network(network, dtype=torch.float64, **options), lgn


def probes_of(lgn):
    return [Probe({"lgn": lgn[:, :WARM_UP]}, {"lgn": lgn[:, WARM_UP:]})]


def test_rates_and_trains_are_those_of_one_run_through_warm_up_and_trial():
    network, model, lgn = spiking()
    spikes = model({"lgn": lgn}).spikes.detach().numpy()
    found = measure_history(model, probes_of(lgn))
    assert spikes[:, WARM_UP:].sum() > 500
    rates = spikes[:, WARM_UP:].sum(axis=(0, 1)) / (TRIALS * WINDOW / 1000)
    np.testing.assert_allclose(found.rates, rates)
    dense = np.zeros(spikes.shape)
    trains = found.trains
    dense[trains.trial, trains.step, trains.unit] = trains.number
    np.testing.assert_array_equal(dense, spikes)
    own = found.inputs["lgn"]
    dense = np.zeros(lgn.shape)
    dense[own.trial, own.step, own.unit] = own.number
    np.testing.assert_array_equal(dense, lgn)
    assert list(found.inputs) == ["lgn"]
    assert found.n_cells == network.n_cells


def test_parts_and_several_probes_count_as_one(monkeypatch):
    _, model, lgn = spiking()
    whole = measure_history(model, probes_of(lgn))
    monkeypatch.setattr(history, "_AT_ONCE", 2 * 24 * (WARM_UP + WINDOW))
    halves = measure_history(model, [*probes_of(lgn[:3]), *probes_of(lgn[3:])])
    np.testing.assert_allclose(halves.rates, whole.rates)
    np.testing.assert_allclose(halves.asc_current, whole.asc_current)
    np.testing.assert_array_equal(halves.trains.trial, whole.trains.trial)
    np.testing.assert_array_equal(halves.trains.step, whole.trains.step)


@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_the_mean_after_spike_current_is_that_of_the_states_of_the_model(dt):
    """asc of every step's start, where the cell is not refractory, times the mean over a step."""
    network, model, lgn = spiking(dt=dt)
    slow = network.membrane.values
    assert slow["t_ref"].max() > 3
    from v1builder.experiments.history import after_spike

    mean = after_spike(model).mean
    charge, free = np.zeros(network.n_cells), np.zeros(network.n_cells)
    state = model.initial_state(TRIALS)
    with torch.no_grad():
        for t in range(WARM_UP + WINDOW):
            integrates = (state.refractory == 0).numpy()
            if t >= WARM_UP:
                acting = (state.asc.numpy() * mean).sum(axis=2)
                charge += (acting * integrates).sum(axis=0)
                free += integrates.sum(axis=0)
            state = model({"lgn": lgn[:, t : t + 1]}, state=state).state
    found = measure_history(model, probes_of(lgn)).asc_current
    assert np.abs(found).max() > 10
    np.testing.assert_allclose(found, charge / free, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["v1_to_v1", "lgn_to_v1"])
def test_efficacy_is_the_weighted_mean_release_of_all_edges(name):
    network, model, lgn = spiking()
    edges = network.edges[name]
    found = measure_history(model, probes_of(lgn))
    counts = lgn.numpy() if name == "lgn_to_v1" else model({"lgn": lgn}).spikes.detach().numpy()
    for row, dynamics in enumerate(DYNAMICS):
        own = edges.plasticity.group_of == row
        released = stepped(counts, dynamics, 1.0)[0][:, WARM_UP:].sum(axis=(0, 1))
        spikes = counts[:, WARM_UP:].sum(axis=(0, 1))
        source, weight = edges.source_index[own], np.abs(edges.weight[own])
        expected = (weight * released[source]).sum() / (weight * spikes[source]).sum()
        assert found.efficacy(edges)[row] == pytest.approx(expected, rel=1e-10)
    other = {key: np.full(3, value) for key, value in DYNAMICS[1]._asdict().items()}
    assert found.efficacy(edges, other)[1] == pytest.approx(found.efficacy(edges)[1])
    assert not np.isclose(found.efficacy(edges, other)[0], found.efficacy(edges)[0])


def test_models_of_silent_sources_have_no_efficacy():
    network, model, lgn = spiking()
    edges = network.edges["lgn_to_v1"]
    found = measure_history(model, probes_of(torch.zeros_like(lgn)))
    assert np.isnan(found.efficacy(edges)).all()
    assert (found.rates == 0).all()


def test_what_cannot_be_measured_is_said():
    network, model, lgn = spiking()
    static = dataclasses.replace(network.edges["v1_to_v1"], plasticity=None)
    with pytest.raises(NetworkError, match="synapses have none"):
        measure_history(model, probes_of(lgn)).efficacy(static)
    bare = SpikeHistory(np.zeros(24), np.zeros(24))
    with pytest.raises(ConfigError, match="no spikes of population v1"):
        bare.efficacy(network.edges["v1_to_v1"])
    with pytest.raises(ConfigError, match="nothing to measure"):
        measure_history(model, [])
    with pytest.raises(ConfigError, match="GLIFR neurons have none"):
        measure_history(V1Network(make_network(), neuron="glifr"), probes_of(lgn))
