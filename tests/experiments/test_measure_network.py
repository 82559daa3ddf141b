"""Measures of a network as it is: trials of a test, ablations of a bench, tables."""

import json
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch
from handmade import make_foreign

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.measure_network import (
    MeasuredNetworks,
    measure_network,
    run_trials,
    task_named,
    trials_at_once,
)
from v1builder.experiments.operating_table import bench_of
from v1builder.inputs import input_sources
from v1builder.load import load_network, save_network
from v1builder.load.groups import group_cells
from v1builder.measures import Measurement, MeasureRow
from v1builder.model import V1Network
from v1builder.readout import Asked
from v1builder.readout.pools import PoolsSettings
from v1builder.schema.errors import ConfigError
from v1builder.tasks import design_of, make_task
from v1builder.tasks.flow_perturbation import FlowPerturbation
from v1builder.train import Classifier, evaluate, stream

# The package shows the function under the same name.
module = import_module("v1builder.experiments.measure_network")

OPTIONS = {"n_trials": 2, "background": "ratio"}
SHORT = FlowPerturbation(
    warm_up_ms=50.0, before_ms=60.0, baseline_ms=40.0, changed_ms=80.0, after_ms=20.0
)
NAMES = ["mean_rate", "voltage_change", "depolarised_share", "rate_halved_share"]


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A network of others, fast to run."""
    folder = tmp_path_factory.mktemp("foreign") / "network"
    save_network(make_foreign(), folder)
    return folder


@pytest.fixture(scope="module")
def task(net):
    return make_task(SHORT, input_sources(load_network(net), dt=1.0), dt=1.0)


@pytest.fixture(scope="module")
def measured(net):
    shown = []
    found = measure_network(
        net,
        SHORT,
        select=NAMES,
        ablations=["no_asc", "intact", "mean(population)", "no_asc"],
        n_trials=6,
        carry="psp",
        background="ratio",
        progress=lambda *what: shown.append(what),
    )
    assert ("intact", 6, 6) in shown
    assert ("ablations", 2, 2) in shown
    assert shown[-1] == ("mean(population)", 6, 6)
    return found


def measurement_of(task, network, names=NAMES):
    return Measurement(names, design_of(task, network, "test"), task.measured)


def run(task, network, **how):
    measurement = measurement_of(task, network)
    how = {"n_trials": 6, "at_once": 6, "seed": 1, "progress": lambda _n: None} | how
    run_trials(V1Network(network), task, measurement, **how)
    return measurement.rows()


def test_trials_are_those_of_a_test(measured, task, net):
    """The same numbers as a test of an untrained network has, whatever reads it."""
    network = load_network(net)
    asked = Asked(2, task.windows, task.n_steps, task.dt, False)
    pools = PoolsSettings(populations=("Pyr*",), pool_size=6, radius_um="all")
    classifier = Classifier(V1Network(network), pools.make(network, asked, 1))
    measurement = measurement_of(task, network)
    evaluate(classifier, task, split="test", n_trials=6, batch_size=6, seed=1, dt=1.0,
             measurement=measurement)  # fmt: skip
    assert measured.rows["intact"] == measurement.rows()
    values = [row.value for row in measured.rows["intact"]]
    assert np.isfinite(values).mean() > 0.9
    assert len(set(values)) > 10


def test_ablated_networks_are_those_of_a_bench(measured, task, net):
    assert list(measured.rows) == ["intact", "no_asc", "mean(population)"]
    network = load_network(net)
    bench = bench_of(network, seed=1, background="ratio")
    start = bench.start(network)
    for name in ("no_asc", "mean(population)"):
        ablated, record = bench.ablated(start, parse_ablation(name))
        assert measured.rows[name] == run(task, ablated) != measured.rows["intact"]
        assert measured.records[name] == record


def test_rows_are_those_of_the_run(measured, task, net):
    """Rates by hand, for the window and the condition that a row names."""
    network = load_network(net)
    seen = []
    model = V1Network(network)
    model.register_forward_hook(lambda _m, _i, rollout: seen.append(rollout.spikes))
    run_trials(model, task, measurement_of(task, network), n_trials=6, at_once=6, seed=1,
               progress=lambda _n: None)  # fmt: skip
    spikes = torch.cat(seen, dim=1)[:, 50:].numpy()  # after the warm-up
    condition = task.draw(6, "test", stream(1, "test", "trials")).condition.numpy()
    assert spikes.shape[:2] == (6, 160)
    groups = group_cells(network.cells, "population")
    own = groups.of_cell == groups.labels.index("IntB")
    rows = {
        row.window: row
        for row in measured.rows["intact"]
        if (row.measure, row.group) == ("mean_rate", "IntB")
    }
    for number, window in enumerate(("motion_begins", "motion_ends")):
        rate = spikes[condition == number][:, 20:140][:, :, own].mean() * 1000
        assert rows[window].value == pytest.approx(rate)
        assert rows[window].n == own.sum()


def test_the_state_goes_on_from_batch_to_batch_where_the_task_carries_it(net, task):
    network = load_network(net)
    anew = make_task(SHORT.model_copy(update={"carry_state": False}), task.sources, dt=1.0)
    assert run(task, network, at_once=6) == run(anew, network, at_once=6)
    assert run(task, network, at_once=2) != run(anew, network, at_once=2)
    done = []
    run(task, network, at_once=4, progress=done.append)
    assert done == [0, 4, 6]


def test_batches_are_as_large_as_memory_allows(task, monkeypatch):
    per_trial = task.n_steps * 20
    for n_trials, most, expected in ((20, 9, 7), (20, 100, 10), (3, 100, 3), (5, 1, 1), (5, 0, 1)):
        monkeypatch.setattr(module, "_INPUT_BYTES", most * per_trial)
        assert trials_at_once(task, n_trials) == expected


def test_networks_that_are_done_are_not_run_again(net, tmp_path, monkeypatch):
    names, runs = [], module.run_trials

    def stops(*arguments, **how):
        names.append(len(names))
        if len(names) == 2:
            raise KeyboardInterrupt
        runs(*arguments, **how)

    monkeypatch.setattr(module, "run_trials", stops)
    how = {"select": NAMES, "ablations": ["no_asc"], "n_trials": 2, "background": "ratio"}
    with pytest.raises(KeyboardInterrupt):
        measure_network(net, SHORT, out=tmp_path / "a.csv", **how)
    again = measure_network(net, SHORT, out=tmp_path / "a.csv", **how)
    assert len(names) == 3
    again.write(tmp_path / "a.csv")
    measure_network(net, SHORT, **how).write(tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.csv",
        "a.json",
        "b.csv",
        "b.json",
    ]


def test_the_table_and_its_copy_as_json(measured, tmp_path):
    out = tmp_path / "measures.csv"
    measured.write(out)
    table = pd.read_csv(out)
    assert list(table.columns) == [
        "ablation", "measure", "unit", "window", "level", "group", "value", "low", "high", "n",
        "reason",
    ]  # fmt: skip
    assert len(table) == sum(map(len, measured.rows.values()))
    assert set(table["window"]) == {"motion_begins", "motion_ends"}
    document = json.loads(out.with_suffix(".json").read_text())
    assert document["stage"] == "measure"
    assert document["task"]["baseline_ms"] == 40.0
    assert document["windows"]["motion_ends"] == {
        "steps": [20, 140], "conditions": [1], "change": 60
    }  # fmt: skip
    assert (document["seed"], document["n_trials"], document["trials_at_once"]) == (1, 6, 6)
    assert document["options"] == {"carry": "psp", "background": "ratio"}
    assert document["ablations"]["no_asc"]["ablation_record"][0]["name"] == "no_asc"
    assert "circuit_config.json" in document["network"]
    again = pd.DataFrame(document["rows"])
    pd.testing.assert_series_equal(again["value"].astype(float), table["value"])


def test_shares_of_cells_have_the_interval_of_a_proportion():
    """Wilson of 3 in 10: (.3 + z2/20 +- z sqrt(.021 + z2/400)) / (1 + z2/10), z = 1.96."""
    rows = [
        MeasureRow("depolarised_share", "1", "w", "network", "network", 0.3, 10, ""),
        MeasureRow("depolarised_share", "1", "w", "network", "network", np.nan, 0, "no cells"),
        MeasureRow("top10_share", "1", "w", "network", "network", 0.3, 10, ""),
    ]
    z = 1.959964
    half = z * np.sqrt(0.3 * 0.7 / 10 + z**2 / 400) / (1 + z**2 / 10)
    middle = (0.3 + z**2 / 20) / (1 + z**2 / 10)
    table = MeasuredNetworks({"intact": rows}).table()
    assert table["low"][0] == pytest.approx(middle - half)
    assert table["high"][0] == pytest.approx(middle + half)
    assert table[["low", "high"]][1:].isna().all(axis=None)


def test_a_task_is_named_or_in_an_experiment(tmp_path):
    settings, dt = task_named("contrast_response")
    assert (settings.name, settings.n_directions, dt) == ("contrast_response", 8, 1.0)
    path = tmp_path / "experiment.toml"
    path.write_text(
        'name = "a test"\n[network]\npath = "nowhere"\n[model]\ndt = 0.5\n'
        '[task]\nname = "flow_perturbation"\ndirection = 45.0\n'
    )
    settings, dt = task_named(str(path))
    assert (settings.name, settings.direction, dt) == ("flow_perturbation", 45.0, 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"select": ["mean_rate", "voltage_chang"]}, "did you mean 'voltage_change'"),
        ({"ablations": ["no_ascs"]}, "did you mean 'no_asc'"),
    ],
)
def test_a_wrong_name_is_said_before_anything_is_read(options, message):
    with pytest.raises(ConfigError, match=message):
        measure_network("nowhere", SHORT, **options)
    with pytest.raises(ConfigError, match="did you mean 'flow_perturbation'"):
        task_named("flow_pertubation")
