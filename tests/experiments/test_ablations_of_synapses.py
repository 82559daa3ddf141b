import dataclasses

import numpy as np
import pytest

from v1builder.experiments.ablations import parse_ablation
from v1builder.schema.errors import NetworkError


def pairs(network):
    pop = network.cells.attributes["pop_name"]
    edges = network.edges["v1_to_v1"]
    names = np.char.add(np.char.add(pop[edges.source_index], ">"), pop[edges.target_index])
    return {name: np.flatnonzero(names == name) for name in np.unique(names)}


def test_weights_pair_mean(network):
    before = network.edges["v1_to_v1"].weight
    ablated = parse_ablation("weights_pair_mean")(network)
    after = ablated.edges["v1_to_v1"].weight
    for at in pairs(network).values():
        np.testing.assert_allclose(after[at], before[at].mean())
    assert ablated.edges["lgn_to_v1"] is network.edges["lgn_to_v1"]


def test_weights_shuffle_permutes_inside_pairs(network):
    before = network.edges["v1_to_v1"].weight
    after = parse_ablation("weights_shuffle")(network, seed=2).edges["v1_to_v1"].weight
    assert not np.array_equal(before, after)
    for at in pairs(network).values():
        np.testing.assert_array_equal(np.sort(before[at]), np.sort(after[at]))


def test_delay_uniform(network):
    ablated = parse_ablation("delay_uniform")(network)
    delay = ablated.edges["v1_to_v1"].delay
    assert delay.dtype == np.float32
    np.testing.assert_allclose(delay, network.edges["v1_to_v1"].delay.mean(), rtol=1e-6)
    np.testing.assert_array_equal(
        ablated.edges["lgn_to_v1"].delay, network.edges["lgn_to_v1"].delay
    )


def charge(network, name):
    """Integral of each edge's current by brute force, pA ms."""
    edges = network.edges[name]
    row = network.receptors.group_of[edges.target_index]
    fast, slow, amp = (
        network.receptors.values[key][row, edges.receptor]
        for key in ("tau_syn_fast", "tau_syn_slow", "amp_slow")
    )
    t = np.linspace(0, 600, 60_001)[:, None]
    current = t / fast * np.exp(1 - t / fast) + amp * t / slow * np.exp(1 - t / slow)
    return edges.weight * np.trapezoid(current, t, axis=0)


def test_tau_syn_uniform_keeps_every_charge(network):
    ablated = parse_ablation("tau_syn_uniform")(network)
    for name in network.edges:
        np.testing.assert_allclose(charge(ablated, name), charge(network, name), rtol=1e-4)
    values = ablated.receptors.values
    excitatory, inhibitory = values["tau_syn_fast"][:, [0, 2]], values["tau_syn_fast"][:, 1]
    assert np.ptp(excitatory) == np.ptp(inhibitory) == 0
    assert excitatory[0, 0] != inhibitory[0]
    before = network.receptors.values["tau_syn_fast"]
    used = [
        before[network.receptors.group_of[e.target_index], e.receptor][e.weight > 0]
        for e in network.edges.values()
    ]
    assert excitatory[0, 0] == pytest.approx(np.exp(np.log(np.concatenate(used)).mean()))


def test_a_receptor_of_both_signs_is_refused(network):
    edges = network.edges["v1_to_v1"]
    mixed = dataclasses.replace(edges, receptor=np.zeros_like(edges.receptor))
    broken = dataclasses.replace(network, edges=network.edges | {"v1_to_v1": mixed})
    with pytest.raises(NetworkError, match="both excitatory and inhibitory"):
        parse_ablation("tau_syn_uniform")(broken)


def test_without_recurrent_edges_there_is_nothing_to_ablate(network):
    alone = dataclasses.replace(network, edges={"lgn_to_v1": network.edges["lgn_to_v1"]})
    with pytest.raises(NetworkError, match="no recurrent edges"):
        parse_ablation("delay_uniform")(alone)
