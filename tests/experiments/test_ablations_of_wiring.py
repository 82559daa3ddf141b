"""Ablations of wiring: what stays, what goes, and that every edge is one of its new ends."""

import dataclasses
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from handmade import make_network, with_boundary, with_plasticity

from v1builder import pipeline
from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.ablations.sources import _redrawn
from v1builder.experiments.ablations.wiring import distinct
from v1builder.load import load_network, save_network
from v1builder.load.network import EdgePopulation, NodePopulation
from v1builder.load.psp import unit_psp
from v1builder.model import V1Network
from v1builder.schema.errors import NetworkError
from v1builder.schema.recipe import BoundaryRecipe, BuildRecipe, SynapseRecipe

RECURRENT = ("v1_to_v1", "boundary_to_v1")
WORDS = (
    "type_shuffle",
    "er_pair",
    "er_global",
    "degree_preserving_rewire",
    "flat_distance",
    "no_like_to_like",
)


@pytest.fixture(scope="module")
def column(tmp_path_factory):
    """A real column of short-term plastic synapses with cells around it."""
    folder = tmp_path_factory.mktemp("column") / "network"
    recipe = BuildRecipe(
        boundary=BoundaryRecipe(radius_um=100), synapses=SynapseRecipe(dynamics="stp")
    )
    pipeline.build(folder, radius=50, seed=1, recipe=recipe)
    return load_network(folder)


@pytest.fixture(scope="module")
def rewired(column):
    return {word: parse_ablation(word)(column, seed=3) for word in WORDS}


def ends(network, edges):
    """Population of the source and of the target of every edge."""
    names = (
        np.asarray(network.nodes[name].attributes["pop_name"]).astype(str)
        for name in (edges.source, edges.target)
    )
    return next(names)[edges.source_index], next(names)[edges.target_index]


def degrees(network, name, of="target"):
    """How many edges each (cell, population at the other end) has."""
    edges = network.edges[name]
    source, target = ends(network, edges)
    if of == "target":
        return Counter(zip(edges.target_index.tolist(), source.tolist(), strict=True))
    return Counter(zip(edges.source_index.tolist(), target.tolist(), strict=True))


def psps(network, name, sizes):
    edges = network.edges[name]
    size = np.ones(network.n_cells)
    if sizes:
        groups = pd.Series(network.cells.attributes["target_sizes"].astype(float))
        size = (
            groups / groups.groupby(network.cells.attributes["pop_name"]).transform("mean")
        ).to_numpy()
    return edges.weight * unit_psp(network).of(edges) * size[edges.target_index]


@pytest.mark.parametrize("word", WORDS)
def test_as_many_edges_between_different_cells_of_the_same_signs(column, rewired, word):
    network = rewired[word]
    for name in RECURRENT:
        before, after = column.edges[name], network.edges[name]
        assert len(after) == len(before)
        pairs = set(zip(after.source_index.tolist(), after.target_index.tolist(), strict=True))
        assert len(pairs) == len(after)
        if name == "v1_to_v1":
            assert (after.source_index != after.target_index).all()
        excitatory = network.nodes[after.source].attributes["ei"][after.source_index] == "e"
        assert np.array_equal(after.weight > 0, excitatory)
        old = set(zip(before.source_index.tolist(), before.target_index.tolist(), strict=True))
        new = 1 - len(pairs & old) / len(pairs)
        assert network.provenance["ablations"][-1][name] == {
            "edges": len(after),
            "new": pytest.approx(new),
        }
        assert new > 0.5
        assert np.array_equal(np.sort(after.nsyns), np.sort(before.nsyns))
    for name in ("lgn_to_v1", "bkg_to_v1"):
        assert network.edges[name] is column.edges[name]
    assert network.membrane is column.membrane


@pytest.mark.parametrize("word", WORDS)
def test_every_edge_is_of_the_type_of_its_ends(column, rewired, word):
    """Type, port, delay and synapse model are those that the builder's table has for the two ends."""
    network = rewired[word]
    for name in RECURRENT:
        edges = network.edges[name]
        types = edges.types.loc[edges.edge_type_id]
        source, _ = ends(network, edges)
        node_type = network.cells.node_type_id[edges.target_index].astype(str)
        assert (types["source_query"] == [f"pop_name=='{s}'" for s in source]).all()
        assert (types["target_query"] == [f"node_type_id=='{t}'" for t in node_type]).all()
        assert np.array_equal(types["receptor_type"] - 1, edges.receptor)
        assert np.array_equal(types["delay"].astype(np.float32), edges.delay)
        models = np.array(edges.plasticity.labels)[edges.plasticity.group_of]
        assert (models + ".json" == types["dynamics_params"].to_numpy()).all()


