"""Ablations of short-term plasticity: what is removed, and that the mean efficacy stays."""

import numpy as np
import pytest
import torch
from handmade import make_network, with_plasticity

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.ablations.plasticity import efficacy
from v1builder.model import plasticity
from v1builder.schema.errors import NetworkError

VALUES = {
    name: values
    for name, values in with_plasticity(make_network()).edges["v1_to_v1"].plasticity.values.items()
    if name in ("U", "tau_rec", "tau_fac")
}


@pytest.fixture
def plastic(network):
    return with_plasticity(network)


@pytest.fixture
def rates(network):
    return np.random.default_rng(1).uniform(0, 20, network.n_cells)


def efficacy_of(edges, rates):
    table = edges.plasticity
    if table is None:
        return np.ones(len(edges))
    values = [np.append(table.values[k], 1.0)[table.group_of] for k in ("U", "tau_rec", "tau_fac")]
    found = efficacy(*values, rates[edges.source_index])
    return np.where(table.group_of >= 0, found, 1.0)


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize("rate", [2.0, 20.0])
def test_the_efficacy_is_that_of_the_model_under_poisson_spikes(row, rate):
    """Without facilitation exactly; with it u and x are correlated, which the formula leaves out."""
    generator = torch.Generator().manual_seed(row)
    spikes = (
        torch.rand(40_000, 200, dtype=torch.float64, generator=generator) < rate / 1000
    ).double()
    parameters = (torch.tensor([VALUES[k][row]]) for k in ("U", "tau_rec", "tau_fac"))
    p = plasticity.coefficients(*parameters, 1.0)
    u, x = torch.zeros(1, 200, dtype=torch.float64), torch.ones(1, 200, dtype=torch.float64)
    total = torch.zeros(())
    for z in spikes[:, None]:
        release, u, x = plasticity.step(u, x, z, p)
        total = total + release.sum()
    expected = efficacy(*(VALUES[k][row] for k in ("U", "tau_rec", "tau_fac")), np.array(rate))
    tolerance = 0.01 if VALUES["tau_fac"][row] == 0 else 0.06
    assert (total / spikes.sum()).item() == pytest.approx(float(expected), rel=tolerance)


def test_no_stp_keeps_resting_weights(plastic):
    edges = parse_ablation("no_stp")(plastic).edges["v1_to_v1"]
    assert edges.plasticity is None
    assert np.array_equal(edges.weight, plastic.edges["v1_to_v1"].weight)


@pytest.mark.parametrize("name", ["no_stp_matched", "stp_mean", "stp_shuffle"])
def test_the_mean_efficacy_of_every_edge_stays(plastic, rates, name):
    before = plastic.edges["v1_to_v1"]
    after = parse_ablation(name)(plastic, seed=3, rates=rates).edges["v1_to_v1"]
    assert np.allclose(
        after.weight * efficacy_of(after, rates), before.weight * efficacy_of(before, rates)
    )
    static = before.plasticity.group_of < 0
    assert np.array_equal(after.weight[static], before.weight[static])
    assert not np.allclose(after.weight, before.weight)


def test_the_mean_is_over_edges(plastic, rates):
    table = parse_ablation("stp_mean")(plastic, rates=rates).edges["v1_to_v1"].plasticity
    used = plastic.edges["v1_to_v1"].plasticity.group_of
    used = used[used >= 0]
    assert np.allclose(table.values["U"], VALUES["U"][used].mean())
    assert np.allclose(table.values["tau_rec"], np.exp(np.log(VALUES["tau_rec"][used]).mean()))
    assert np.array_equal(table.values["u"], table.values["U"])


def test_shuffled_triples_are_the_same_triples(plastic, rates):
    shuffled = parse_ablation("stp_shuffle")
    table = shuffled(plastic, seed=3, rates=rates).edges["v1_to_v1"].plasticity
    found = {tuple(t) for t in np.stack([table.values[k] for k in VALUES], axis=1).tolist()}
    assert found == {tuple(t) for t in np.stack(list(VALUES.values()), axis=1).tolist()}
    seeds = [shuffled(plastic, seed=s, rates=rates).edges["v1_to_v1"].plasticity for s in range(6)]
    assert len({tuple(t.values["U"]) for t in seeds}) > 1


def test_a_static_network_is_refused(network):
    with pytest.raises(NetworkError, match="no short-term plasticity"):
        parse_ablation("no_stp")(network)
