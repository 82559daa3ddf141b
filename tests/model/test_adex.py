"""AdEx against an independent solver of its equations, from files to spikes, and what it refuses.

`v1builder.verify.adex` compares it with NEST.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import solve_ivp

from v1builder.characterize import characterize
from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.history import Probe, measure_history
from v1builder.load import load_network, save_network
from v1builder.load.network import GroupedValues, Network, NodePopulation
from v1builder.model import V1Network
from v1builder.model.neurons.adex import Adex
from v1builder.schema.errors import ConfigError, NetworkError
from v1builder.simulate import simulate
from v1builder.sonata import read_report
from v1builder.train import load_experiment, train
from v1builder.validate import validate
from v1builder.verify.layouts import write_layout

F64 = torch.float64
DEFAULTS = {parameter.name: parameter.absent for parameter in Adex.table}


def cells(n=1, **changed):
    """Cells with NEST's defaults, alone."""
    values = {name: np.full(n, float(v)) for name, v in (DEFAULTS | changed).items()}
    rows = np.arange(n), tuple(map(str, range(n)))
    tau = np.full((n, 2), 2.0)
    ports = {"tau_syn_fast": tau, "tau_syn_slow": tau, "amp_slow": 0 * tau, "psc_shape": 0 * tau}
    attributes = {"model_template": np.full(n, "nest:aeif_psc_alpha", dtype=object)}
    nodes = NodePopulation("v1", rows[0], np.zeros(n, np.int64), attributes, pd.DataFrame())
    return Network(
        {"v1": nodes},
        {},
        "v1",
        GroupedValues(values, *rows),
        GroupedValues(ports, *rows),
        np.zeros(n),
    )


def model_of(network, **options):
    options = {"dt": 0.1, "dtype": F64, "trainable": (), "backend": "reference"} | options
    return V1Network(network, **options)


def run(model, current, steps, state=None):
    """Spikes, U and w after every step, [t, n]."""
    state = model.initial_state() if state is None else state
    spikes, U, w = [], [], []
    with torch.no_grad():
        for _ in range(steps):
            rollout = model(n_steps=1, current=torch.tensor([[current]], dtype=F64), state=state)
            state = rollout.state
            spikes.append(rollout.spikes[0, 0].numpy())
            U.append(state.U[0].numpy())
            w.append(state.w[0].numpy())
    return np.array(spikes), np.array(U), np.array(w)


def solved(p, current, duration):
    """Times of spikes and V, w at multiples of .1 ms, by scipy on the equations as published; t_ref 0.

    The current acts from the second step on. From 14 Delta_T above V_th the run alone counts.
    """
    high = p["V_th"] + 14 * p["Delta_T"]
    last = p["C_m"] / p["g_L"] * np.exp(-14)

    def slopes(_, y):
        V, w = min(y[0], high + 1), y[1]
        run = p["g_L"] * p["Delta_T"] * np.exp((V - p["V_th"]) / p["Delta_T"])
        leak = -p["g_L"] * (V - p["E_L"])
        return [(leak + run + current - w) / p["C_m"], (p["a"] * (V - p["E_L"]) - w) / p["tau_w"]]

    def peak(_, y):
        return y[0] - high

    peak.terminal, peak.direction = True, 1.0
    grid = np.round(np.arange(0.2, duration + 0.05, 0.1), 10)
    y, t, spikes = np.array([p["E_L"], 0.0]), 0.1, []
    out = np.full((len(grid), 2), np.nan)
    while t < duration:
        options = {"rtol": 1e-10, "atol": 1e-10, "dense_output": True, "events": peak}
        found = solve_ivp(slopes, (t, duration), y, method="RK45", **options)
        here = (grid > t) & (grid <= found.t[-1])
        if here.any():
            out[here] = found.sol(grid[here]).T
        t, y = found.t[-1], found.y[:, -1]
        if found.t_events[0].size:
            t += last
            spikes.append(t)
            y = np.array([p["V_reset"], y[1] + p["b"]])
    return np.array(spikes), out


@pytest.mark.parametrize("changed", [{}, {"a": 20.0, "b": 0.0, "tau_w": 30.0}])
def test_spikes_and_adaptation_are_those_of_the_equations(changed):
    """Voltages within 1e-3 mV where it is not running up, w within 1e-3 pA, every spike in its step."""
    p = DEFAULTS | changed
    times, expected = solved(p, 900.0, 60.0)
    spikes, U, w = run(model_of(cells(**changed)), [900.0], 600)
    assert len(times) >= 2
    assert (np.flatnonzero(spikes[:, 0]) == np.ceil(times / 0.1 - 1e-9) - 1).all()
    V, slow = U[1:, 0] + p["E_L"], expected[:, 0] < p["V_th"] + 2 * p["Delta_T"]
    assert np.abs(V - expected[:, 0])[slow].max() < 1e-3
    assert np.abs(w[1:, 0] - expected[:, 1]).max() < 1e-3


