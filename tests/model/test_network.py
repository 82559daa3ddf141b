import numpy as np
import pytest
import torch
from networks import random_network

from v1builder.load import load_network, save_network
from v1builder.model import V1Network, load
from v1builder.schema.errors import ConfigError, NetworkError


@pytest.fixture
def network(glif_models, kinetics):
    return random_network(glif_models, kinetics, n=16)


def model_of(network, **options):
    return V1Network(network, backend="reference", **options)


def zeros(*shape):
    return torch.zeros(*shape, dtype=torch.bool)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": {}}, "input 'lgn' is missing"),
        ({"inputs": {"lgm": zeros(1, 5, 10)}}, "did you mean 'lgn'"),
        ({"inputs": {"lgn": zeros(1, 5, 9)}}, r"make it \[batch, time, 10\]"),
        ({"inputs": {"lgn": zeros(5, 10)}}, r"make it \[batch, time, 10\]"),
        ({"inputs": {"lgn": zeros(1, 5, 10)}, "n_steps": 6}, "do not agree on the number of steps"),
        ({"inputs": {"lgn": zeros(1, 0, 10)}}, "at least one step"),
        (
            {"inputs": {"lgn": zeros(1, 5, 10)}, "current": torch.zeros(1, 4, 16)},
            "do not agree on the number of steps",
        ),
        (
            {"inputs": {"lgn": zeros(2, 5, 10)}, "current": torch.zeros(3, 5, 16)},
            "do not agree on the batch",
        ),
        (
            {"inputs": {"lgn": zeros(1, 5, 10)}, "current": torch.zeros(1, 5, 3)},
            "current has a wrong",
        ),
    ],
)
def test_wrong_inputs_are_explained(network, arguments, message):
    with pytest.raises(ConfigError, match=message):
        model_of(network)(**arguments)


def test_state_of_another_batch_is_refused(network):
    model = model_of(network)
    with pytest.raises(ConfigError, match="do not agree on the batch"):
        model({"lgn": zeros(2, 5, 10)}, state=model.initial_state(3))


def test_a_network_without_inputs_runs_on_current(network):
    del network.edges["lgn_to_v1"]
    model = model_of(network)
    with pytest.raises(ConfigError, match="the number of steps is not known"):
        model()
    assert model(n_steps=7).spikes.shape == (1, 7, 16)
    assert model(current=torch.full((1, 300, 16), 1000.0)).spikes.sum() > 0


def test_the_default_trains_all_weights(network):
    names = [name for name, _ in model_of(network).named_parameters()]
    assert names == ["edges.v1_to_v1.log_scale", "edges.lgn_to_v1.log_scale"]


def test_state_dict_holds_what_is_learned(network):
    model = model_of(network, trainable=["C_m", "v1_to_v1.weight"])
    assert set(model.state_dict()) == {"bias_current", "cells.C_m.raw", "edges.v1_to_v1.log_scale"}
    with torch.no_grad():
        model.cells.C_m.raw += 0.1
    twin = model_of(network, trainable=["C_m", "v1_to_v1.weight"])
    twin.load_state_dict(model.state_dict())
    inputs = {"lgn": torch.rand(1, 40, 10, generator=torch.Generator().manual_seed(0)) < 0.1}
    assert torch.equal(model(inputs).spikes, twin(inputs).spikes)


def test_export_of_an_untrained_model_is_the_network(network):
    exported = model_of(network).export(network)
    assert exported.membrane is network.membrane
    assert exported.receptors is network.receptors
    for name, edges in network.edges.items():
        assert np.allclose(exported.edges[name].weight, edges.weight, rtol=1e-7)


@pytest.mark.parametrize("grouping", ["cell_model", "cell", "population"])
def test_export_gives_a_network_with_the_same_spikes(network, grouping):
    names = ["C_m", "V_th", "V_reset", "asc_amps", "tau_syn_fast", "lgn_to_v1.weight"]
    options = {"dtype": torch.float64, "group_by": grouping}
    model = model_of(network, trainable=names, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(
                parameter.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
            )
    model.bias_current += 3.0
    exported = model.export(network)
    assert (exported.bias_current == 3.0).all()
    inputs = {"lgn": torch.rand(2, 80, 10, generator=torch.Generator().manual_seed(0)) < 0.1}
    again = model_of(exported, dtype=torch.float64, trainable=[])
    with torch.no_grad():
        ours, theirs = model(inputs, record_voltage=True), again(inputs, record_voltage=True)
    assert ours.spikes.sum() > 50
    assert torch.equal(ours.spikes, theirs.spikes)
    assert torch.allclose(ours.voltage, theirs.voltage, atol=1e-10)
    rows = len(exported.membrane.labels)
    assert rows == (len(network.membrane.labels) if grouping == "cell_model" else network.n_cells)


def test_export_of_another_network_is_refused(network, glif_models, kinetics):
    other = random_network(glif_models, kinetics, n=17)
    with pytest.raises(NetworkError, match="made from another network"):
        model_of(network).export(other)


def test_a_folder_becomes_a_module(small_network_folder):
    model = load(small_network_folder, dt=0.5, trainable=["C_m"], backend="reference")
    assert set(model.input_sizes) == {"lgn", "bkg"}
    assert model.dt == 0.5
    with pytest.raises(NetworkError):
        load(small_network_folder / "network")


def test_trained_network_goes_through_sonata(small_network_folder, tmp_path):
    """Load, train a step, export, save, load: the same spikes."""
    network = load_network(small_network_folder)
    names = ["C_m", "asc_amps", "v1_to_v1.weight", "lgn_to_v1.weight"]
    model = model_of(network, dtype=torch.float64, trainable=names)
    generator = torch.Generator().manual_seed(0)
    inputs = {
        name: torch.rand(2, 150, size, generator=generator) < 0.06
        for name, size in model.input_sizes.items()
    }
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    before = model(inputs).spikes
    before.mean().backward()
    optimizer.step()
    save_network(model.export(network), tmp_path / "trained")
    again = model_of(load_network(tmp_path / "trained"), dtype=torch.float64)
    after = model(inputs, record_voltage=True)
    assert not torch.equal(after.spikes, before)
    read = again(inputs, record_voltage=True)
    assert torch.equal(read.spikes, after.spikes)
    # Weights are float32 in SONATA.
    assert torch.allclose(read.voltage, after.voltage, atol=1e-4)
