"""Every key of a simulation configuration acts as BMTK or the SONATA guide has it, or is refused by name."""

import json

import h5py
import numpy as np
import pytest
import torch
from small_network import N_EXC, N_V1
from test_simulate import TSTOP, configuration, run_pointnet, spike_set, write_inputs

from v1builder.load import load_network
from v1builder.schema.errors import ConfigError, NetworkError
from v1builder.simulate import simulate
from v1builder.simulate.currents import clamps, current
from v1builder.simulate.inputs import input_spikes
from v1builder.simulate.overrides import with_overrides
from v1builder.sonata.reports import read_report
from v1builder.sonata.simulation_config import read_simulation


@pytest.fixture(scope="module")
def network(small_network_folder):
    return load_network(small_network_folder)


@pytest.fixture
def written(small_network_folder, tmp_path):
    """Writes a configuration with changes; returns its path."""
    write_inputs(tmp_path)
    return lambda **changes: configuration(small_network_folder, tmp_path, **changes)


def clamp(**changes):
    settings = {"input_type": "current_clamp", "module": "IClamp", "node_set": "all",
                "amp": 10.0, "delay": 2.0, "duration": 3.0}  # fmt: skip
    settings |= changes
    return {"clamp": {key: value for key, value in settings.items() if value is not None}}


def injected(path, network, n_steps, key="clamp"):
    """[n_steps, n_cells] pA of the currents of one input."""
    text = json.loads(path.read_text())
    text["inputs"] = {key: text["inputs"][key]}
    path.write_text(json.dumps(text))
    found = current(clamps(read_simulation(path), network), network.n_cells, 0, n_steps)
    return torch.zeros(n_steps, network.n_cells) if found is None else found[0]


# Selections that select nobody.


@pytest.mark.parametrize(
    ("node_set", "nearest"),
    [
        ({"population": "v2"}, "did you mean 'v1'"),
        ({"pop_name": "e23Cux"}, "did you mean 'e23Cux2'"),
        ({"pop_name": ["e4", "nothing"]}, "unknown pop_name"),
        ({"model_type": "virtual"}, "unknown model_type 'virtual'"),
        ({"x": {"$gt": 1e6}}, "selects no simulated cell"),
        ({"pop_name": "e23Cux2", "ei": "i"}, "selects no simulated cell"),
    ],
)
def test_a_selection_of_nobody_is_refused(written, network, node_set, nearest):
    """As PointNet, which stops; the set and the nearest are named."""
    path = written(inputs=clamp(node_set=node_set))
    with pytest.raises(ConfigError, match=nearest) as error:
        clamps(read_simulation(path), network)
    assert "node set" in str(error.value)
    reports = {"voltage": {"cells": node_set, "variable_name": "V_m"}}
    with pytest.raises(ConfigError, match=nearest):
        simulate(written(reports=reports), backend="reference")


@pytest.mark.parametrize("node_set", [{"population": "lgm"}, "lgm", {"population": "v1"}])
def test_spikes_of_nobody_are_refused(written, network, node_set):
    path = written()
    config = json.loads(path.read_text())
    config["inputs"]["lgn_spikes"]["node_set"] = node_set
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="lgn"):
        input_spikes(read_simulation(path), network, 100)


