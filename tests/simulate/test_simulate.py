"""`simulate` against BMTK's PointNet on the same configuration, and against what a user gets wrong."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from elsewhere import played_gpu
from small_network import N_BKG, N_EXC, N_LGN, N_V1

from v1builder.load import load_network
from v1builder.model import V1Network, observation
from v1builder.schema.errors import ConfigError
from v1builder.simulate import simulate
from v1builder.simulate.currents import clamps, current
from v1builder.sonata.reports import read_report
from v1builder.sonata.simulation_config import read_simulation
from v1builder.sonata.spikes import read_spikes, write_spikes

POINTNET = Path(__file__).with_name("pointnet_run.py")
TSTOP = 1000.0
# Chosen by id and all of one type: under pandas 3 PointNet finds no cells by a column of the types
# table, and NEST 3.10 refuses the order in which it names cells of several types.
INHIBITORY = range(N_EXC, N_V1)


def write_inputs(folder, seed=3, inputs=(("lgn", N_LGN, 60.0), ("bkg", N_BKG, 40.0))):
    """Poisson spikes of all inputs (name, units, Hz), at times that lie on no grid."""
    rng = np.random.default_rng(seed)
    spikes = {}
    for name, n, rate in inputs:
        count = rng.poisson(rate * n * TSTOP / 1000)
        spikes[name] = (rng.uniform(0.2, TSTOP, count).round(3), rng.integers(0, n, count))
        write_spikes(folder / f"{name}_spikes.h5", {name: spikes[name]})
    return spikes


def configuration(network, folder, dt=1.0, **changes):
    """The path of a simulation config with spikes, two clamps and a voltage report."""
    settings = {
        "run": {"tstop": TSTOP, "dt": dt},
        "target_simulator": "NEST",
        "network": str(network / "circuit_config.json"),
        "conditions": {"v_init": -70.0},
        "inputs": {
            f"{name}_spikes": {
                "input_type": "spikes",
                "module": "sonata",
                "input_file": str(folder / f"{name}_spikes.h5"),
                "node_set": name,
            }
            for name in ("lgn", "bkg")
        }
        | {
            "clamp": {
                "input_type": "current_clamp",
                "module": "IClamp",
                "node_set": {"population": "v1", "node_id": list(INHIBITORY)},
                "amp": 260.0,
                "delay": 100.0,
                "duration": 300.0,
            },
            "second": {
                "input_type": "current_clamp",
                "module": "IClamp",
                "node_set": {"population": "v1", "node_id": list(INHIBITORY[:4])},
                "amp": 40.0,
                "delay": 350.0,
                "duration": 200.0,
            },
        },
        "output": {"output_dir": str(folder / "output"), "spikes_file": "spikes.h5"},
        "reports": {
            "voltage": {
                "cells": {"population": "v1", "node_id": list(INHIBITORY)},
                "variable_name": "V_m",
                "module": "multimeter_report",
                "sections": "soma",
            }
        },
    }
    for key, value in changes.items():
        settings[key] = {**settings[key], **value} if isinstance(value, dict) else value
    path = folder / "simulation_config.json"
    path.write_text(json.dumps(settings))
    return path


def run_pointnet(path, network):
    """Run a configuration in PointNet, which writes to the output folder that it names."""
    command = [sys.executable, str(POINTNET), str(path)]
    # The circuit says "." for its own folder; PointNet takes that as the working directory.
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=network)
    assert done.returncode == 0, done.stderr[-3000:]


def spike_set(path, dt):
    """(node, step) of every spike of V1."""
    spikes = read_spikes(path)["v1"]
    steps = np.rint(spikes.timestamps / dt).astype(int)
    return set(zip(spikes.node_ids.tolist(), steps.tolist(), strict=True))


def assert_same_spikes(theirs, ours, record_property, least):
    record_property("spikes_in_nest", len(theirs))
    record_property("identical_fraction", len(theirs & ours) / len(theirs | ours))
    assert len(theirs) > least
    assert theirs == ours


@pytest.mark.nest
@pytest.mark.parametrize("dt", [1.0, 0.1])
def test_equals_pointnet_on_nest(dt, small_network_folder, tmp_path, record_property):
    write_inputs(tmp_path)
    path = configuration(small_network_folder, tmp_path, dt)
    run_pointnet(path, small_network_folder)
    (tmp_path / "output").rename(tmp_path / "pointnet")

    output = simulate(path, backend="reference")
    theirs, ours = (spike_set(f / "spikes.h5", dt) for f in (tmp_path / "pointnet", output))
    assert_same_spikes(theirs, ours, record_property, 300)

    expected = read_report(tmp_path / "pointnet/voltage.h5")
    report = read_report(output / "voltage.h5")
    assert report.node_ids.tolist() == expected.node_ids.tolist() == list(INHIBITORY)
    assert (report.start, report.step) == (dt, pytest.approx(dt))
    assert report.units == "mV"
    common = len(expected.data)
    assert common > 0.99 * len(report.data)
    assert np.abs(report.data[:common] - expected.data).max() < 1e-3  # its text files: 3 decimals


@pytest.mark.nest
def test_records_what_pointnet_records(small_network_folder, tmp_path, record_property):
    """Also in refractory periods, in which NEST's currents stand still."""
    write_inputs(tmp_path)
    cells = {"population": "v1", "node_id": list(INHIBITORY)}
    variables = {"threshold": "mV", "ASCurrents_sum": "pA", "I_syn": "pA", "I": "pA"}
    reports = {
        name: {"cells": cells, "variable_name": name, "module": "multimeter_report",
               "sections": "soma"}
        for name in variables
    }  # fmt: skip
    path = configuration(small_network_folder, tmp_path)
    settings = json.loads(path.read_text()) | {"reports": reports}
    path.write_text(json.dumps(settings))
    run_pointnet(path, small_network_folder)
    (tmp_path / "output").rename(tmp_path / "pointnet")
    output = simulate(path, backend="reference")
    assert spike_set(output / "spikes.h5", 1.0) == spike_set(tmp_path / "pointnet/spikes.h5", 1.0)
    for name, units in variables.items():
        expected = read_report(tmp_path / f"pointnet/{name}.h5")
        report = read_report(output / f"{name}.h5")
        assert (report.units, report.variable) == (units, name)
        assert report.node_ids.tolist() == expected.node_ids.tolist()
        common = len(expected.data)
        assert common > 0.99 * len(report.data)
        assert name == "threshold" or np.ptp(expected.data) > 1  # GLIF3: that stands still
        worst = np.abs(report.data[:common] - expected.data).max()
        record_property(f"largest_difference_{name}", float(worst))
        assert worst < 1.1e-3  # 3 decimals in its text files, float32 in both reports


