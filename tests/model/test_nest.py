"""Equal spikes, to the step, and equal voltages: ours against NEST at the same step, in float64."""

from dataclasses import replace

import numpy as np
import pytest
from nest_runs import Stimulus, identical_fraction, run_nest, run_ours
from networks import edges, membrane, nodes, random_network, receptors

from v1builder.load.network import Network

pytestmark = pytest.mark.nest
DURATION = 1000.0
VOLTAGE_TOLERANCE = 1e-9  # mV; measured 1e-11 and below


def all_cells(glif_models, kinetics, n_input=50, in_degree=20):
    """Every published cell, unconnected, with random spike inputs on all ten receptors."""
    rng = np.random.default_rng(1)
    n = len(glif_models)
    cells = membrane(glif_models, np.arange(n))
    target = np.repeat(np.arange(n), in_degree)
    rheobase = cells.per_cell("g") * (cells.per_cell("V_th") - cells.per_cell("E_L"))
    inputs = {
        "source": rng.integers(0, n_input, len(target)),
        "target": target,
        "weight": rng.normal(0.15, 0.5, len(target)) * rheobase[target],
        "delay": rng.choice([1.0, 1.5, 1.7, 2.2, 3.0], len(target)),
        "receptor": rng.integers(0, 10, len(target)),
    }
    nothing = {name: values[:0] for name, values in inputs.items()}
    return Network(
        nodes={
            "v1": nodes("v1", n, model_type=np.full(n, "point_neuron")),
            "lgn": nodes("lgn", n_input, model_type=np.full(n_input, "virtual")),
        },
        edges={
            "v1_to_v1": edges("v1_to_v1", "v1", "v1", nothing),
            "lgn_to_v1": edges("lgn_to_v1", "lgn", "v1", inputs),
        },
        simulated="v1",
        membrane=cells,
        receptors=receptors(kinetics, "e23", n),
        bias_current=np.zeros(n),
    )


def stimulus(network, dt, *, step=False, noise=False, spikes=False, rate=30.0):
    rng = np.random.default_rng(2)
    n_steps, n_input = round(DURATION / dt), len(network.nodes["lgn"])
    cells = network.membrane
    rheobase = cells.per_cell("g") * (cells.per_cell("V_th") - cells.per_cell("E_L"))
    times = np.arange(1.0, DURATION, 5.0)
    current = np.zeros((len(times), network.n_cells))
    if step:
        level = np.select([times < 100, times < 500, times < 600], [0.0, 1.3, 0.4], 2.0)
        current += level[:, None] * rheobase
    if noise:
        current += rng.normal(1.0, 0.5, current.shape) * rheobase
    train = rng.random((n_steps, n_input)) < rate * dt / 1000 if spikes else None
    return Stimulus(
        dt=dt,
        duration=DURATION,
        spikes=np.zeros((n_steps, n_input), dtype=bool) if train is None else train,
        current=current if step or noise else current[:0],
        current_times=times if step or noise else times[:0],
    )


def assert_equal(network, stimulus, tmp_path, record_property, least_spikes):
    nest, ours = run_nest(network, stimulus, tmp_path), run_ours(network, stimulus)
    fraction = identical_fraction(nest.spikes, ours.spikes)
    worst = np.abs(nest.voltage - ours.voltage).max()
    record_property("spikes_in_nest", int(nest.spikes.sum()))
    record_property("identical_fraction", float(fraction))
    record_property("largest_voltage_difference_mV", float(worst))
    assert nest.spikes.sum() > least_spikes
    assert fraction == 1.0
    assert worst < VOLTAGE_TOLERANCE


@pytest.mark.parametrize("kind", ["step", "noise", "spikes"])
def test_all_published_cells(kind, glif_models, kinetics, tmp_path, record_property):
    network = all_cells(glif_models, kinetics)
    assert network.n_cells == 645
    drive = stimulus(network, 1.0, **{kind: True})
    assert_equal(network, drive, tmp_path, record_property, 5000)


@pytest.mark.slow
@pytest.mark.parametrize("dt", [0.25, 0.1])
def test_all_published_cells_at_fine_steps(dt, glif_models, kinetics, tmp_path, record_property):
    network = all_cells(glif_models, kinetics)
    drive = stimulus(network, dt, noise=True, spikes=True)
    assert_equal(network, drive, tmp_path, record_property, 5000)


@pytest.mark.parametrize(
    "dt",
    [1.0, pytest.param(0.25, marks=pytest.mark.slow), pytest.param(0.1, marks=pytest.mark.slow)],
)
def test_recurrent_network(dt, glif_models, kinetics, tmp_path, record_property):
    network = random_network(glif_models, kinetics, n=200, n_input=50, in_degree=20, drive=0.4)
    drive = stimulus(network, dt, spikes=True)
    assert_equal(network, drive, tmp_path, record_property, 2000)


def test_the_recurrent_edges_of_that_network_matter(glif_models, kinetics):
    network = random_network(glif_models, kinetics, n=200, n_input=50, in_degree=20, drive=0.4)
    drive = stimulus(network, 1.0, spikes=True)
    silent = replace(network.edges["v1_to_v1"], weight=np.zeros(len(network.edges["v1_to_v1"])))
    uncoupled = replace(network, edges={**network.edges, "v1_to_v1": silent})
    assert (run_ours(network, drive).spikes != run_ours(uncoupled, drive).spikes).any()