def test_degree_preserving_keeps_every_degree_by_population(column, rewired):
    for name in RECURRENT:
        for of in ("source", "target"):
            assert degrees(rewired["degree_preserving_rewire"], name, of) == degrees(
                column, name, of
            )


@pytest.mark.parametrize("word", ["flat_distance", "no_like_to_like", "degree_preserving_rewire"])
def test_other_sources_leave_each_target_its_synapses(column, rewired, word):
    """In-degree and all weights of a target from each population."""
    for name in RECURRENT:
        before, after = column.edges[name], rewired[word].edges[name]
        rows = []
        for network, edges in ((column, before), (rewired[word], after)):
            source, _ = ends(network, edges)
            rows.append(sorted(zip(edges.target_index.tolist(), source, edges.weight, strict=True)))
        assert rows[0] == rows[1]


def test_er_pair_keeps_the_edges_and_psps_of_every_pair(column, rewired):
    for name in RECURRENT:
        rows = []
        for network, sizes in ((column, True), (rewired["er_pair"], False)):
            source, target = ends(network, network.edges[name])
            frame = pd.DataFrame({"s": source, "t": target, "psp": psps(network, name, sizes)})
            rows.append(frame.sort_values(["s", "t", "psp"], ignore_index=True))
        pd.testing.assert_frame_equal(*rows, rtol=1e-9)
        assert degrees(rewired["er_pair"], name) != degrees(column, name)


def test_er_global_keeps_numbers_and_psps_of_each_sign_and_no_types(column, rewired):
    network = rewired["er_global"]
    for name in RECURRENT:
        before, after = (np.sort(psps(n, name, s)) for n, s in ((column, True), (network, False)))
        np.testing.assert_allclose(after, before, rtol=1e-9)
        edges = network.edges[name]
        nodes, cells = network.nodes[edges.source], network.cells
        for sign in "ei":
            sources = nodes.attributes["ei"] == sign
            own = sources[edges.source_index]
            for population in np.unique(cells.attributes["pop_name"]):
                targets = cells.attributes["pop_name"] == population
                p = targets.mean()
                n = own.sum()
                found = targets[edges.target_index[own]].sum()
                assert abs(found - n * p) < 6 * np.sqrt(n * p * (1 - p)) + 3


def test_random_graphs_have_binomial_in_degrees(column, rewired):
    """Variance over mean of in-degrees: 1 in a random graph, more in the column, whose sizes differ."""
    for word, low, high in (("er_global", 0.8, 1.2), (None, 3, 100)):
        network = rewired[word] if word else column
        degree = np.bincount(network.edges["v1_to_v1"].target_index, minlength=network.n_cells)
        assert low < degree.var() / degree.mean() < high


def test_type_shuffle_is_the_same_graph_with_other_cells_in_it(column, rewired):
    """A permutation of cells that keeps sign: degrees are permuted, PSPs stay, populations are mixed."""
    network = rewired["type_shuffle"]
    for name in RECURRENT:
        before, after = column.edges[name], network.edges[name]
        np.testing.assert_allclose(
            np.sort(psps(network, name, False)), np.sort(psps(column, name, False))
        )
        for sign in "ei":
            for end, nodes in (
                ("source_index", column.nodes[after.source]),
                ("target_index", column.cells),
            ):
                own = nodes.attributes["ei"] == sign
                counts = [
                    np.bincount(getattr(e, end), minlength=len(nodes))[own] for e in (before, after)
                ]
                assert np.array_equal(*(np.sort(c) for c in counts))
                assert not np.array_equal(*counts)
    # the two populations of edges were moved alike: in-degrees of a cell from both belong to one other cell
    both = [
        Counter(
            zip(
                *(
                    np.bincount(n.edges[name].target_index, minlength=n.n_cells)
                    for name in RECURRENT
                ),
                strict=True,
            )
        )
        for n in (column, network)
    ]
    assert both[0] == both[1]
    e4 = column.cells.attributes["pop_name"] == "e4other"
    within = [
        (e4[n.edges["v1_to_v1"].source_index] & e4[n.edges["v1_to_v1"].target_index]).sum()
        for n in (column, network)
    ]
    assert within[0] != within[1]