def test_segments_change_nothing(small_network_folder, tmp_path, monkeypatch):
    write_inputs(tmp_path)
    path = configuration(small_network_folder, tmp_path)
    whole = read_spikes(simulate(path, backend="reference") / "spikes.h5")["v1"]
    monkeypatch.setattr(observation, "SEGMENT_STEPS", 37)
    parts = read_spikes(simulate(path, backend="reference") / "spikes.h5")["v1"]
    assert np.array_equal(whole.timestamps, parts.timestamps)
    assert np.array_equal(whole.node_ids, parts.node_ids)


def test_on_another_device(small_network_folder, tmp_path):
    """Played, see `elsewhere`. Spikes, currents and what is reported come back."""
    write_inputs(tmp_path)
    path = configuration(small_network_folder, tmp_path, run={"tstop": 60.0})
    output = simulate(path, backend="reference")
    spikes, voltage = spike_set(output / "spikes.h5", 1.0), read_report(output / "voltage.h5").data
    with played_gpu():
        output = simulate(path, backend="reference", accelerator="cuda")
    assert spike_set(output / "spikes.h5", 1.0) == spikes
    assert np.array_equal(read_report(output / "voltage.h5").data, voltage)
    assert np.ptp(voltage) > 1


def test_does_what_the_model_does(small_network_folder, tmp_path):
    """The same spikes through V1Network by hand, with rows worked out independently."""
    spikes = write_inputs(tmp_path)
    path = configuration(small_network_folder, tmp_path)
    output = simulate(path, backend="reference")
    dense = {}
    for (name, (times, ids)), n in zip(spikes.items(), (N_LGN, N_BKG), strict=True):
        dense[name] = torch.zeros(1, int(TSTOP), n)
        for time, node in zip(times, ids, strict=True):
            dense[name][0, int(np.ceil(time)) - 1, node] += 1
    current = torch.zeros(1, int(TSTOP), N_V1)
    current[0, 100:400, INHIBITORY] += 260.0
    current[0, 350:550, INHIBITORY[:4]] += 40.0
    model = V1Network(load_network(small_network_folder), dtype=torch.float64, backend="reference")
    with torch.no_grad():
        rollout = model(dense, current=current, record_voltage=True)
    written = read_spikes(output / "spikes.h5")["v1"]
    step, cell = rollout.spikes[0].nonzero(as_tuple=True)
    assert written.timestamps.tolist() == (step + 1).tolist()
    assert written.node_ids.tolist() == cell.tolist()
    absolute = rollout.voltage[0, :, INHIBITORY] + model.cells.E_L[INHIBITORY]
    assert np.allclose(read_report(output / "voltage.h5").data, absolute, atol=1e-5)


