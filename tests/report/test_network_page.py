"""The page of a network: its figures have the numbers of the network; what that does not say is left out."""

import base64
import dataclasses
import json
import re

import numpy as np
import pytest
from handmade import make_foreign, make_network
from placed_network import placed

from v1builder.report.column import column_data, column_of
from v1builder.report.network_figures import (
    degree_plot,
    lgn_data,
    lgn_of,
    matrix_plot,
    tuning_plots,
    weight_plot,
)
from v1builder.report.network_page import write_network_page

HOSTILE = "e</script><script>window.hacked=1</script>"


@pytest.fixture
def network():
    return placed(make_network())


def numbers(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


def test_probabilities_count_pairs_once_and_no_cell_with_itself(network):
    plot = matrix_plot(network)
    edges, names = network.edges["v1_to_v1"], network.cells.attributes["pop_name"]
    populations = sorted(set(names))
    shown = plot.variants["probability of a connection"]
    found = plot.figure.data[shown[0]].z
    pairs = set(zip(edges.source_index.tolist(), edges.target_index.tolist(), strict=True))
    assert len(pairs) < len(edges)  # some pairs have several edges
    for i, pre in enumerate(populations):
        for j, post in enumerate(populations):
            joined = sum(names[a] == pre and names[b] == post for a, b in pairs)
            n, m = (names == pre).sum(), (names == post).sum()
            assert found[i, j] == pytest.approx(joined / (n * m - (n if pre == post else 0)))
    total = plot.figure.data[plot.variants["edges"][0]].z.sum()
    assert total == len(edges)


def test_degrees_and_weights_are_those_of_all_edges(network):
    plot = degree_plot(network)
    ins = plot.figure.data[plot.variants["in, v1_to_v1"][0]]
    names = network.cells.attributes["pop_name"]
    degree = np.bincount(network.edges["v1_to_v1"].target_index, minlength=network.n_cells)
    expected = [degree[names == name].mean() for name in sorted(set(names))]
    np.testing.assert_allclose(ins.mean, expected)
    weights = weight_plot(network)
    for trace in (weights.figure.data[i] for i in weights.variants["v1_to_v1"]):
        assert np.sum(trace.y) == pytest.approx(1, abs=1e-4)


def test_like_connects_to_like_where_it_was_made_so(network):
    """Against a count over all pairs, of edges that only join cells within 15 degrees."""
    angle = network.cells.attributes["tuning_angle"]
    n = network.n_cells
    apart = np.abs(angle[:, None] - angle) % 180
    apart = np.minimum(apart, 180 - apart)
    source, target = np.nonzero((apart < 15) & ~np.eye(n, dtype=bool))
    first = network.edges["v1_to_v1"]
    every = np.zeros(len(source), np.int64)
    edges = dataclasses.replace(
        first,
        source_index=source.astype(np.int32),
        target_index=target.astype(np.int32),
        **{
            name: getattr(first, name)[every]
            for name in ("edge_type_id", "weight", "nsyns", "delay", "receptor")
        },
    )
    curves = tuning_plots(dataclasses.replace(network, edges={"v1_to_v1": edges}))[1].figure.data
    for curve in curves:
        share = np.asarray(curve.y, float)
        assert share[0] == pytest.approx(1, abs=0.02)  # pairs are counted to a tenth of a degree
        assert np.nanmax(share[2:]) == 0


def test_a_column_with_many_edges_keeps_all_those_of_the_cells_that_can_be_chosen(network):
    whole = column_of(network)
    assert len(whole.chosen) == network.n_cells
    part = column_of(network, edges_max=20)
    assert 1 <= len(part.chosen) < network.n_cells
    assert part.n_edges == len(whole.source)
    for cell in part.chosen:
        for end in ("source", "target"):
            assert (getattr(part, end) == cell).sum() == (getattr(whole, end) == cell).sum()


def test_the_page_can_tell_edges_of_a_cell_from_its_data(network):
    column = column_of(network)
    data = column_data(column)
    sources = np.repeat(np.arange(len(column)), numbers(data["outputs"], "<u4"))
    np.testing.assert_array_equal(sources, column.source)
    np.testing.assert_array_equal(numbers(data["target"], "<u2"), column.target)
    coarse = numbers(data["weight"], np.int8).astype(float)
    weight = np.sign(coarse) * data["top_pA"] * (coarse / 127) ** 2
    assert np.abs(weight - column.weight).max() < 0.01 * data["top_pA"]
    edges = network.edges["lgn_to_v1"]
    lgn = lgn_data(column, *lgn_of(network))
    targets = np.repeat(np.arange(len(column)), numbers(lgn["inputs"], "<u4"))
    np.testing.assert_array_equal(targets, np.sort(edges.target_index))
    x = numbers(lgn["x"], "<f4")[numbers(lgn["unit"], "<u2")]
    own = targets == edges.target_index[0]
    np.testing.assert_array_equal(
        np.sort(x[own]), np.sort(edges.source_index[edges.target_index == edges.target_index[0]])
    )
    assert lgn["on"] == [name == "sON" for name in network.nodes["lgn"].attributes["pop_name"]]


def figures_of(page):
    return re.findall(r'<div class="canvas" id="([^"]+)"', page)


def test_the_page_of_a_network(network, tmp_path):
    names = network.cells.attributes["pop_name"].astype(object)
    names[0] = HOSTILE
    cells = network.cells
    cells = dataclasses.replace(
        cells, attributes=cells.attributes | {"pop_name": names.astype(str)}
    )
    network = dataclasses.replace(network, nodes=network.nodes | {"v1": cells})
    page = write_network_page(network, tmp_path / "page.html", name=HOSTILE).read_text()
    assert set(figures_of(page)) == {
        "column", "matrix", "degrees", "weights", "fields", "tuning", "alike"
    }  # fmt: skip
    assert page.count("<script") == page.count("</script>") == 3
    assert "<script>window.hacked" not in page
    assert "40 from their inputs" in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page).group(1))
    assert HOSTILE in data["column"]["populations"]  # as a name, which the script writes as text
    assert "&lt;/script&gt;" in json.dumps(data["figures"])


def test_a_network_of_others_has_what_it_says(tmp_path):
    page = write_network_page(make_foreign(), tmp_path / "page.html").read_text()
    assert set(figures_of(page)) == {"matrix", "degrees", "weights"}
    assert "The network names no sources." in page
