import dataclasses

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from v1builder.analysis.graph import population_graph, projection_table, write_graphml
from v1builder.load.network import EdgePopulation, GroupedValues, Network, NodePopulation
from v1builder.schema.errors import StorageError


def edge_population(name, source, pairs, weight, delay):
    pre, post = np.array(pairs, np.int32).T
    n = len(pairs)
    return EdgePopulation(
        name,
        source,
        "v1",
        pre,
        post,
        np.ones(n, np.int64),
        np.asarray(weight, np.float64),
        np.full(n, 2, np.int32),
        np.full(n, delay, np.float32),
        np.zeros(n, np.int16),
        pd.DataFrame(),
    )


@pytest.fixture
def network():
    """Cells 0 1 2 are e4Rorb, 3 4 are i4Sst; 2 LGN units without pop_name."""
    cells = NodePopulation(
        "v1",
        np.arange(5),
        np.ones(5, np.int64),
        {"pop_name": np.array(["e4Rorb"] * 3 + ["i4Sst"] * 2)},
        pd.DataFrame(),
    )
    lgn = NodePopulation("lgn", np.arange(2), np.ones(2, np.int64), {}, pd.DataFrame())
    recurrent = edge_population(
        "v1_to_v1",
        "v1",
        [(0, 1), (1, 0), (2, 0), (0, 3), (0, 3), (1, 4), (3, 0)],
        [1, 3, 5, 2, 4, 6, -8],
        1.5,
    )
    inputs = edge_population("lgn_to_v1", "lgn", [(0, 0), (1, 0), (0, 2)], [1, 1, 4], 1.75)
    nothing = GroupedValues({}, np.zeros(5, np.int64), ("all",))
    return Network(
        {"v1": cells, "lgn": lgn},
        {"v1_to_v1": recurrent, "lgn_to_v1": inputs},
        "v1",
        nothing,
        nothing,
        np.zeros(5),
    )


def test_graph_by_hand(network):
    graph = population_graph(network)
    assert dict(graph.nodes(data="n_cells")) == {"e4Rorb": 3, "i4Sst": 2, "lgn": 2}
    assert graph.nodes["lgn"]["node_population"] == "lgn"
    assert graph.edges["e4Rorb", "e4Rorb"] == {
        "n_edges": 3,
        "n_pairs": 3,
        "probability": pytest.approx(3 / 6),
        "mean_in_degree": pytest.approx(1.0),
        "mean_weight": pytest.approx(3.0),
        "mean_nsyns": 2.0,
        "mean_delay": 1.5,
        "reciprocity": pytest.approx(2 / 3),
    }
    down = graph.edges["e4Rorb", "i4Sst"]  # (0, 3) twice and (1, 4)
    assert (down["n_edges"], down["n_pairs"]) == (3, 2)
    assert down["probability"] == pytest.approx(2 / 6)
    assert down["mean_in_degree"] == pytest.approx(1.5)
    assert down["mean_weight"] == pytest.approx(4.0)
    assert down["reciprocity"] == pytest.approx(1 / 2)
    assert graph.edges["i4Sst", "e4Rorb"]["reciprocity"] == 1.0
    assert graph.edges["i4Sst", "e4Rorb"]["mean_weight"] == -8.0
    assert not graph.has_edge("i4Sst", "i4Sst")
    lgn = graph.edges["lgn", "e4Rorb"]
    assert lgn["probability"] == pytest.approx(3 / 6)
    assert lgn["mean_weight"] == pytest.approx(2.0)
    assert "reciprocity" not in lgn


def test_edge_populations_between_the_same_cells_are_joined(network):
    edges = network.edges["v1_to_v1"]
    halves = {}
    for name, part in (("a", slice(0, 3)), ("b", slice(3, 7))):
        cut = {
            f.name: getattr(edges, f.name)[part]
            for f in dataclasses.fields(edges)
            if f.name[:2] != "na" and isinstance(getattr(edges, f.name), np.ndarray)
        }
        halves[name] = dataclasses.replace(edges, name=name, **cut)
    split = dataclasses.replace(network, edges=halves | {"lgn_to_v1": network.edges["lgn_to_v1"]})
    assert nx.utils.edges_equal(
        population_graph(split).edges(data=True),
        population_graph(network).edges(data=True),
        directed=True,
    )


def test_inputs_with_populations_of_their_own(network):
    lgn = dataclasses.replace(
        network.nodes["lgn"], attributes={"pop_name": np.array(["sON", "tOFF"])}
    )
    graph = population_graph(dataclasses.replace(network, nodes=network.nodes | {"lgn": lgn}))
    assert set(graph) == {"e4Rorb", "i4Sst", "lgn/sON", "lgn/tOFF"}
    assert graph.edges["lgn/sON", "e4Rorb"]["n_edges"] == 2


def test_a_cell_onto_itself_is_an_edge_but_no_pair(network):
    edges = {"v1_to_v1": edge_population("v1_to_v1", "v1", [(3, 3)], [-1], 1.0)}
    values = population_graph(dataclasses.replace(network, edges=edges)).edges["i4Sst", "i4Sst"]
    assert (values["n_edges"], values["n_pairs"], values["probability"]) == (1, 0, 0.0)
    assert "reciprocity" not in values


def test_graphml_is_read_back_the_same(network, tmp_path):
    graph = population_graph(network)
    write_graphml(graph, tmp_path / "deep" / "graph.graphml")
    back = nx.read_graphml(tmp_path / "deep" / "graph.graphml")
    assert dict(back.nodes(data=True)) == dict(graph.nodes(data=True))
    assert {e: back.edges[e] for e in back.edges} == {e: graph.edges[e] for e in graph.edges}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["graph.graphml"]


def test_graphml_in_an_impossible_place(network, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        write_graphml(population_graph(network), tmp_path / "file" / "graph.graphml")


def test_projection_table(network):
    table = projection_table(population_graph(network)).set_index(["source", "target"])
    assert len(table) == 4
    assert table.loc[("e4Rorb", "i4Sst"), "n_edges"] == 3


def test_probability_of_a_random_network_is_recovered(network):
    rng = np.random.default_rng(0)
    n, p = 400, 0.1
    cells = dataclasses.replace(
        network.cells,
        node_id=np.arange(n),
        node_type_id=np.ones(n, np.int64),
        attributes={"pop_name": np.array(["e4Rorb", "i4Sst"] * (n // 2))},
    )
    connected = rng.random((n, n)) < p
    np.fill_diagonal(connected, False)
    edges = edge_population("v1_to_v1", "v1", np.argwhere(connected), np.ones(connected.sum()), 1.0)
    graph = population_graph(
        dataclasses.replace(network, nodes={"v1": cells}, edges={"v1_to_v1": edges})
    )
    for _, _, values in graph.edges(data=True):
        # 40 000 pairs: standard error of p 0.0015, of reciprocity 0.005
        assert values["probability"] == pytest.approx(p, abs=0.0075)
        assert values["reciprocity"] == pytest.approx(p, abs=0.025)
        assert values["mean_in_degree"] == pytest.approx(p * 200, rel=0.08)
