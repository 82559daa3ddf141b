"""A layer as SONATA: the same spikes from its files, here and in NEST."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from v1builder.layers import GLIF
from v1builder.load import load_network, save_network
from v1builder.model import V1Network
from v1builder.schema.errors import NetworkError
from v1builder.sonata import validate
from v1builder.sonata.spikes import read_spikes, write_spikes

IN, HIDDEN, STEPS = 6, 20, 300
POINTNET = Path(__file__).parents[1] / "simulate" / "pointnet_run.py"
OPTIONS = {
    "dense": {},
    "dale": {"dale": True},
    "sparse": {"recurrent": 0.3, "delay": (1.0, 7.0), "tau_syn": np.linspace(2, 9, HIDDEN)},
    "no recurrence": {"recurrent": None},
    "plastic": {
        "plasticity": {"U": np.linspace(0.1, 0.9, HIDDEN), "tau_rec": 200.0, "tau_fac": 50.0}
    },
    "learned plasticity": {
        "plasticity": {"U": 0.4, "tau_rec": 100.0},
        "trainable": ["hidden_to_hidden.U", "hidden_to_hidden.tau_rec"],
    },
    "learned plasticity of every edge": {
        "plasticity": {"U": 0.4, "tau_rec": 100.0},
        "trainable": ["hidden_to_hidden.U"],
        "group_by": {"hidden_to_hidden.U": "edge"},
    },
    "learned": {"cells": "mean", "group_by": "cell", "trainable": ["C_m", "asc_amps"]},
}


def layer_of(**options):
    """A layer that has changed since it was made, as by training."""
    layer = GLIF(
        IN, HIDDEN, input="spikes", seed=1, dtype=torch.float64, backend="reference", **options
    )
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in layer.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.1 * noise)
        layer.bias.add_(0.5)
    return layer


def spike_trains():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, STEPS, IN, generator=generator) < 0.05


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_saved_layer_spikes_alike(options, tmp_path):
    layer, x = layer_of(**options), spike_trains()
    folder = save_network(layer.to_network(), tmp_path / "layer")
    assert validate(folder) == []
    loaded = V1Network(load_network(folder), dtype=torch.float64, backend="reference")
    with torch.no_grad():
        expected, _ = layer(x)
        found = loaded({"input": x}).spikes
    assert expected.sum() > 50
    assert torch.equal(found, expected)


def test_currents_can_be_injected_into_the_saved_layer(tmp_path):
    """An input of currents is no part of the files: W x is injected, the bias is in them."""
    layer = GLIF(IN, HIDDEN, seed=1, dtype=torch.float64, backend="reference", bias=1.5)
    folder = save_network(layer.to_network(), tmp_path / "layer")
    loaded = V1Network(load_network(folder), dtype=torch.float64, backend="reference")
    x = torch.randn(1, STEPS, IN, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, _ = layer(x)
        found = loaded(current=layer.unit * (x @ layer.weight_in.T)).spikes
    assert expected.sum() > 50
    assert torch.equal(found, expected)


@pytest.mark.nest
@pytest.mark.parametrize("name", ["dense", "sparse", "plastic"])
def test_nest_gives_the_spikes_of_the_layer(name, tmp_path, record_property):
    layer, x = layer_of(**OPTIONS[name]), spike_trains()
    folder = save_network(layer.to_network(), tmp_path / "layer")
    step, unit = x[0].nonzero(as_tuple=True)
    write_spikes(tmp_path / "in.h5", {"input": (step.numpy() + 1.0, unit.numpy())})
    given = {"input_type": "spikes", "module": "sonata", "node_set": "input"}
    settings = {
        "run": {"tstop": float(STEPS), "dt": 1.0},
        "target_simulator": "NEST",
        "network": str(folder / "circuit_config.json"),
        "inputs": {"spikes": given | {"input_file": str(tmp_path / "in.h5")}},
        "output": {"output_dir": str(tmp_path / "output"), "spikes_file": "spikes.h5"},
    }
    path = tmp_path / "simulation_config.json"
    path.write_text(json.dumps(settings))
    command = [sys.executable, str(POINTNET), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = read_spikes(tmp_path / "output/spikes.h5")["hidden"]
    with torch.no_grad():
        step, cell = layer(x)[0][0].nonzero(as_tuple=True)
    ours = set(zip(cell.tolist(), (step + 1).tolist(), strict=True))
    nest = set(
        zip(theirs.node_ids.tolist(), np.rint(theirs.timestamps).astype(int).tolist(), strict=True)
    )
    record_property("spikes_in_nest", len(nest))
    assert len(ours) > 50
    assert {one for one in ours if one[1] < STEPS} == {one for one in nest if one[1] < STEPS}


def test_a_bias_that_files_cannot_hold_is_refused(tmp_path):
    layer = GLIF(IN, HIDDEN, level=5, seed=1)
    with pytest.raises(NetworkError, match="voltage-dependent threshold"):
        save_network(layer.to_network(), tmp_path / "layer")
    without = GLIF(IN, HIDDEN, level=5, seed=1, bias=None)
    assert validate(save_network(without.to_network(), tmp_path / "without")) == []
