"""Virtual cells around a small column: they give it the recurrent input of a larger one, and no more."""

import json

import libsonata
import numpy as np
import pandas as pd
import pytest
from column_parts import subset
from scipy import stats
from test_connectivity import N_DRAWS, chi_square_p_value, groups, probabilities

from v1builder import pipeline
from v1builder.build.boundary import boundary_rates, place_boundary, rate_sources
from v1builder.build.cells import join, place_cells, population_counts
from v1builder.build.connectivity import RecurrentSampler, pair_rule
from v1builder.build.random import Purpose, stream_key
from v1builder.load import load_network, save_network
from v1builder.report.inventory import take_inventory
from v1builder.schema.checksums import CHECKSUMS
from v1builder.schema.config import parse_settings
from v1builder.schema.errors import ConfigError
from v1builder.schema.files import hash_folder
from v1builder.schema.recipe import BuildRecipe, CellRecipe, RecurrentRecipe
from v1builder.schema.recordings import QUANTILES
from v1builder.sonata import read_edges, read_nodes
from v1builder.sonata.validate import validate

RADIUS, OUTER = 40.0, 90.0


def recipe(outer=OUTER, **tables):
    return parse_settings({"boundary": {"radius_um": outer}} | tables, BuildRecipe, "recipe")


def surrounded(tables, models, radius, outer, seed, **cell_recipe):
    populations = tables.populations
    choices = recipe(outer, cells=cell_recipe)
    column = place_cells(populations, models["population"], radius, seed, choices.cells)
    return column, place_boundary(populations, populations, radius, seed, choices)