# Keys that mean something.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": {"n_runs": 3}}, "several runs"),
        ({"run": {"duration": 500.0}}, "two names of one time"),
        ({"run": {"tstop": "1000"}}, "valid number"),
        ({"run": {"tstop": float("inf")}}, "finite"),
        ({"run": {"overwrite_output_dir": "false"}}, "valid boolean"),
        ({"inputs": clamp(amp=float("nan"))}, "finite"),
        ({"inputs": clamp(amp="10")}, "amp"),
        ({"inputs": clamp(delay=-1.0)}, "not negative"),
        ({"inputs": clamp(amp=[], delay=[], duration=[])}, "at least one step"),
        ({"inputs": clamp(amp_end=2.0)}, "of the module 'linear'"),
        ({"inputs": clamp(module="relative_linear", percent_start=3)}, "is not supported"),
        ({"inputs": clamp(input_type="voltage_clamp")}, "is not supported"),
        ({"inputs": clamp(input_file="x")}, "a key of 'spikes'"),
        ({"inputs": clamp(gids=[1])}, '"node_id"'),
        ({"reports": {"v": {"cells": "all", "transform": "square"}}}, "transform"),
        ({"reports": {"v": {"cells": "all", "sections": "apic"}}}, "sections"),
        ({"reports": {"v": {"cells": "all", "format": "ASCII"}}}, "format"),
        ({"reports": {"v": {"cells": "all", "unit": "V"}}}, "another unit"),
        ({"reports": {"v": {"cells": "all", "dt": 1.0, "interval": 2.0}}}, "are one key"),
        ({"conditions": {"modifications": {"a": 1}}}, "change the cells"),
        ({"components": {"point_neuron_models_dir": "x"}}, "those of another file"),
        ({"node_set": {"ei": "i"}}, "a part of the cells cannot be simulated alone"),
        ({"output": {"output_dir": "NETWORK", "spikes_file": "v1_nodes.h5"}}, "would replace"),
        ({"run": {"tstop": 1e12}}, "too many steps"),
        ({"output": {"spikes_file": "a", "spikes_file_csv": "a"}}, "two outputs have one file"),
        ({"output": {"spikes_file": "voltage.h5"}}, "two outputs have one file"),
    ],
)
def test_refused_by_name(written, small_network_folder, changes, message):
    output = changes.get("output", {})
    if output.get("output_dir") == "NETWORK":
        output["output_dir"] = str(small_network_folder / "network")
    path = written()
    config = json.loads(path.read_text())
    for key, value in changes.items():
        merged = isinstance(value, dict) and key not in ("reports", "node_set")
        config[key] = {**config.get(key, {}), **value} if merged else value
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=message):
        simulate(path, backend="reference")


@pytest.mark.parametrize(
    "component",
    ["cell_models/100_glif_lif_asc_config.json", "synaptic_models/e_to_e.json"],
)
def test_component_files_are_not_written_over(written, small_network_folder, component):
    folder, name = (small_network_folder / "components" / component).parent, component.split("/")[1]
    before = (folder / name).read_bytes()
    path = written(output={"output_dir": str(folder), "spikes_file": name})
    with pytest.raises(ConfigError, match="would replace what is read"):
        simulate(path, backend="reference")
    assert (folder / name).read_bytes() == before


def test_an_output_folder_is_kept(written, tmp_path):
    path = written(output={"overwrite_output_dir": False}, run={"tstop": 20.0})
    simulate(path, backend="reference")
    with pytest.raises(ConfigError, match="the output folder is not empty"):
        simulate(path, backend="reference")


def test_parrot_neurons_are_a_step_of_delay(written, network):
    path = written()
    plain = input_spikes(read_simulation(path), network, 1000)["lgn"]
    config = json.loads(path.read_text())
    config["inputs"]["lgn_spikes"]["use_parrot_neurons"] = True
    path.write_text(json.dumps(config))
    later = input_spikes(read_simulation(path), network, 1001)["lgn"]
    assert later.row.tolist() == (plain.row + 1).tolist()
    assert later.source.tolist() == plain.source.tolist()


@pytest.mark.nest
def test_parrot_neurons_as_pointnet_has_them(small_network_folder, tmp_path, record_property):
    write_inputs(tmp_path)
    path = configuration(small_network_folder, tmp_path, run={"tstop": 400.0})
    config = json.loads(path.read_text())
    for name in ("lgn_spikes", "bkg_spikes"):
        config["inputs"][name]["use_parrot_neurons"] = True
    path.write_text(json.dumps(config))
    run_pointnet(path, small_network_folder)
    (tmp_path / "output").rename(tmp_path / "pointnet")
    output = simulate(path, backend="reference")
    theirs, ours = (spike_set(f / "spikes.h5", 1.0) for f in (tmp_path / "pointnet", output))
    record_property("spikes_in_nest", len(theirs))
    assert len(theirs) > 100
    assert theirs == ours


