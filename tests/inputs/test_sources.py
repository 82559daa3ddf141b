import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from example_nodes import units
from lgn_nodes import lgn_nodes

from v1builder.inputs import FilterSource, PoissonSource, input_sources
from v1builder.lgn import LGN, LGN_CLASSES
from v1builder.load import load_network
from v1builder.load.network import EdgePopulation, GroupedValues, Network, NodePopulation
from v1builder.schema.errors import NetworkError


def edges(source, source_index):
    n = len(source_index)
    return EdgePopulation(
        f"{source}_to_v1", source, "v1", np.asarray(source_index, np.int32), np.zeros(n, np.int32),
        np.ones(n, np.int64), np.ones(n), np.ones(n, np.int32), np.ones(n, np.float32),
        np.zeros(n, np.int16), pd.DataFrame(),
    )  # fmt: skip


def network(*populations, projecting=None):
    """One cell; every unit projects to it unless `projecting` says which."""
    ids = np.zeros(1, np.int64)
    cells = NodePopulation(
        "v1", ids, ids, {"model_type": np.array(["point_neuron"])}, pd.DataFrame()
    )
    nodes = {"v1": cells} | {p.name: p for p in populations}
    links = {
        f"{p.name}_to_v1": edges(p.name, (projecting or {}).get(p.name, range(len(p))))
        for p in populations
    }
    links["v1_to_v1"] = edges("v1", [0])
    empty = GroupedValues({}, ids, ())
    return Network(nodes, links, "v1", empty, empty, np.zeros(1))


def test_the_nodes_say_what_an_input_is():
    rates = np.array([5.0, 0.0, 80.0])
    found = input_sources(
        network(units("noise", 3, rate_Hz=rates), units("bkg", 2, rate_Hz=[7, 7] * np.ones(2)),
                lgn_nodes(1, seed=0)),
        dt=0.5,
    )  # fmt: skip
    # What sees comes first, then by name, whatever the order of the files.
    assert list(found) == ["lgn", "bkg", "noise"]
    assert isinstance(found["lgn"], FilterSource)
    assert isinstance(found["noise"], PoissonSource)
    assert [(s.n_units, s.sees, s.dt) for s in found.values()] == [
        (14, True, 0.5), (2, False, 0.5), (3, False, 0.5),
    ]  # fmt: skip
    assert found["noise"].gray_rates().tolist() == rates.tolist()


def test_number_and_rate_come_from_the_nodes():
    source = input_sources(
        network(units("bkg", 40, rate_Hz=np.r_[np.full(30, 10.0), np.zeros(10)])), dt=1.0
    )
    spikes = source["bkg"].gray(20, 1000, torch.Generator().manual_seed(0))
    assert spikes.shape == (20, 1000, 40)
    assert spikes[:, :, 30:].sum() == 0
    expected = 20 * 30 * 10.0
    assert abs(spikes.sum().item() - expected) < 4 * expected**0.5


def test_gray_lgn_units_fire_at_their_spontaneous_rates_and_others_are_not_evaluated():
    nodes = lgn_nodes(1, seed=0)
    found = input_sources(network(nodes, projecting={"lgn": [3, 3, 5]}), dt=1.0)["lgn"]
    expected = np.zeros(14)
    expected[[3, 5]] = np.array([kind.spontaneous_rate for kind in LGN_CLASSES.values()])[[3, 5]]
    assert found.gray_rates().numpy() == pytest.approx(expected)
    # The rate after a long gray movie, evaluated frame by frame.
    raster = LGN(nodes).raster
    movie = torch.zeros(700, *raster.shape)
    assert LGN(nodes).rates(movie)[-1, [3, 5]].numpy() == pytest.approx(expected[[3, 5]])


def test_filters_win_over_rates():
    """An LGN whose nodes also tell a mean rate still sees."""
    nodes = lgn_nodes(1, seed=0)
    both = dataclasses.replace(nodes, attributes=nodes.attributes | {"rate_Hz": np.ones(14)})
    assert input_sources(network(both), dt=1.0)["lgn"].sees


def test_nodes_that_do_not_say_how_they_fire_are_all_named():
    with pytest.raises(NetworkError) as error:
        input_sources(network(units("vis", 3), units("other", 2, x=np.zeros(2))), dt=1.0)
    assert [problem.where for problem in error.value.problems] == [
        "node population 'other'", "node population 'vis'",
    ]  # fmt: skip
    for said in ("rate_Hz", "model_template", "lgnmodel:sON_TF1"):
        assert said in str(error.value)


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_a_rate_that_is_none_names_its_node(wrong):
    rates = np.array([1.0, wrong, 2.0])
    with pytest.raises(NetworkError, match=r"node_id 11, column rate_Hz \(1 of 3 nodes\)"):
        input_sources(network(units("bkg", 3, rate_Hz=rates)), dt=1.0)


def test_a_rate_that_is_text_is_refused():
    with pytest.raises(NetworkError, match="not a rate"):
        input_sources(network(units("bkg", 1, rate_Hz=np.array(["fast"], object))), dt=1.0)


def test_a_built_column_says_all_itself(small_column):
    found = input_sources(load_network(small_column), dt=1.0)
    assert [(name, source.sees) for name, source in found.items()] == [
        ("lgn", True),
        ("bkg", False),
    ]
    assert found["bkg"].gray_rates().unique().tolist() == [250.0]
    assert found["bkg"].n_units == 100


def test_a_hand_made_network_of_mute_nodes_is_refused(small_network_folder):
    with pytest.raises(NetworkError, match="do not say how they fire"):
        input_sources(load_network(small_network_folder), dt=1.0)
