"""Measures of a running network: windows, selections, what is recorded for them, and rows."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from handmade import make_network

from v1builder.load.groups import group_cells
from v1builder.measures import Design, Measure, Measurement
from v1builder.measures import measurement as module
from v1builder.measures.measure import ByGroup
from v1builder.model import V1Network
from v1builder.model.observation import observe
from v1builder.schema.errors import ConfigError, NetworkError

STEPS, TRIALS = 90, 10
WINDOWS = {"spontaneous": slice(0, 30), "evoked": slice(30, 80)}


@pytest.fixture(scope="module")
def network():
    return make_network()


@pytest.fixture(scope="module")
def model(network):
    return V1Network(network, dtype=torch.float64, keep_ports=True)


@pytest.fixture(scope="module")
def current():
    """[trial, step, cell] pA that makes most cells fire."""
    generator = torch.Generator().manual_seed(0)
    return 900 * torch.rand(TRIALS, STEPS, 24, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def inputs():
    return {"lgn": torch.zeros(TRIALS, STEPS, 6, dtype=torch.uint8)}


@pytest.fixture(scope="module")
def spikes(model, inputs, current):
    with torch.no_grad():
        found = model(inputs, current=current).spikes.numpy()
    assert found.sum() > 300
    return found


def run(measurement, model, inputs, current, batches=(slice(0, TRIALS),), **how):
    for trials in batches:
        own = {name: part[trials] for name, part in inputs.items()}
        observe(model, own, [measurement.observer(**how)], current=current[trials], steps=23)


def table(measurement):
    return {(r.measure, r.window, r.level, r.group): r for r in measurement.rows()}


def test_windows_and_groups_of_a_run(network, model, inputs, current, spikes):
    design = Design(network.cells, model.dt, STEPS)
    names = ["mean_rate", "spikes_per_trial", "fano_factor"]
    measurement = Measurement(names, design, WINDOWS)
    run(measurement, model, inputs, current, (slice(0, 4), slice(4, TRIALS)))
    rows = table(measurement)
    assert measurement.n_trials == TRIALS
    populations = group_cells(network.cells, "population")
    # The cells have no location: no layers. Single cells are for those who ask for them.
    assert {key[2] for key in rows} == {"network", "class", "population"}
    for window, steps in WINDOWS.items():
        counts = spikes[:, steps].sum(axis=1)
        seconds = (steps.stop - steps.start) / 1000
        assert rows["mean_rate", window, "network", "network"].value == pytest.approx(
            counts.mean() / seconds
        )
        for k, name in enumerate(populations.labels):
            own = counts[:, populations.of_cell == k]
            row = rows["spikes_per_trial", window, "population", name]
            assert (row.value, row.n, row.unit) == (own.sum() / TRIALS, own.shape[1], "spikes")
            mean = own.mean(axis=0)
            fano = np.nanmean(own.var(axis=0, ddof=1)[mean > 0] / mean[mean > 0])
            assert rows["fano_factor", window, "population", name].value == pytest.approx(fano)


def test_a_node_set_is_a_group_and_so_are_all_others(network, model, inputs, current, spikes):
    chosen = [2, 3, 11]
    sets = {"core": {"node_id": network.cells.node_id[chosen].tolist()}, "nobody": {"node_id": []}}
    design = Design(network.cells, model.dt, STEPS, node_sets=sets)
    levels = ["core", "all", "network"]
    with pytest.raises(ConfigError, match="did you mean 'core'"):
        Measurement(["mean_rate"], design, WINDOWS, levels=["cor"])
    with pytest.raises(ConfigError, match="selects no cell"):
        Measurement(["mean_rate"], design, WINDOWS, levels=["nobody"])
    design = replace(design, node_sets=sets | {"all": ["core", "rest"], "rest": {}})
    # Of single cells preferred_direction has values, of groups of cells none.
    measurement = Measurement(
        ["mean_rate", "silent_share", "preferred_direction"],
        design,
        {"all": slice(0, STEPS)},
        levels=levels,
    )
    run(measurement, model, inputs, current)
    rows = table(measurement)
    assert {key[0] for key in rows} == {"mean_rate", "silent_share"}
    rate = spikes.mean(axis=(0, 1)) * 1000
    inside = np.isin(np.arange(len(rate)), chosen)
    found = {key[2:]: row for key, row in rows.items() if key[0] == "mean_rate"}
    assert list(found) == [
        ("network", "network"),
        ("core", "core"),
        ("core", "not core"),
        ("all", "all"),
    ]
    for group, own in (("core", inside), ("not core", ~inside)):
        assert found["core", group].value == pytest.approx(rate[own].mean())
        assert found["core", group].n == own.sum()
    assert found["all", "all"].value == pytest.approx(rate.mean())


def test_a_run_may_be_of_one_window_only(network, model, inputs, current, spikes):
    """As where a gray screen and trials are runs of their own."""
    design = Design(network.cells, model.dt, STEPS)
    whole = {"gray": slice(0, STEPS), "shown": slice(0, STEPS), "never": slice(7, 7)}
    measurement = Measurement(["mean_rate"], design, whole, levels=["network"])
    run(measurement, model, inputs, current, [slice(0, 3)], windows=["gray"])
    run(measurement, model, inputs, current, [slice(3, 10)], windows=["shown"])
    rows = {row.window: row for row in measurement.rows()}
    assert rows["gray"].value == pytest.approx(spikes[:3].mean() * 1000)
    assert rows["shown"].value == pytest.approx(spikes[3:].mean() * 1000)
    assert rows["never"].reason == "nothing was observed"
    assert json.loads(json.dumps(rows["never"].record()))["value"] is None
    assert rows["gray"].record()["value"] == rows["gray"].value


def test_some_of_the_cells(network, model, inputs, current, spikes):
    chosen = np.array([1, 4, 20])
    design = Design(network.cells.part(chosen), model.dt, STEPS)
    measurement = Measurement(
        ["mean_rate"], design, {"all": slice(0, STEPS)}, levels=["cell"], positions=chosen
    )
    run(measurement, model, inputs, current)
    rows = measurement.rows()
    assert [row.group for row in rows] == [str(network.cells.node_id[k]) for k in chosen]
    assert [row.value for row in rows] == pytest.approx(
        spikes[..., chosen].mean(axis=(0, 1)) * 1000
    )


class Potential(Measure):
    """Mean potential and mean current of the first port: for this test."""

    unit, needs = "mV", ("voltage", "currents")

    def __init__(self, design):
        super().__init__(design)
        self.sums, self.n = np.zeros((2, design.n_cells)), 0

    def see(self, activity):
        self.sums[0] += activity.voltage.sum(axis=(0, 1))
        self.sums[1] += activity.currents[..., 0].sum(axis=(0, 1))
        self.n += len(activity.trials) * (activity.stop - activity.start)

    def compute(self, groups):
        value = self.sums.sum(axis=0) / self.n
        return ByGroup(value, np.ones(len(value), np.int64), ("",) * len(value))


class AtOnce(Potential):
    """The same, given everything at once."""

    streaming = False
    parts = 0

    def see(self, activity):
        super().see(activity)
        assert (activity.start, activity.stop) == (0, 50)
        assert activity.trials.tolist() == list(range(TRIALS))
        type(self).parts += 1


@pytest.mark.parametrize("kind", [Potential, AtOnce])
def test_voltages_and_currents_are_recorded_for_those_who_need_them(
    kind, network, model, inputs, current, spikes, monkeypatch
):
    monkeypatch.setattr(module, "measure_named", lambda name: kind)
    design = Design(network.cells, model.dt, STEPS)
    measurement = Measurement(["potential"], design, {"evoked": WINDOWS["evoked"]}, levels=["cell"])
    run(measurement, model, inputs, current, (slice(0, 6), slice(6, TRIALS)))
    with torch.no_grad():
        rollout = model(inputs, current=current, record_voltage=True)
        state, of_port = None, []
        for t in range(80):
            now = {"lgn": inputs["lgn"][:, t : t + 1]}
            state = model(now, current=current[:, t : t + 1], state=state).state
            of_port.append((state.y2_fast + state.y2_slow)[..., 0].numpy())
    voltage = (rollout.voltage + model.cells.E_L).numpy()[:, 30:80].mean(axis=(0, 1))
    port = np.mean(of_port[30:], axis=(0, 1))
    assert np.abs(port).max() > 1
    found = [row.value for row in measurement.rows()]
    np.testing.assert_allclose(found, voltage + port)
    if kind is AtOnce:
        assert AtOnce.parts == 1


def test_what_is_not_valid_is_said(network, model, inputs, current):
    design = Design(network.cells, model.dt, STEPS)
    with pytest.raises(ConfigError, match="did you mean 'mean_rate'"):
        Measurement(["mean_rates"], design, WINDOWS)
    with pytest.raises(ConfigError, match="a window is not within the trial"):
        Measurement(["mean_rate"], design, {"late": slice(80, 91)})
    with pytest.raises(NetworkError, match="'location'"):
        Measurement(["mean_rate"], design, WINDOWS, levels=["layer"])
    measurement = Measurement(["mean_rate"], design, WINDOWS)
    with pytest.raises(ConfigError, match="did you mean 'evoked'"):
        measurement.observer(windows=["evokd"])
    with pytest.raises(ConfigError, match="3 conditions, 10 trials"):
        run(measurement, model, inputs, current, condition=[0, 1, 2])
    graded = V1Network(network, neuron="glifr", dtype=torch.float64)
    with pytest.raises(ConfigError, match="graded signal"):
        run(measurement, graded, inputs, current)