def bare(network):
    """The network without positions, tuning and sizes."""
    gone = ("x", "y", "z", "tuning_angle", "target_sizes")
    own = {name: v for name, v in network.cells.attributes.items() if name not in gone}
    cells = dataclasses.replace(network.cells, attributes=own)
    return dataclasses.replace(network, nodes=network.nodes | {"v1": cells})


def planted(n=1500, seed=0):
    """One population in a disc; who connects depends on distance and on the difference of directions."""
    rng = np.random.default_rng(seed)
    network = make_network()
    r, phi = 300 * np.sqrt(rng.random(n)), 2 * np.pi * rng.random(n)
    attributes = {
        "model_type": np.full(n, "point_neuron"),
        "pop_name": np.full(n, "e23Cux2"),
        "ei": np.full(n, "e"),
        "x": r * np.cos(phi),
        "z": r * np.sin(phi),
        "tuning_angle": rng.uniform(0, 360, n),
    }
    cells = NodePopulation(
        "v1", np.arange(n), np.full(n, 7000), attributes, network.cells.types.iloc[:1]
    )
    distance, difference = apart(
        attributes, *np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    )
    p = 0.15 * np.exp(-(distance**2) / 2 / 120**2) * (1 + np.cos(np.deg2rad(difference)))
    np.fill_diagonal(p, 0)
    source, target = np.nonzero(rng.random((n, n)) < p)
    e, zeros = len(source), np.zeros(len(source), np.int64)
    edges = EdgePopulation(
        "v1_to_v1", "v1", "v1", source.astype(np.int32), target.astype(np.int32), zeros + 1,
        rng.lognormal(2, 1, e), zeros + 1, np.full(e, 1.5, np.float32), zeros,
        pd.DataFrame(index=pd.Index([1], name="edge_type_id")),
    )  # fmt: skip
    one = np.zeros(n, np.int64)
    return dataclasses.replace(
        network,
        nodes={"v1": cells},
        edges={"v1_to_v1": edges},
        membrane=dataclasses.replace(network.membrane, group_of=one),
        receptors=dataclasses.replace(network.receptors, group_of=one),
        bias_current=np.zeros(n),
    )


def apart(attributes, source, target):
    """Distance (um) and difference of directions (deg) of pairs of cells."""
    x, z, angle = (attributes[name] for name in ("x", "z", "tuning_angle"))
    distance = np.hypot(x[source] - x[target], z[source] - z[target])
    return distance, np.abs((angle[source] - angle[target] + 180) % 360 - 180)


def test_each_removes_its_own_dependence_and_keeps_the_other():
    network = planted()
    edges = network.edges["v1_to_v1"]
    anyone = np.random.default_rng(1).integers(1500, size=len(edges))

    def profile(network):
        """Mean distance and mean difference of directions of connected pairs."""
        e = network.edges["v1_to_v1"]
        return np.array(
            [v.mean() for v in apart(network.cells.attributes, e.source_index, e.target_index)]
        )

    intact = profile(network)
    # targets in the middle have more synapses, and are nearer to anyone, than those at the rim
    chance = np.array(
        [v.mean() for v in apart(network.cells.attributes, anyone, edges.target_index)]
    )
    assert (intact < 0.75 * chance).all()
    removed = {
        word: (profile(parse_ablation(word)(network, seed=2)) - intact) / (chance - intact)
        for word in WORDS
    }
    # shares of the dependence on (distance, tuning) that are gone
    assert removed["flat_distance"][0] == pytest.approx(1, abs=0.05)
    assert abs(removed["flat_distance"][1]) < 0.1  # bins of 45 deg
    assert abs(removed["no_like_to_like"][0]) < 0.1  # tiles of 50 um
    # a tile of few cells prefers something by chance, and keeps its number of edges
    assert removed["no_like_to_like"][1] == pytest.approx(1, abs=0.1)
    for word in ("degree_preserving_rewire", "er_pair", "er_global"):
        np.testing.assert_allclose(removed[word], 1, atol=0.08)
    assert (np.abs(removed["type_shuffle"]) < 0.25).all()
    moved = parse_ablation("type_shuffle")(network, seed=2).edges["v1_to_v1"]
    assert not np.array_equal(moved.source_index, edges.source_index)