def test_substeps_converge():
    """To within 1e-5 mV where the voltage rises, and 1e-4 pA of adaptation after spikes."""

    def after(substep):
        _, U, w = run(model_of(cells(), substep=substep), [1200.0], 150)
        return U[60, 0], w[-1, 0]

    exact = np.array(after(0.005))
    errors = np.array([np.abs(after(substep) - exact) for substep in (0.1, 0.05, 0.025)])
    assert errors[0][0] < 1e-5
    assert errors[0][1] < 1e-4
    assert (errors[1] < errors[0] / [8, 1.2]).all()
    assert (errors[2] < errors[1] / [8, 1.2]).all()


@pytest.mark.parametrize(("t_ref", "steps"), [(0.05, 1), (0.1, 1), (2.0, 20), (2.03, 21)])
def test_a_spike_holds_the_voltage_for_whole_steps(t_ref, steps):
    """From the end of the step of the spike; w goes on."""
    network = cells(t_ref=t_ref)
    spikes, U, w = run(model_of(network), [1500.0], 120)
    at = int(np.flatnonzero(spikes[:, 0])[0])
    reset = DEFAULTS["V_reset"] - DEFAULTS["E_L"]
    held = np.flatnonzero(np.isclose(U[:, 0], reset, rtol=0, atol=1e-9))
    assert held[: steps + 1].tolist() == list(range(at, at + steps + 1))
    assert len(held) == (steps + 1) * spikes.sum() or held[-1] == 119
    assert w[at, 0] > w[at - 1, 0] + 80
    decay = np.exp(-0.1 / DEFAULTS["tau_w"])
    final = DEFAULTS["a"] * reset
    assert np.isclose(w[at + 1, 0], final + (w[at, 0] - final) * decay)


def test_without_refractory_period_the_voltage_goes_on_at_once():
    """And a second spike of a step comes at the begin of the next."""
    spikes, U, _ = run(model_of(cells(), dt=1.0), [3000.0], 40)
    at = int(np.flatnonzero(spikes[:, 0])[0])
    reset = DEFAULTS["V_reset"] - DEFAULTS["E_L"]
    assert reset < U[at, 0] < reset + 10
    spikes, U, _ = run(model_of(cells(b=0.0), dt=1.0), [60000.0], 10)
    assert spikes[2:, 0].all()
    assert np.isfinite(U).all()
    assert (DEFAULTS["V_peak"] - DEFAULTS["E_L"] >= U).all()


def test_voltages_stay_finite_whatever_happens():
    """Strong inhibition, a sharp onset and a high peak, in float32."""
    network = cells(3, Delta_T=0.2, V_peak=100.0)
    model = model_of(network, dtype=torch.float32, trainable=["Delta_T", "V_th"], dt=0.5)
    current = torch.tensor([[[-20000.0, 0.0, 20000.0]]])
    rollout = model(current=current, n_steps=30, record_voltage=True)
    assert rollout.voltage.isfinite().all()
    assert rollout.spikes[0].sum(0).tolist()[:2] == [0.0, 0.0]
    (rollout.spikes.sum() + rollout.state.w.sum()).backward()
    for parameter in model.parameters():
        assert parameter.grad.isfinite().all()


def aeif_network(folder: Path, change=None, template="aeif_psc_alpha", dt=0.5) -> Path:
    """Files of a network of such cells with simulation configuration; `change` of the component file."""
    path = write_layout(folder, "aeif_psc_alpha", dt)
    file = folder / "components/cell_models/aeif_psc_alpha.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | (change or {})))
    if template != "aeif_psc_alpha":
        types = folder / "network/cortex_node_types.csv"
        types.write_text(types.read_text().replace("nest:aeif_psc_alpha", f"nest:{template}"))
    return path


def test_files_that_say_little_get_the_defaults_of_nest(tmp_path):
    aeif_network(tmp_path)
    file = tmp_path / "components/cell_models/aeif_psc_alpha.json"
    file.write_text(json.dumps({"E_L": -65.0, "b": 60.0, "I_e": 12.0, "tau_minus": 20.0}))
    network = load_network(tmp_path)
    assert set(network.membrane.values) == {"E_L", "b"}
    assert np.isnan(network.receptors.values["tau_syn_fast"]).all()
    model = model_of(network)
    found = model.cells()
    assert model.neuron.name == "adex"
    assert (found["b"] == 60.0).all()
    assert (found["V_th"] == DEFAULTS["V_th"] + 65.0).all()
    assert (found["tau_w"] == DEFAULTS["tau_w"]).all()
    assert (model.bias_current == 12.0).all()
    assert found["tau_syn_fast"][0].tolist() == [0.2, 2.0]
    assert torch.allclose(model.starting_state().U, torch.tensor(-70.6 + 65.0, dtype=F64))
    assert (model.initial_state().U == 0).all()
    assert validate(tmp_path) == []