def test_spikes_by_id(written):
    path = written(run={"tstop": 300.0}, output={"spikes_sort_order": "by_id",
                                                 "spikes_file_csv": "s.csv"})  # fmt: skip
    output = simulate(path, backend="reference")
    with h5py.File(output / "spikes.h5") as file:
        ids, times = file["spikes/v1/node_ids"][()], file["spikes/v1/timestamps"][()]
        assert file["spikes/v1"].attrs["sorting"] == 1
    assert len(ids) > 20
    order = np.lexsort((times, ids))
    assert order.tolist() == list(range(len(ids)))
    lines = (output / "s.csv").read_text().splitlines()[1:]
    assert [int(line.split()[2]) for line in lines] == ids.tolist()


def test_spikes_between_two_steps(written, tmp_path, network):
    path = written(run={"precise_times": False})
    with pytest.raises(ConfigError, match="a spike lies between two steps"):
        input_spikes(read_simulation(path), network, 1000)
    path = written(run={"precise_times": False, "allow_offgrid_spikes": True})
    assert len(input_spikes(read_simulation(path), network, 1000)["lgn"].row)


# Currents.


def test_linear_currents_have_nanoamperes(written, network):
    path = written(inputs=clamp(module="linear", amp=None, amp_start=0.25))
    found = injected(path, network, 8)[:, 0]
    assert found.tolist() == [0, 0, 250, 250, 250, 0, 0, 0]


def test_a_ramp_has_the_charge_of_its_line(written, network):
    path = written(
        inputs=clamp(module="linear", amp=None, amp_start=0.1, amp_end=0.5, duration=4.0)
    )
    found = injected(path, network, 8)[:, 3]
    assert found.tolist() == pytest.approx([0, 0, 150, 250, 350, 450, 0, 0])
    assert found.sum() == pytest.approx(4.0 * (100 + 500) / 2)


def test_a_table_of_currents(written, network, tmp_path):
    (tmp_path / "c.csv").write_text("t amps\n1.5 10\n3 -20\n5 0\n")
    settings = {"input_type": "csv", "module": "IClamp", "node_set": {"ei": "i"},
                "file": str(tmp_path / "c.csv"), "timestamps_column": "t"}  # fmt: skip
    found = injected(written(inputs={"table": settings}), network, 8, "table")
    assert found[:, N_EXC].tolist() == [0, 0, 10, -20, -20, 0, 0, 0]
    assert not found[:, :N_EXC].any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t amps\n1 x\n", "a value is not a number"),
        ("t amps\n1 inf\n", "not finite"),
        ("t amps\n2 1\n1 1\n", "times do not ascend"),
        ("t current\n2 1\n", "a column is missing"),
        ("t amps\n", "no current in the file"),
    ],
)
def test_tables_that_are_no_current(written, network, tmp_path, text, message):
    (tmp_path / "c.csv").write_text(text)
    settings = {"input_type": "csv", "module": "IClamp", "node_set": "all",
                "file": str(tmp_path / "c.csv"), "timestamps_column": "t"}  # fmt: skip
    with pytest.raises(NetworkError, match=message):
        injected(written(inputs={"table": settings}), network, 8, "table")


def test_a_sweep_of_the_cell_types_database(written, network, tmp_path):
    """Amperes at 4 kHz; a window of it, two ms later; nothing after its end."""
    with h5py.File(tmp_path / "sweep.nwb", "w") as file:
        group = file.create_group("epochs/Sweep_7/stimulus/timeseries")
        group["data"] = np.arange(20) * 1e-12
        group["starting_time"] = 0.0
        group["starting_time"].attrs["rate"] = 4000.0
    settings = {"input_type": "nwb", "module": "IClamp", "node_set": "all", "sweep_id": 7,
                "file": str(tmp_path / "sweep.nwb"), "sweep_window": [1.0, 3.75],
                "delay": 2.0}  # fmt: skip
    found = injected(written(inputs={"sweep": settings}), network, 8, "sweep")[:, 0]
    assert found.tolist() == pytest.approx([0, 0, 0, 4, 8, 12, 0, 0])
    with pytest.raises(NetworkError, match="no such sweep"):
        injected(written(inputs={"sweep": settings | {"sweep_id": 8}}), network, 8, "sweep")


# The rest.