@pytest.fixture(scope="module")
def rule(tables):
    return pair_rule(
        tables.populations, tables.connection_probability, tables.distance_orientation_rule
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("surrounded") / "net"
    return pipeline.build(folder, radius=RADIUS, seed=1, recipe=recipe(), threads=1)


def test_ring_and_column_are_a_larger_column(tables, models):
    column, ring = surrounded(tables, models, 100.0, 300.0, 3)
    populations = tables.populations
    count = np.bincount(ring.population_index) + np.bincount(column.population_index)
    np.testing.assert_array_equal(count, population_counts(populations, 300.0))
    r = np.hypot(ring.x, ring.z)
    assert r.min() >= 100
    assert r.max() <= 300
    assert stats.kstest((r**2 - 100**2) / (300**2 - 100**2), "uniform").pvalue > 1e-3
    assert stats.kstest(np.arctan2(ring.z, ring.x) / (2 * np.pi) % 1, "uniform").pvalue > 1e-3
    for index, row in enumerate(populations.to_dict("records")):
        here = ring.population_index == index
        depth = (-ring.y[here] - row["depth_top_um"]) / (
            row["depth_bottom_um"] - row["depth_top_um"]
        )
        assert stats.kstest(depth, "uniform").pvalue > 1e-4
        angles = np.sort(ring.tuning_angle[here])
        gaps = np.diff(np.append(angles, angles[0] + 360))
        np.testing.assert_allclose(gaps, 360 / len(angles), atol=1e-9)
    assert not ring.target_sizes.any()


def test_no_population_is_negative_when_the_ring_is_thin(tables, models):
    """By largest remainder a population may have one cell fewer in a column that is hardly larger."""
    populations = tables.populations
    fewer = 0
    for radius in np.arange(30.0, 60.0, 0.05):
        more = population_counts(populations, radius + 0.05) - population_counts(
            populations, radius
        )
        if more.min() < 0:
            fewer += 1
            ring = place_boundary(populations, populations, radius, 1, recipe(radius + 0.05))
            assert len(ring) == np.maximum(more, 0).sum()
    assert fewer > 0


def test_poisson_counts_hold_for_the_ring_too(tables, models):
    counts = [
        np.bincount(
            surrounded(tables, models, 50.0, 150.0, seed, poisson_counts=True)[1].population_index,
            minlength=22,
        )
        for seed in range(30)
    ]
    expected = population_counts(tables.populations, 150.0) - population_counts(
        tables.populations, 50.0
    )
    chi_square = ((np.array(counts) - expected) ** 2 / expected).sum()
    law = stats.chi2(30 * 22)
    assert min(law.sf(chi_square), law.cdf(chi_square)) > 1e-4


def test_edges_follow_the_recurrent_rule_pair_by_pair(thinned, tables, rule):
    """Against the independently written table of pair probabilities; only the ring sends edges."""
    inside = np.hypot(thinned.x, thinned.z) < 200.0
    column, ring = subset(thinned, inside), subset(thinned, ~inside)
    cells, n = join(column, ring), len(column)
    found = np.zeros((len(cells), len(cells)), dtype=np.int64)
    for seed in range(N_DRAWS):
        key = stream_key(seed, Purpose.BOUNDARY_EDGES)
        sampler = RecurrentSampler(cells, rule, RecurrentRecipe(), key, first_source=n)
        edges = sampler.sample(0, n)
        assert np.all(np.diff(edges.target.astype(np.int64) * len(cells) + edges.source) > 0)
        found[edges.source, edges.target] += 1
    p = probabilities(cells, tables)
    assert not found[:n].any()
    between = np.s_[n:, :n]
    group = groups(cells, tables)[between]
    assert chi_square_p_value(found[between], p[between], group) > 1e-3
    wrong = probabilities(cells, tables, d=-50.0)
    assert chi_square_p_value(found[between], wrong[between], group) < 1e-9


@pytest.mark.parametrize("core", [20.0, 400.0])
def test_displacement_of_a_target_is_that_in_a_larger_column(thinned, tables, rule, core):
    """Targets within 1.5 core radii are displaced, wherever their sources are."""
    inside = np.hypot(thinned.x, thinned.z) < 200.0
    cells, n = join(subset(thinned, inside), subset(thinned, ~inside)), int(inside.sum())
    found = np.zeros((len(cells), len(cells)), dtype=np.int64)
    for seed in range(N_DRAWS):
        key = stream_key(seed, Purpose.BOUNDARY_EDGES)
        choices = RecurrentRecipe(core_radius_um=core)
        edges = RecurrentSampler(cells, rule, choices, key, first_source=n).sample(0, n)
        found[edges.source, edges.target] += 1
    between = np.s_[n:, :n]
    group = groups(cells, tables)[between]
    p = {of: probabilities(cells, tables, core=of)[between] for of in (20.0, 400.0)}
    assert chi_square_p_value(found[between], p[core], group) > 1e-3
    assert chi_square_p_value(found[between], p[420.0 - core], group) < 1e-9


def in_degree(sampler, targets):
    return np.array([len(sampler.sample(t, t + 1).source) for t in targets])


def test_every_population_has_the_in_degree_of_the_larger_column(tables, models, rule):
    """Cells of a column of 50 um with a boundary to 150 um beside those within 50 um of the axis of a
    column of 150 um: mean in-degree by population, in units of the target's relative size (whose
    spread is most of the in-degree's). Other seeds, so that nothing is shared."""
    n_populations, choices = len(tables.populations), RecurrentRecipe()
    with_boundary, without, larger = [], [], []  # (population, in-degree / size)
    for seed in (1, 2, 3):
        column, ring = surrounded(tables, models, 50.0, 150.0, seed)
        n = len(column)
        own = RecurrentSampler(column, rule, choices, stream_key(seed, Purpose.RECURRENT))
        key = stream_key(seed, Purpose.BOUNDARY_EDGES)
        around = RecurrentSampler(join(column, ring), rule, choices, key, first_source=n)
        degree = [
            np.bincount(sampler.sample(0, n).target, minlength=n) for sampler in (own, around)
        ]
        without.append((column.population_index, degree[0] / column.size_ratio))
        with_boundary.append((column.population_index, sum(degree) / column.size_ratio))
        seed += 100
        cells = place_cells(tables.populations, models["population"], 150.0, seed, CellRecipe())
        sampler = RecurrentSampler(cells, rule, choices, stream_key(seed, Purpose.RECURRENT))
        central = np.flatnonzero(np.hypot(cells.x, cells.z) <= 50)
        degree = in_degree(sampler, central) / cells.size_ratio[central]
        larger.append((cells.population_index[central], degree))

    def z_scores(one, other):
        found = []
        for p in range(n_populations):
            a, b = (
                np.concatenate([degree[of == p] for of, degree in sample])
                for sample in (one, other)
            )
            if min(len(a), len(b)) >= 15:
                error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
                found.append((a.mean() - b.mean()) / error)
        return np.array(found)

    z = z_scores(with_boundary, larger)
    assert len(z) >= 18
    assert stats.chi2(len(z)).sf((z**2).sum()) > 1e-3
    assert np.all(z_scores(without, larger) < -10)
    mean = [
        np.mean(np.concatenate([degree for _, degree in sample]))
        for sample in (with_boundary, larger, without)
    ]
    assert mean[0] / mean[1] == pytest.approx(1, abs=0.02)
    assert mean[2] / mean[1] < 0.2


def test_the_folder_is_valid_and_says_what_it_has(built):
    assert validate(built) == []
    record = json.loads((built / "provenance.json").read_text())
    nodes = read_nodes(built / "network/boundary_nodes.h5")
    edges = read_edges(built / "network/boundary_v1_edges.h5")
    assert record["recipe"]["boundary"] == {"radius_um": OUTER, "rate": "spontaneous_rate_Hz"}
    assert record["n_nodes"]["boundary"] == len(nodes)
    assert record["n_edges"]["boundary_to_v1"] == len(edges.source_id)
    own = record["boundary"]
    assert len(nodes) + own["n_without_target"] == own["n_placed"]
    np.testing.assert_array_equal(np.unique(edges.source_id), np.arange(len(nodes)))
    assert set(nodes.attributes) == {"x", "y", "z", "tuning_angle", "rate_Hz"}
    r = np.hypot(nodes.attributes["x"], nodes.attributes["z"])
    assert r.min() >= RADIUS
    assert r.max() <= OUTER
    storage = libsonata.EdgeStorage(str(built / "network/boundary_v1_edges.h5"))
    population = storage.open_population("boundary_to_v1")
    assert (population.source, population.target) == ("boundary", "v1")
    afferent = population.afferent_edges([5]).flatten()
    np.testing.assert_array_equal(afferent, np.flatnonzero(edges.target_id == 5))


def test_units_without_a_target_are_left_out(tmp_path):
    """Most of a wide ring is out of reach of a small column."""
    only = {"selection": {"populations": ["e5NP", "i6Vip"]}}
    net = pipeline.build(tmp_path / "net", radius=30, seed=1, recipe=recipe(500.0, **only))
    record = json.loads((net / "provenance.json").read_text())
    nodes = read_nodes(net / "network/boundary_nodes.h5")
    edges = read_edges(net / "network/boundary_v1_edges.h5")
    assert 0 < len(nodes) < 0.1 * record["boundary"]["n_placed"]
    np.testing.assert_array_equal(np.unique(edges.source_id), np.arange(len(nodes)))
    types = load_network(net).nodes["boundary"].attributes["pop_name"]
    assert set(types) <= {"e5NP", "i6Vip"}


def test_everything_else_is_as_without_a_boundary(built, tmp_path):
    plain = hash_folder(pipeline.build(tmp_path / "plain", radius=RADIUS, seed=1))
    own = hash_folder(built)
    changed = {name for name in plain if own[name] != plain[name]}
    assert changed == {CHECKSUMS, "provenance.json", "circuit_config.json"}
    assert set(own) - set(plain) == {
        f"network/boundary_{name}"
        for name in ("nodes.h5", "node_types.csv", "v1_edges.h5", "v1_edge_types.csv")
    }


def test_same_seed_same_bytes_whatever_the_number_of_threads(tmp_path):
    """More cells than a block of targets."""
    one, two, other = (
        hash_folder(pipeline.build(tmp_path / name, radius=60, seed=s, threads=n, recipe=recipe()))
        for name, s, n in (("one", 1, 1), ("two", 1, 2), ("other", 2, 2))
    )
    assert one == two
    for name in ("nodes", "v1_edges"):
        assert one[f"network/boundary_{name}.h5"] != other[f"network/boundary_{name}.h5"]


def test_weights_delays_and_ports_are_those_of_recurrent_edges(built):
    text = [
        (built / f"network/{name}_v1_edge_types.csv").read_bytes() for name in ("v1", "boundary")
    ]
    assert text[0] == text[1]
    net = load_network(built)
    sizes = net.cells.attributes["target_sizes"]
    unit_psp = pd.read_csv(built / "reference/unit_psp.csv").set_index(
        ["node_type_id", "receptor_type"]
    )["unit_psp_mV_per_pA"]
    checked = 0
    samples = {}
    for name in ("v1_to_v1", "boundary_to_v1"):
        edges = net.edges[name]
        source = net.nodes[edges.source].attributes["pop_name"].astype(str)[edges.source_index]
        target = net.cells.attributes["pop_name"].astype(str)[edges.target_index]
        ids = net.cells.node_type_id[edges.target_index]
        psp = edges.weight * unit_psp.loc[list(zip(ids, edges.receptor + 1, strict=True))]
        spread = np.log(np.abs(psp.to_numpy()) * sizes[edges.target_index])
        sign = np.where(np.char.startswith(source, "e"), 1, -1)
        np.testing.assert_array_equal(np.sign(edges.weight), sign)
        pairs = pd.DataFrame({"pre": source, "post": target, "psp": spread, "delay": edges.delay})
        samples[name] = dict(iter(pairs.groupby(["pre", "post"])))
    for pair, recurrent in samples["v1_to_v1"].items():
        around = samples["boundary_to_v1"].get(pair)
        if around is None or min(len(recurrent), len(around)) < 50:
            continue
        checked += 1
        assert stats.ks_2samp(recurrent["psp"], around["psp"]).pvalue > 1e-5
        assert set(recurrent["delay"]) == set(around["delay"])
    assert checked > 50


def test_rates_are_the_recorded_quantiles_dealt_out_at_random(built, tables):
    net = load_network(built).nodes["boundary"]
    population = net.attributes["pop_name"].astype(str)
    reference = tables.neuropixels_reference.set_index(["cell_type", "metric"])
    for name, kind in (("e23Cux2", "L2/3 Exc"), ("e5IT", "L5 Exc"), ("i4Pvalb", "L4 PV")):
        rates = net.attributes["rate_Hz"][population == name]
        n = len(rates)
        published = reference.loc[(kind, "spontaneous_rate_Hz"), list(QUANTILES)].astype(float)
        expected = np.interp((np.arange(n) + 0.5) / n, list(QUANTILES.values()), published)
        np.testing.assert_allclose(np.sort(rates), expected)
        place = np.hypot(net.attributes["x"], net.attributes["z"])[population == name]
        for other in (np.arange(n), place, net.attributes["tuning_angle"][population == name]):
            assert stats.spearmanr(rates, other).pvalue > 1e-3


def test_rates_of_others_are_told(built, tables):
    record = json.loads((built / "provenance.json").read_text())["boundary"]["rate_fallbacks"]
    told = {row["population"]: (row["n_units"], len(row["rates_of"])) for row in record}
    vips = dict.fromkeys(("i23Vip", "i4Vip", "i5Vip", "i6Vip"), (16, 4))
    assert told == vips | {"i4Sst": (70, 4)}
    notes = take_inventory(load_network(built)).notes
    assert "recorded spontaneous_rate_Hz" in notes[0]
    assert "  rates of i4Sst are those of L2/3 SST, L4 SST, L5 SST, L6 SST (70 units)" in notes
    assert record == rate_sources(
        tables.populations, tables.neuropixels_reference, "spontaneous_rate_Hz"
    )


def test_rates_over_gratings(tables):
    index = np.repeat(np.arange(22), 400)
    mean, spontaneous = (
        boundary_rates(index, tables.populations, tables.neuropixels_reference, metric, 1)
        for metric in ("mean_rate_Hz", "spontaneous_rate_Hz")
    )
    e4 = index == list(tables.populations["population"]).index("e4Rorb")
    assert np.median(mean[e4]) == pytest.approx(2.163, abs=0.02)
    assert np.median(spontaneous[e4]) == pytest.approx(2.121, abs=0.02)


def test_short_term_plasticity_and_tuned_weights_reach_the_boundary(tmp_path):
    choices = recipe(
        60.0, synapses={"dynamics": "stp"}, recurrent={"weight_tuning": "like_to_like"}
    )
    net = load_network(pipeline.build(tmp_path / "net", radius=30, seed=1, recipe=choices))
    around, own = net.edges["boundary_to_v1"], net.edges["v1_to_v1"]
    assert around.plasticity is not None
    assert (around.plasticity.group_of >= 0).all()
    assert around.plasticity.labels == own.plasticity.labels
    ring = net.nodes["boundary"].attributes
    kind = [ring["pop_name"].astype(str)[around.source_index]]
    kind.append(net.cells.attributes["pop_name"].astype(str)[around.target_index])
    apart = ring["tuning_angle"][around.source_index]
    apart = np.abs(apart - net.cells.attributes["tuning_angle"][around.target_index])
    apart = np.minimum(apart, 360 - apart)
    here = (kind[0] == "e23Cux2") & (kind[1] == "e23Cux2")
    sizes = net.cells.attributes["target_sizes"][around.target_index]
    models = net.cells.node_type_id[around.target_index]
    for model in np.unique(models[here]):
        chosen = here & (models == model)
        if chosen.sum() > 100:
            psp = (around.weight * sizes)[chosen]
            assert stats.spearmanr(psp, apart[chosen]).statistic < -0.99


def test_load_save_load(built, tmp_path):
    once = load_network(built)
    again = load_network(save_network(once, tmp_path / "net"))
    assert validate(tmp_path / "net") == []
    a, b = once.nodes["boundary"], again.nodes["boundary"]
    assert a.is_virtual
    assert b.is_virtual
    np.testing.assert_array_equal(a.attributes["rate_Hz"], b.attributes["rate_Hz"])
    one, two = once.edges["boundary_to_v1"], again.edges["boundary_to_v1"]
    for name in ("source_index", "target_index", "weight", "delay", "receptor"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize(
    ("outer", "message"),
    [
        (20.0, "more than 40 and at most 700 um"),
        (40.0, "more than 40 and at most 700 um"),
        (700.5, "more than 40 and at most 700 um"),
        (np.inf, "finite number"),
    ],
)
def test_a_boundary_that_is_not_around_the_column(tmp_path, outer, message):
    with pytest.raises(ConfigError, match=r"boundary\.radius_um") as error:
        pipeline.build(tmp_path / "net", radius=40, recipe=recipe(outer))
    assert len(error.value.problems) == 1
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_column_has_no_room_for_a_boundary(tmp_path):
    with pytest.raises(ConfigError, match="the column has the full size"):
        pipeline.build(tmp_path / "net", radius=700, recipe=recipe(700.0))


@pytest.mark.parametrize("wrong", [{"radius_um": -5}, {"rate": "rate"}, {"radius": 400}])
def test_bad_tables_of_a_recipe(wrong):
    with pytest.raises(ConfigError, match="boundary"):
        parse_settings({"boundary": wrong}, BuildRecipe, "recipe")