def test_simulate_writes_what_the_module_computes(tmp_path):
    path = aeif_network(tmp_path)
    settings = json.loads(path.read_text())
    settings["run"]["tstop"] = 30.0
    settings["reports"] = {
        name: {"cells": "all", "variable_name": name, "module": "multimeter_report"}
        for name in ("V_m", "w")
    }
    settings["node_sets"] = {"all": {"population": "cortex"}}
    path.write_text(json.dumps(settings))
    folder = simulate(path)
    voltage, w = (read_report(folder / f"{name}.h5").data for name in ("V_m", "w"))
    network = load_network(tmp_path)
    model = model_of(network, dt=0.5)
    start = model.starting_state()
    assert torch.allclose(start.U + model.cells.E_L, torch.tensor(-68.0, dtype=F64))  # the file's
    assert voltage.shape == w.shape == (60, 60)
    with torch.no_grad():
        first = model({"input": torch.zeros(1, 1, 60)}, state=start).state
    np.testing.assert_allclose(voltage[0], (first.U + model.cells.E_L)[0].numpy(), rtol=1e-6)
    np.testing.assert_allclose(w[0], first.w[0].numpy(), rtol=1e-6)
    assert voltage.max() > -60
    settings["reports"] = {"th": {"cells": "all", "variable_name": "threshold"}}
    path.write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="unknown variable 'threshold'"):
        simulate(path)


def test_saved_and_read_again_after_training(tmp_path):
    aeif_network(tmp_path)
    network = load_network(tmp_path)
    names = ["b", "tau_w", "V_th", "tau_syn_fast", "input_to_cortex.weight"]
    model = model_of(network, trainable=names, dt=0.5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.03
    folder = save_network(model.export(network), tmp_path / "trained")
    assert validate(folder) == []
    again = model_of(load_network(folder), dt=0.5)
    for name, value in model.cells().items():
        if name != "tau_syn_slow":  # which a file of alpha currents has no room for
            torch.testing.assert_close(again.cells()[name], value, rtol=1e-12, atol=1e-12)
    current = torch.full((1, 1, 60), 900.0)
    inputs = {"input": torch.zeros(1, 100, 60)}
    with torch.no_grad():
        spikes = [m(inputs, current=current).spikes for m in (model, again)]
    assert spikes[0].sum() > 30
    assert torch.equal(*spikes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Delta_t": 1.0}, "did you mean 'Delta_T'"),
        ({"Delta_T": 0.0}, "Delta_T must be positive"),
        ({"V_th": -80.0}, "V_th - E_L must be positive"),
        ({"V_peak": -55.0}, "V_peak must lie above V_th"),
        ({"V_reset": 10.0}, "V_reset must lie below V_peak"),
        ({"w": 5.0}, "'w' is not supported"),
    ],
)
def test_wrong_cells_are_found_in_files_and_in_networks(change, message, tmp_path):
    aeif_network(tmp_path, change)
    (problem,) = validate(tmp_path)
    assert message in str(problem)
    assert "aeif_psc_alpha.json" in problem.where
    network = load_network(tmp_path)
    with pytest.raises(NetworkError, match=message):
        V1Network(network)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b": "much"}, "a parameter is not a number"),
        ({"b": [1.0]}, "one number"),
        ({"tau_syn_ex": 0.0}, "must be positive"),
        ({"E_L": None}, "a parameter is not a number"),
        ({"E_L": float("nan")}, "NaN or infinite"),
    ],
)
def test_what_no_neuron_could_read_is_found_by_the_reader(change, message, tmp_path):
    aeif_network(tmp_path, change)
    with pytest.raises(NetworkError, match=message):
        load_network(tmp_path)
    assert any(message in str(problem) for problem in validate(tmp_path))


def test_a_template_of_no_neuron_names_the_nearest(tmp_path):
    aeif_network(tmp_path, template="aeif_psc_alfa_psc_alpha")
    problems = validate(tmp_path)
    assert problems
    assert all("did you mean 'nest:aeif_psc_alpha'" in str(problem) for problem in problems)
    with pytest.raises(NetworkError, match="did you mean 'nest:aeif_psc_alpha'"):
        V1Network(load_network(tmp_path))


