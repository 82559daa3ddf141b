"""Weights that may change sign: what is learned is a number in a fixed unit."""

import numpy as np
import pytest
import torch
from networks import random_network

from v1builder.model import V1Network
from v1builder.schema.errors import ConfigError

NAME = "v1_to_v1"


@pytest.fixture
def network(glif_models, kinetics):
    return random_network(glif_models, kinetics, n=12)


def spikes_in(steps=60):
    return {"lgn": torch.rand(2, steps, 10, generator=torch.Generator().manual_seed(0)) < 0.1}


@pytest.mark.parametrize("backend", ["reference", "fused"])
def test_the_network_is_the_same_and_so_are_gradients_in_pA(network, backend):
    options = {"dtype": torch.float64, "backend": backend}
    unit = np.linspace(10, 200, len(network.edges[NAME]))
    log, signed = V1Network(network, **options), V1Network(network, **options, signed={NAME: unit})
    found = {}
    for kind, model in (("log", log), ("signed", signed)):
        rollout = model(spikes_in())
        rollout.spikes.mean().backward()
        found[kind] = rollout.spikes
    assert torch.equal(found["log"], found["signed"])
    assert found["log"].sum() > 20
    per_pA = signed.edges[NAME].weight.grad / torch.tensor(unit)
    of_log = log.edges[NAME].log_scale.grad / log.edges[NAME].base
    assert of_log.abs().max() > 0
    torch.testing.assert_close(per_pA, of_log, rtol=1e-9, atol=0)


def test_a_sign_changes_and_a_weight_of_zero_grows(network):
    network.edges[NAME].weight[:5] = 0.0
    model = V1Network(network, backend="reference", signed={NAME: 50.0})
    before = model.edges[NAME]().detach().clone()
    optimizer = torch.optim.Adam([model.edges[NAME].weight], lr=0.5)
    for _ in range(4):
        optimizer.zero_grad()
        model(spikes_in()).spikes.mean().backward()
        optimizer.step()
    after = model.edges[NAME]().detach()
    assert (after.sign() * before.sign() < 0).any()
    assert (after[:5] != 0).any()


def test_they_are_exported(network):
    model = V1Network(network, backend="reference", signed={NAME: 50.0})
    with torch.no_grad():
        model.edges[NAME].weight.neg_()
    assert "edges.v1_to_v1.weight" in model.state_dict()
    exported = model.export(network)
    expected = model.edges[NAME]().detach().double().numpy()
    assert np.array_equal(exported.edges[NAME].weight, expected)
    np.testing.assert_allclose(expected, -network.edges[NAME].weight, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"signed": {"v1_v1": 1.0}}, "did you mean 'v1_to_v1'"),
        ({"signed": {NAME: -1.0}}, "unit of weights is not valid"),
        ({"signed": {NAME: np.ones(3)}}, "unit of weights is not valid"),
        ({"signed": {NAME: 1.0}, "trainable": []}, "must be learned"),
        ({"signed": {NAME: 1.0}, "group_by": {f"{NAME}.weight": "edge_type"}}, "edge_type"),
    ],
)
def test_what_is_wrong_is_said(network, options, message):
    with pytest.raises(ConfigError, match=message):
        V1Network(network, backend="reference", **options)