def test_currents_of_ports_add_up_and_reports_change_no_spike(small_network_folder, tmp_path):
    write_inputs(tmp_path)
    plain = spike_set(
        simulate(configuration(small_network_folder, tmp_path), backend="reference") / "spikes.h5",
        1.0,
    )
    names = ["I_syn", "threshold", *(f"I_syn_{port}" for port in range(1, 11))]
    reports = {
        name: {"cells": "all", "variable_name": name, "start_time": 200, "end_time": 400}
        for name in names
    }
    run = {"tstop": 400.0}
    output = simulate(
        configuration(small_network_folder, tmp_path, run=run, reports=reports),
        backend="reference",
    )
    again = spike_set(output / "spikes.h5", 1.0)
    assert again == {(node, step) for node, step in plain if step <= 400}
    found = {name: read_report(output / f"{name}.h5") for name in names}
    assert all(report.data.shape == (200, N_V1) for report in found.values())
    ports = [found[name].data for name in names[2:]]
    heard = [bool(values.any()) for values in ports]
    assert heard == [True, *[False] * 5, True, False, False, True]  # recurrent, and of the inputs
    np.testing.assert_allclose(sum(ports), found["I_syn"].data, rtol=1e-5, atol=1e-3)
    assert (ports[6] <= 0).all()  # of inhibitory cells
    assert found["I_syn_7"].variable == "I_syn_7"
    # No threshold moves in these cells.
    v_th = load_network(small_network_folder).membrane.per_cell("V_th")
    np.testing.assert_allclose(found["threshold"].data, np.tile(v_th, (200, 1)), rtol=1e-6)


def test_report_window_and_csv(small_network_folder, tmp_path):
    write_inputs(tmp_path)
    window = {
        "voltage": {
            "cells": "all",
            "start_time": 100,
            "end_time": 200,
            "dt": 5,
            "file_name": "v.h5",
        }
    }
    output = {"spikes_file_csv": "spikes.csv"}
    path = configuration(small_network_folder, tmp_path, reports=window, output=output)
    folder = simulate(path, backend="reference")
    report = read_report(folder / "v.h5")
    assert report.times.tolist() == list(range(105, 201, 5))
    assert report.data.shape == (20, N_V1)
    lines = (folder / "spikes.csv").read_text().splitlines()
    assert lines[0] == "timestamps population node_ids"
    assert len(lines) - 1 == len(read_spikes(folder / "spikes.h5")["v1"])


def test_steps_of_one_clamp_replace_each_other(small_network_folder, tmp_path):
    steps = {"amp": [100.0, 50.0], "delay": [10.0, 20.0], "duration": [30.0, 5.0]}
    clamp = {
        "input_type": "current_clamp",
        "module": "IClamp",
        "node_set": {"node_id": [5]},
        **steps,
    }
    write_inputs(tmp_path)
    path = configuration(small_network_folder, tmp_path, inputs={"clamp": clamp})
    network = load_network(small_network_folder)
    own = [c for c in clamps(read_simulation(path), network) if 5 in c.cells][:2]
    injected = current(own, N_V1, 0, 40)[0, :, 5]
    expected = np.zeros(40)
    expected[10:20], expected[20:25] = 100.0, 50.0
    assert injected.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": {"tstop": 10.5}}, "tstop is not a whole number of steps"),
        ({"run": {"tstart": 5.0}}, "a run starts at time 0"),
        (
            {"reports": {"voltage": {"cells": "all", "variable_name": "Vm"}}},
            "unknown variable 'Vm'",
        ),
        (
            {"reports": {"current": {"cells": "all", "variable_name": "I_syn_11"}}},
            r"(?s)unknown variable 'I_syn_11'.*I_syn_10",
        ),
        (
            {"reports": {"current": {"cells": "all", "variable_name": "I_syn_ex"}}},
            "unknown variable 'I_syn_ex'",  # of integrate-and-fire cells
        ),
        (
            {"reports": {"none": {"cells": "all", "variable_name": []}}},
            "a report has no variable",
        ),
        ({"reports": {"voltage": {"cells": "all", "dt": 0.3}}}, "not a whole number of steps"),
        ({"reports": {"voltage": {"cells": "all", "start_time": 2000}}}, "records nothing"),
        ({"output": {"spikes_file_nwb": "s.nwb"}}, "cannot be written as NWB"),
    ],
)
def test_one_message_for_what_cannot_run(changes, message, small_network_folder, tmp_path):
    write_inputs(tmp_path)
    path = configuration(small_network_folder, tmp_path, **changes)
    with pytest.raises(ConfigError, match=message):
        simulate(path, backend="reference")
    assert not list(tmp_path.glob("output/*"))


@pytest.mark.parametrize(
    ("times", "ids", "message"),
    [([0.0], [1], "a spike at time 0"), ([5.0], [N_LGN], "a node that does not exist")],
)
def test_wrong_input_spikes(times, ids, message, small_network_folder, tmp_path):
    write_inputs(tmp_path)
    write_spikes(tmp_path / "lgn_spikes.h5", {"lgn": (times, ids)})
    with pytest.raises(ConfigError, match=message):
        simulate(configuration(small_network_folder, tmp_path), backend="reference")


def test_spikes_of_another_population(small_network_folder, tmp_path):
    write_inputs(tmp_path)
    write_spikes(tmp_path / "lgn_spikes.h5", {"thalamus": ([5.0], [0])})
    with pytest.raises(ConfigError, match="belong to no single input population"):
        simulate(configuration(small_network_folder, tmp_path), backend="reference")