def test_cells_of_two_kinds_are_one_error(tmp_path):
    aeif_network(tmp_path)
    types = tmp_path / "network/cortex_node_types.csv"
    text = types.read_text().replace("nest:aeif_psc_alpha", "nest:iaf_psc_alpha", 1)
    types.write_text(text.replace("aeif_psc_alpha.json", "iaf_psc_alpha.json", 1))
    with pytest.raises(NetworkError, match="several kinds of neuron") as caught:
        load_network(tmp_path)
    assert len(caught.value.problems) == 1
    assert "nest:iaf_psc_alpha, nest:aeif_psc_alpha" in caught.value.problems[0].got


def test_what_is_only_known_of_glif_cells_says_so(tmp_path):
    aeif_network(tmp_path)
    network = load_network(tmp_path)
    network.cells.attributes["pop_name"] = network.cells.attributes["ei"]
    with pytest.raises(NetworkError, match="not GLIF cells") as caught:
        parse_ablation("mean(global)")(network)
    assert len(caught.value.problems) == 1
    for name in ("no_asc", "shuffle_within"):
        with pytest.raises(NetworkError, match="not GLIF cells"):
            parse_ablation(name)(network, seed=1)
    with pytest.raises(ConfigError, match="those of GLIF cells"):
        spikes = torch.zeros(1, 4, 60, dtype=torch.uint8)
        measure_history(V1Network(network), [Probe(None, {"input": spikes})])
    with pytest.raises(ConfigError, match="neuron 'glif' does not compute these cells"):
        V1Network(network, neuron="glif")
    with pytest.raises(ConfigError, match="substep must be positive"):
        V1Network(network, substep=0.0)
    with pytest.raises(ConfigError, match="substep belongs to neuron 'adex'"):
        glif = dataclasses.replace(network.cells, attributes={})
        V1Network(dataclasses.replace(network, nodes={"cortex": glif}), substep=0.1)
    with pytest.raises(NetworkError, match="not GLIF cells"):
        characterize(tmp_path, tmp_path / "out")


EXPERIMENT = """
name = "adaptive"
[network]
path = "{folder}"
[task]
name = "orientation_discrimination"
n_deltas = 2
n_phases = 1
gray_before_ms = 5.0
on_ms = 20.0
gray_after_ms = 5.0
response_ms = [5.0, 30.0]
warm_up_ms = 5.0
[model]
trainable = ["v1_to_v1.weight", "b", "V_th"]
neuron_settings = {{ substep = 0.5 }}
[readout]
pool_size = 10
[train]
steps = 1
batch_size = 2
validation_trials = 2
test_trials = 2
"""


def test_a_column_of_them_is_trained(small_column, tmp_path):
    """The smallest column with AdEx cells in place of its own, through files."""
    network = load_network(small_column)
    n, one = network.n_cells, np.zeros(network.n_cells, np.int64)
    ports = {"tau_syn_fast": [[2.0, 4.0]], "tau_syn_slow": [[2.0, 4.0]]}
    ports |= {"amp_slow": [[0.0, 0.0]], "psc_shape": [[0.0, 0.0]]}
    template = np.full(n, "nest:aeif_psc_alpha", dtype=object)
    attributes = network.cells.attributes | {"model_template": template}
    adaptive = dataclasses.replace(
        network,
        nodes=network.nodes | {"v1": dataclasses.replace(network.cells, attributes=attributes)},
        membrane=GroupedValues({k: np.array([v]) for k, v in DEFAULTS.items()}, one, ("adex",)),
        receptors=GroupedValues({k: np.array(v) for k, v in ports.items()}, one, ("adex",)),
        edges={
            name: dataclasses.replace(
                edges, weight=6 * edges.weight, receptor=(edges.weight < 0).astype(np.int16)
            )
            for name, edges in network.edges.items()
        },
        initial_voltage=None,
    )
    folder = save_network(adaptive, tmp_path / "net", recordings_of=small_column)
    path = tmp_path / "experiment.toml"
    path.write_text(EXPERIMENT.format(folder=folder))
    result = train(load_experiment(path), tmp_path / "run")
    assert result["rate_Hz"] > 0
    path.write_text(path.read_text().replace("substep", "sub_step"))
    with pytest.raises(ConfigError, match=r"unknown argument 'sub_step'[\s\S]*'substep'"):
        train(load_experiment(path), tmp_path / "other")
    path.write_text(path.read_text().replace("[model]", '[model]\nneuron = "adx"'))
    with pytest.raises(ConfigError, match="did you mean 'adex'"):
        load_experiment(path)