def test_overrides_silence_a_projection(written, network):
    overrides = [
        {"name": "cut", "source": "lgn", "target": "inhibitory", "weight": 0.0},
        {"name": "more", "source": "inhibitory", "target": "v1", "weight": 2.0},
    ]
    path = written(connection_overrides=overrides)
    text = json.loads(path.read_text()) | {"node_sets": {"inhibitory": {"ei": "i"}}}
    path.write_text(json.dumps(text))
    changed = with_overrides(network, read_simulation(path))
    inhibitory = network.cells.attributes["ei"] == "i"
    for name, factor_of in (
        ("lgn_to_v1", lambda e: np.where(inhibitory[e.target_index], 0.0, 1.0)),
        ("v1_to_v1", lambda e: np.where(inhibitory[e.source_index], 2.0, 1.0)),
        ("bkg_to_v1", lambda e: np.ones(len(e))),
    ):
        edges = network.edges[name]
        expected = edges.weight * factor_of(edges)
        np.testing.assert_array_equal(changed.edges[name].weight, expected)
    path = written(connection_overrides=[{"source": "v1", "target": "lgn", "weight": 0.0}])
    with pytest.raises(ConfigError, match="no edge lies between"):
        with_overrides(network, read_simulation(path))


def test_several_variables_become_a_file_each(written):
    report = {"cells": {"ei": "i"}, "variable_name": ["V_m", "I_syn"], "file_name": "both.h5"}
    output = simulate(written(run={"tstop": 30.0}, reports={"both": report}), backend="reference")
    for variable, units in (("V_m", "mV"), ("I_syn", "pA")):
        found = read_report(output / f"both_{variable}.h5")
        assert (found.variable, found.units) == (variable, units)
        assert found.data.shape == (30, N_V1 - N_EXC)
    assert not (output / "both.h5").exists()


def test_two_files_as_build_env_writes_them(written, tmp_path, small_network_folder):
    inner = written(run={"tstop": 30.0})
    config = json.loads(inner.read_text())
    network = config.pop("network")
    inner.write_text(json.dumps(config))
    outer = tmp_path / "config.json"
    outer.write_text(json.dumps({"network": network, "simulation": inner.name}))
    simulation = read_simulation(outer)
    assert simulation.path == inner
    assert simulation.circuit.path == small_network_folder / "circuit_config.json"
    assert (simulate(outer, backend="reference") / "spikes.h5").is_file()
    outer.write_text(json.dumps({"network": network, "simulation": inner.name, "rum": 1}))
    with pytest.raises(ConfigError, match="unknown key 'rum'"):
        read_simulation(outer)


def test_replayed_spikes_are_heard_by_all(written, network, tmp_path):
    """libsonata's node_set are the cells that hear; BMTK's the cells that spike."""
    replay = {"input_type": "spikes", "module": "synapse_replay", "node_set": "all",
              "spike_file": str(tmp_path / "lgn_spikes.h5"), "delay": 0.0,
              "duration": TSTOP}  # fmt: skip
    path = written(inputs={"replay": replay})
    config = json.loads(path.read_text())
    config["inputs"] = {"replay": replay}
    path.write_text(json.dumps(config))
    assert len(input_spikes(read_simulation(path), network, 1000)["lgn"].row) > 100
    for change, message in (
        ({"node_set": {"ei": "i"}}, "only some cells hear"),
        ({"duration": 10.0}, "end before the run"),
        ({"delay": 5.0}, "replayed later"),
    ):
        config["inputs"] = {"replay": replay | change}
        path.write_text(json.dumps(config))
        with pytest.raises(ConfigError, match=message):
            input_spikes(read_simulation(path), network, 1000)


def test_delays_below_a_step_are_said(written):
    said = []
    path = written(run={"tstop": 4.0, "dt": 2.0}, reports={}, inputs={})
    config = json.loads(path.read_text()) | {"reports": {}, "inputs": {}}
    path.write_text(json.dumps(config))
    simulate(path, backend="reference", say=said.append)
    assert any("v1_to_v1 have a delay below the step of 2 ms (0.9 ms)" in text for text in said)
    said.clear()
    config["run"] = {"tstop": 1.0, "dt": 0.1}
    path.write_text(json.dumps(config))
    simulate(path, backend="reference", say=said.append)
    assert not said