def test_draws_are_uniform_and_different():
    rng = np.random.default_rng(0)
    for n_all, n in ((40, 30), (40, 5), (7, 7)):
        counts = sum(np.bincount(distinct(n_all, n, rng), minlength=n_all) for _ in range(3000))
        expected = 3000 * n / n_all
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected) * (n < n_all) + 1e-9
        assert len(np.unique(distinct(n_all, n, rng))) == n
    assert sorted(np.bincount(distinct(5, 12, rng))) == [2, 2, 2, 3, 3]


def test_sources_drawn_anew_are_uniform_within_their_stratum():
    """Target 0 of 12 cells has 3 sources of the first stratum and all 5 of the second, which it keeps."""
    network = make_network()
    source = np.array([1, 2, 3, 7, 8, 9, 10, 11], np.int32)
    edges = dataclasses.replace(
        network.edges["v1_to_v1"], source_index=source, target_index=np.zeros(8, np.int32)
    )
    stratum = np.repeat([0, 1], [7, 5])
    counts = np.zeros(12)
    for seed in range(2000):
        new = _redrawn(edges, stratum, np.random.default_rng(seed))
        assert len(set(new.tolist())) == 8
        counts += np.bincount(new, minlength=12)
    assert counts[0] == 0  # not itself
    assert (counts[7:] == 2000).all()
    assert np.abs(counts[1:7] - 1000).max() < 120


@pytest.mark.parametrize("word", WORDS)
def test_the_seed_decides(word):
    network = planted(200)
    found = [
        parse_ablation(word)(network, seed=seed).edges["v1_to_v1"].source_index
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


@pytest.mark.parametrize(
    "word", ["type_shuffle", "er_pair", "er_global", "degree_preserving_rewire"]
)
def test_networks_without_tables_positions_and_sizes(word):
    """Where types say nothing, edges are like others between such ends, or of their sign."""
    network = with_plasticity(with_boundary(bare(make_network())))
    before, after = network.edges, parse_ablation(word)(network, seed=1).edges
    for name in RECURRENT:
        excitatory = (
            network.nodes[after[name].source].attributes["ei"][after[name].source_index] == "e"
        )
        assert np.array_equal(after[name].receptor == 0, excitatory)
        assert np.array_equal(after[name].weight > 0, excitatory)
        assert set(after[name].delay) <= set(before[name].delay)
    assert set(after["v1_to_v1"].plasticity.group_of) <= {-1, 0, 1, 2}
    assert after["boundary_to_v1"].plasticity is None


def test_what_cannot_be_removed_is_said(network):
    network = bare(network)
    for word, said in (("flat_distance", "no positions"), ("no_like_to_like", "no tuning")):
        with pytest.raises(NetworkError, match=said):
            parse_ablation(word)(network, seed=1)


def inputs_of(network, steps=250):
    """Poisson spikes at 10 Hz (LGN), 2 Hz (boundary) and the background's own 250 Hz."""
    generator = torch.Generator().manual_seed(0)
    rates = {"lgn": 10, "boundary": 2, "bkg": 250}
    return {
        name: torch.poisson(
            torch.full((2, steps, len(network.nodes[name])), rate / 1000), generator=generator
        ).to(torch.uint8)
        for name, rate in rates.items()
    }


@pytest.mark.parametrize("word", WORDS)
def test_it_runs_and_what_was_written_runs_alike(column, rewired, word, tmp_path):
    network = rewired[word]
    save_network(network, tmp_path / "ablated")
    back = load_network(tmp_path / "ablated")
    inputs = inputs_of(network)
    with torch.no_grad():
        spikes = [V1Network(n, dtype=torch.float64)(inputs).spikes for n in (network, back, column)]
    assert spikes[0].mean() * 1000 > 0.2
    assert torch.equal(spikes[0], spikes[1])
    assert not torch.equal(spikes[0], spikes[2])
