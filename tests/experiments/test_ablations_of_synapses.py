import dataclasses

import numpy as np
import pytest
from handmade import with_boundary

from v1builder.experiments.ablations import parse_ablation
from v1builder.load.network import GroupedValues
from v1builder.schema.errors import NetworkError


def test_delay_uniform(network):
    ablated = parse_ablation("delay_uniform")(network)
    delay = ablated.edges["v1_to_v1"].delay
    before = network.edges["v1_to_v1"].delay
    assert delay.dtype == np.float32
    np.testing.assert_allclose(delay, before.mean(), rtol=1e-6)
    np.testing.assert_array_equal(
        ablated.edges["lgn_to_v1"].delay, network.edges["lgn_to_v1"].delay
    )
    steps = ablated.provenance["ablations"][-1]["different_delays_at_dt_ms"]
    assert steps == {"1": 3, "0.5": len(np.unique(np.floor(before / 0.5 + 0.5)))}


def test_boundary_cells_are_recurrent_sources_too(network):
    whole = with_boundary(network)
    ablated = parse_ablation("delay_uniform")(whole)
    delays = np.concatenate([whole.edges[n].delay for n in ("v1_to_v1", "boundary_to_v1")])
    for name in ("v1_to_v1", "boundary_to_v1"):
        np.testing.assert_allclose(ablated.edges[name].delay, delays.mean(), rtol=1e-6)
    assert ablated.edges["lgn_to_v1"] is whole.edges["lgn_to_v1"]
    del whole.edges["v1_to_v1"]
    parse_ablation("delay_uniform")(whole)


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


def test_tau_syn_pair_mean_is_one_kinetics_per_port_and_population(network):
    """Kinetics that differ between cell models become the mean over the edges onto the population's port."""
    rng = np.random.default_rng(4)
    of_model = network.membrane.group_of
    values = {
        "tau_syn_fast": rng.uniform(1, 6, (7, 3)),
        "tau_syn_slow": rng.uniform(8, 30, (7, 3)),
        "amp_slow": rng.uniform(0.1, 1, (7, 3)),
        "psc_shape": np.zeros((7, 3)),
    }
    labels = tuple(f"model-{m}" for m in range(7))
    network = dataclasses.replace(network, receptors=GroupedValues(values, of_model, labels))
    ablated = parse_ablation("tau_syn_pair_mean")(network)
    for name in network.edges:
        np.testing.assert_allclose(charge(ablated, name), charge(network, name), rtol=1e-4)
    assert not np.allclose(ablated.edges["v1_to_v1"].weight, network.edges["v1_to_v1"].weight)
    pop = network.cells.attributes["pop_name"]
    target = np.concatenate([e.target_index for e in network.edges.values()])
    port = np.concatenate([e.receptor for e in network.edges.values()])
    for population in np.unique(pop):
        for receptor in range(3):
            own = (pop[target] == population) & (port == receptor)
            fast = values["tau_syn_fast"][of_model[target[own]], receptor]
            amp = values["amp_slow"][of_model[target[own]], receptor]
            row = ablated.receptors.group_of[pop == population][0]
            found = ablated.receptors.values
            assert found["tau_syn_fast"][row, receptor] == pytest.approx(
                np.exp(np.log(fast).mean())
            )
            assert found["amp_slow"][row, receptor] == pytest.approx(amp.mean())
    record = ablated.provenance["ablations"][-1]
    assert record == {"name": "tau_syn_pair_mean", "kinetics_before": 21, "kinetics_after": 12}


def test_kinetics_that_are_by_pair_already_stay(network):
    ablated = parse_ablation("tau_syn_pair_mean")(network)
    for name in ("tau_syn_fast", "tau_syn_slow", "amp_slow"):
        before, after = (n.receptors.per_cell(name) for n in (network, ablated))
        np.testing.assert_allclose(after, before, rtol=1e-12)


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
