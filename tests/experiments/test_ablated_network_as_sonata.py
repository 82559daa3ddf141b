"""An ablated network is a network: written as SONATA it is read back the same."""

import numpy as np
import pytest
from handmade import every_ablation, some_activity, with_plasticity

from v1builder.experiments.ablate import ablate_network
from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.matching import with_bias
from v1builder.load import load_network, save_network
from v1builder.sonata import validate
from v1builder.verify.networks import pointnet_and_simulate, poisson_spikes, write_configuration


@pytest.mark.parametrize("text", list(every_ablation()))
def test_written_and_read_back(text, small_network_folder, tmp_path):
    network = load_network(small_network_folder)
    recurrent = network.edges["v1_to_v1"]
    # A type is a synapse model; that of the first type stays static.
    network = with_plasticity(
        network, group_of=np.unique(recurrent.edge_type_id, return_inverse=True)[1] % 4 - 1
    )
    ablated = parse_ablation(text)(network, seed=1, activity=some_activity(network))
    ablated = with_bias(ablated, np.array([3.0, -4.0]))
    save_network(ablated, tmp_path / "ablated")
    back = load_network(tmp_path / "ablated")
    for table in ("membrane", "receptors"):
        before, after = getattr(ablated, table), getattr(back, table)
        for name in before.values:
            np.testing.assert_allclose(after.per_cell(name), before.per_cell(name), rtol=1e-9)
    np.testing.assert_allclose(back.bias_current, ablated.bias_current, rtol=1e-9)
    for name, edges in ablated.edges.items():
        order = [
            np.lexsort((e.weight, e.source_index, e.target_index))
            for e in (edges, back.edges[name])
        ]
        for field in ("source_index", "target_index", "receptor", "weight", "delay"):
            np.testing.assert_allclose(
                getattr(back.edges[name], field)[order[1]],
                getattr(edges, field)[order[0]],
                rtol=1e-6,
            )
        assert (back.edges[name].plasticity is None) == (edges.plasticity is None)
        if edges.plasticity is not None:
            for parameter in ("U", "tau_rec", "tau_fac"):
                np.testing.assert_allclose(
                    per_edge(back.edges[name], parameter)[order[1]],
                    per_edge(edges, parameter)[order[0]],
                    rtol=1e-9,
                )


@pytest.mark.nest
def test_a_carried_network_spikes_alike_in_nest(small_column, tmp_path):
    """What `ablate` writes, its weights carried and its background tuned: equal spikes under PointNet."""
    net = tmp_path / "ablated"
    ablate_network(
        small_column, "mean(population) | no_asc", net, n_trials=2, calibration_seconds=4.0
    )
    assert validate(net) == []
    network = load_network(net)
    assert len(network.membrane.labels) == len(set(network.cells.attributes["pop_name"]))
    assert not network.membrane.values["asc_amps"].any()
    inputs = poisson_spikes(
        tmp_path, {"lgn": (len(network.nodes["lgn"]), 8.0), "bkg": (100, 250.0)}
    )
    path = write_configuration(tmp_path, net, inputs, dt=1.0)
    measured = pointnet_and_simulate(path, net, dt=1.0, least=500)
    assert measured.passed, measured


def per_edge(edges, parameter):
    """NaN where an edge is static."""
    return np.append(edges.plasticity.values[parameter], np.nan)[edges.plasticity.group_of]
