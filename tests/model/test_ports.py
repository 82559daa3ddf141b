"""Ports of equal kinetics made one: what they are, and that nothing but the number of states changes."""

import numpy as np
import pytest
import torch
from networks import random_network

from v1builder.load.network import GroupedValues
from v1builder.model import V1Network
from v1builder.model.ports import distinct_ports
from v1builder.schema.errors import ConfigError

F64 = torch.float64
KINETICS = ("tau_syn_fast", "tau_syn_slow", "amp_slow")


@pytest.fixture
def network(glif_models, kinetics):
    return random_network(glif_models, kinetics, n=40)


def table(**values):
    rows = {"tau_syn_slow": 1.0, "amp_slow": 0.0, "psc_shape": 0.0, **values}
    shape = np.shape(rows["tau_syn_fast"])
    arrays = {name: np.broadcast_to(value, shape).astype(float) for name, value in rows.items()}
    return GroupedValues(arrays, np.zeros(1, int), ("a",) * shape[0])


def test_equal_ports_become_one_in_every_group_alone():
    receptors = table(tau_syn_fast=[[5, 2, 5, 2], [1, 2, 3, 1], [4, 4, 4, 4]])
    merged, place = distinct_ports(receptors)
    found = merged.values["tau_syn_fast"]
    assert found.shape == (3, 3)
    back = np.take_along_axis(found, place, axis=1)
    np.testing.assert_array_equal(back, receptors.values["tau_syn_fast"])
    assert [len(set(row)) for row in place] == [2, 3, 1]


@pytest.mark.parametrize("name", ["tau_syn_slow", "amp_slow", "psc_shape"])
def test_ports_that_differ_in_anything_stay_apart(name):
    merged, place = distinct_ports(table(tau_syn_fast=[[2, 2, 2]], **{name: [[1, 0, 1]]}))
    assert merged.values[name].shape == (1, 2)
    assert place[0, 0] == place[0, 2] != place[0, 1]


@pytest.mark.parametrize("backend", ["reference", "fused"])
def test_a_network_does_the_same_with_ports_merged_or_apart(network, backend):
    """They are apart where kinetics are learned: same spikes, voltages and gradients of the weights."""
    weights = [f"{name}.weight" for name in network.edges]
    merged = V1Network(network, dtype=F64, backend=backend, trainable=weights)
    apart = V1Network(network, dtype=F64, backend=backend, trainable=[*weights, *KINETICS])
    n_ports = network.receptors.values["amp_slow"].shape[1]
    assert apart.initial_state().y1_fast.shape[2] == n_ports
    assert merged.initial_state().y1_fast.shape[2] < n_ports
    generator = torch.Generator().manual_seed(1)
    lgn = torch.rand(2, 150, merged.input_sizes["lgn"], generator=generator) < 0.05
    voltages, spikes = [], []
    for model in (merged, apart):
        rollout = model({"lgn": lgn}, record_voltage=True)
        (rollout.voltage.square().mean() + rollout.spikes.mean()).backward()
        voltages.append(rollout.voltage.detach())
        spikes.append(rollout.spikes.detach())
    assert spikes[0].sum() > 50
    assert torch.equal(*spikes)
    torch.testing.assert_close(*voltages, rtol=1e-9, atol=1e-9)
    for name in network.edges:
        one, two = (model.edges[name].log_scale.grad for model in (merged, apart))
        assert one.abs().max() > 0
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9 * float(one.abs().max()))


@pytest.mark.parametrize("backend", ["reference", "fused"])
def test_the_state_of_a_model_of_other_ports_is_refused(network, backend):
    merged = V1Network(network, backend=backend, trainable=[])
    apart = V1Network(network, backend=backend, trainable=["amp_slow"])
    lgn = torch.zeros(1, 3, merged.input_sizes["lgn"], dtype=torch.bool)
    with pytest.raises(
        ConfigError, match=f"{merged.n_ports} ports(.|\n)*and {apart.n_ports} ports"
    ):
        apart({"lgn": lgn}, state=merged.initial_state())


def test_ports_stay_apart_where_kinetics_are_regrouped(network):
    model = V1Network(network, group_by={"amp_slow": "ei"}, trainable=[])
    assert model.cells.amp_slow().shape == network.receptors.per_cell("amp_slow").shape
