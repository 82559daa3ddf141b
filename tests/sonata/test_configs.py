"""Circuit and simulation configurations and node sets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from v1builder.schema.errors import ConfigError, NetworkError
from v1builder.sonata import read_circuit, read_simulation, resolve_node_set

NODE_ID = np.array([0, 1, 2, 3])
ATTRIBUTES = {
    "ei": np.array(["e", "e", "i", "i"], dtype=object),
    "x": np.array([0.0, 5.0, -5.0, 9.0]),
    "layer": np.array([2, 4, 2, 5]),
}
SETS: dict[str, Any] = {
    "inhibitory": {"ei": "i"},
    "v1_only": {"population": "v1", "ei": ["e"]},
    "both": ["inhibitory", "v1_only"],
    "loop": ["loop"],
    "ids": [1, 3],
}


@pytest.mark.parametrize(
    ("node_set", "expected"),
    [
        ("all", [0, 1, 2, 3]),
        ("v1", [0, 1, 2, 3]),
        ("inhibitory", [2, 3]),
        ("both", [0, 1, 2, 3]),
        ("ids", [1, 3]),
        ([3, 0], [0, 3]),
        ({"node_id": 2}, [2]),
        ({"node_ids": [0, 2]}, [0, 2]),
        ({"gids": [1]}, [1]),
        ({"population": "lgn"}, []),
        ({"population": ["lgn", "v1"], "layer": [2, 5]}, [0, 2, 3]),
        ({"x": {"$gt": 0, "$lte": 5}}, [1]),
        ({"x": {"$gte": 5}, "ei": "i"}, [3]),
        ({"x": {"$lt": 0}}, [2]),
        ({"ei": {"$regex": "[e]"}}, [0, 1]),
        ({}, [0, 1, 2, 3]),
    ],
)
def test_node_sets(node_set: Any, expected: list[int]) -> None:
    assert resolve_node_set(node_set, "v1", NODE_ID, ATTRIBUTES, SETS).tolist() == expected


@pytest.mark.parametrize(
    ("node_set", "message"),
    [
        ("inhibitry", "inhibitory"),
        ({"eii": "e"}, "did you mean 'ei'"),
        ({"x": {"$great": 1}}, "unknown operator"),
        ("loop", "circle"),
        ([7], "does not exist"),
        (4, "a name, a list or a dictionary"),
    ],
)
def test_bad_node_sets(node_set: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_node_set(node_set, "v1", NODE_ID, ATTRIBUTES, SETS)


def bmtk_config(network: Path) -> dict[str, Any]:
    return {
        "manifest": {"$OUT": "${configdir}/out", "$NET": str(network)},
        "target_simulator": "NEST",
        "network": "$NET/circuit_config.json",
        "run": {"duration": 200.0, "dt": 0.25, "overwrite_output_dir": True, "nsteps_block": 5000},
        "conditions": {"celsius": 34.0, "v_init": -80, "anything": 1},
        "inputs": {
            "lgn": {
                "input_type": "spikes",
                "module": "sonata",
                "input_file": "$OUT/lgn.h5",
                "node_set": "lgn",
            },
            "clamp": {
                "input_type": "current_clamp",
                "module": "IClamp",
                "amp": [10.0, 20.0],
                "delay": [5.0, 50.0],
                "duration": [10.0, 10.0],
                "node_set": {"ei": "i"},
            },
        },
        "output": {"output_dir": "$OUT", "log_file": "log.txt", "spikes_file": "spikes.h5"},
        "reports": {
            "v": {
                "module": "multimeter_report",
                "variable_name": ["V_m"],
                "cells": "all",
                "interval": 1.0,
            }
        },
        "node_sets": {"some": {"node_id": [1]}},
    }


def read(tmp_path: Path, config: dict[str, Any]):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    return read_simulation(path)


def test_bmtk_simulation_config(small_network_folder: Path, tmp_path: Path) -> None:
    simulation = read(tmp_path, bmtk_config(small_network_folder))
    config = simulation.config
    assert (config.run.tstop, config.run.dt, config.run.tstart) == (200.0, 0.25, 0.0)
    assert config.inputs["clamp"].steps == [(5.0, 10.0, 10.0), (50.0, 10.0, 20.0)]
    assert config.reports["v"].variables == ["V_m"]
    assert config.reports["v"].dt == 1.0
    assert simulation.circuit.path == small_network_folder / "circuit_config.json"
    assert simulation.output_path("spikes.h5") == tmp_path / "out" / "spikes.h5"
    assert simulation.input_path(config.inputs["lgn"].input_file or "") == tmp_path / "out/lgn.h5"
    assert simulation.node_sets == {"some": {"node_id": [1]}}


def test_slips_of_the_guide_s_own_examples(small_network_folder: Path, tmp_path: Path) -> None:
    """300_pointneurons and one_cell_iclamp_nest of AllenInstitute/sonata."""
    config = bmtk_config(small_network_folder) | {"mechanisms_dir": "../shared_components"}
    config["reports"]["v"] |= {"module": "membrane_report", "sections": "multimeter_report"}
    assert read(tmp_path, config).config.reports["v"].variables == ["V_m"]
    with pytest.raises(ConfigError, match="sections"):
        config["reports"]["v"]["sections"] = "axon"
        read(tmp_path, config)


def test_networks_may_be_inline_or_beside(small_network_folder: Path, tmp_path: Path) -> None:
    config = bmtk_config(small_network_folder)
    circuit = json.loads((small_network_folder / "circuit_config.json").read_text())
    del config["network"]
    config["manifest"] |= {"$BASE_DIR": "$NET", "$COMPONENTS_DIR": "$BASE_DIR/components"}
    config |= {"components": circuit["components"], "networks": circuit["networks"]}
    inline = read(tmp_path, config).circuit
    beside = read_circuit(small_network_folder)
    assert (inline.nodes, inline.edges) == (beside.nodes, beside.edges)
    assert inline.components == beside.components


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("run", {"tstp": 3}, "did you mean 'tstop'"),
        ("run", {"duration": -1}, "greater than 0"),
        ("run", {"tstart": 300.0}, "must lie before"),
        ("inputs", {"lgn": {"input_type": "spikes", "module": "sonata"}}, "needs 'input_file'"),
        (
            "inputs",
            {"c": {"input_type": "current_clamp", "module": "IClamp", "amp": 1.0}},
            "needs 'duration'",
        ),
        (
            "inputs",
            {
                "c": {
                    "input_type": "current_clamp",
                    "module": "IClamp",
                    "amp": [1.0, 2.0],
                    "duration": 1.0,
                }
            },
            "differ in length",
        ),
        ("inputs", {"c": {"input_type": "voltage_clamp", "module": "x"}}, "input_type"),
        (
            "inputs",
            {"c": {"input_type": "spikes", "module": "sonata", "input_fil": "x"}},
            "did you mean 'input_file'",
        ),
        ("reports", {"v": {"module": "extracellular"}}, "use 'membrane_report'"),
        ("output", {"output_dirr": "x"}, "did you mean 'output_dir'"),
        (None, {"rum": {}}, "did you mean 'run'"),
        (None, {"network": "$NETT/x"}, "did you mean 'NET'"),
    ],
)
def test_bad_simulation_config(
    small_network_folder: Path,
    tmp_path: Path,
    section: str | None,
    change: dict[str, Any],
    message: str,
) -> None:
    config = bmtk_config(small_network_folder)
    if section is None:
        config |= change
    else:
        config[section] = config[section] | change
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, config)


def test_simulation_without_a_network(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="names no network"):
        read(tmp_path, {"run": {"tstop": 1.0}})


def test_simulation_config_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this is a folder"):
        read_simulation(tmp_path)


def test_circular_manifest(tmp_path: Path) -> None:
    path = tmp_path / "circuit_config.json"
    path.write_text(json.dumps({"manifest": {"$A": "$B", "$B": "$A"}, "networks": {"nodes": "$A"}}))
    with pytest.raises(NetworkError, match="manifest variable"):
        read_circuit(path)
