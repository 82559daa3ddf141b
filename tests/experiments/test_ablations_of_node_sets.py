"""Ablations of the cells of a node set: they change, and no bit of anything else does."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from handmade import (
    every_ablation,
    make_network,
    some_activity,
    with_background,
    with_boundary,
    with_plasticity,
)

from v1builder.experiments.ablate import ablate_network
from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.ablations.cell_sets import read_cells, written
from v1builder.experiments.background import calibrated
from v1builder.load import load_network, save_network
from v1builder.load.groups import group_cells
from v1builder.load.selection import select_cells
from v1builder.model import V1Network
from v1builder.schema.errors import ConfigError
from v1builder.sonata import validate

EDGES = ("source_index", "target_index", "edge_type_id", "weight", "nsyns", "delay", "receptor")
SYNAPSE = ("U", "tau_rec", "tau_fac")
EXCITATORY = '{ei = "e"}'
#: What does nothing, the second up to rounding, to a network in which every population has one kinetics.
NOTHING = ("intact", "tau_syn_pair_mean")


@pytest.fixture(scope="module")
def whole():
    """With every kind of edges; node sets: a core of cells of all populations, and one inside it."""
    network = make_network()
    types = np.arange(len(network.edges["v1_to_v1"])) % 4
    network = with_background(with_boundary(with_plasticity(network, group_of=types - 1)))
    edges = network.edges["v1_to_v1"]
    table = edges.types.iloc[[0] * 4].set_axis(np.arange(1, 5))
    edges = dataclasses.replace(edges, edge_type_id=types + 1, types=table)
    radius = np.hypot(*(network.cells.attributes[name] for name in ("x", "z")))
    attributes = network.cells.attributes | {"radius": radius}
    cells = dataclasses.replace(network.cells, attributes=attributes)
    return dataclasses.replace(
        network,
        nodes=network.nodes | {"v1": cells},
        edges=network.edges | {"v1_to_v1": edges},
        node_sets={
            "core": {"radius": {"$lt": 45.0}},
            "pyramids of the core": {"radius": {"$lt": 45.0}, "ei": "e"},
            "nobody": {"radius": {"$gt": 1000.0}},
        },
    )


def run(text, network):
    return parse_ablation(text)(network, seed=3, activity=some_activity(network))


def with_cells(text, cells):
    return f"{text[:-1]}, cells={cells})" if text.endswith(")") else f"{text}(cells={cells})"


def of_cells(network, cells):
    """All that belongs to some cells, by name."""
    found = {"bias": network.bias_current[cells]}
    for table in (network.membrane, network.receptors):
        found |= {name: table.per_cell(name)[cells] for name in table.values}
    return found


def onto(network, cells, columns=EDGES):
    """[column, edge] of the edges onto some cells by population, in the order of what they are."""
    found = {}
    for name, edges in network.edges.items():
        own = np.isin(edges.target_index, cells)
        values = [getattr(edges, column)[own] for column in columns]
        for parameter in SYNAPSE if edges.plasticity is not None else ():
            values.append(
                np.append(edges.plasticity.values[parameter], -1)[edges.plasticity.group_of][own]
            )
        values = np.array([v.astype(np.float64) for v in values])
        found[name] = values[:, np.lexsort(values)]
    return found


def same(a, b):
    return a.keys() == b.keys() and all(
        a[name].shape == b[name].shape and np.array_equal(a[name], b[name]) for name in a
    )


@pytest.mark.parametrize("cells", ["core", EXCITATORY])
@pytest.mark.parametrize("text", list(every_ablation()))
def test_no_bit_of_other_cells_changes(whole, text, cells):
    ablated = run(with_cells(text, cells), whole)
    chosen = select_cells(whole, read_cells(cells, ""), "")
    others = np.setdiff1d(np.arange(whole.n_cells), chosen)
    assert 0 < len(chosen) < whole.n_cells
    assert same(of_cells(ablated, others), of_cells(whole, others))
    before, after = onto(whole, others), onto(ablated, others)
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
    changed = not same(of_cells(ablated, chosen), of_cells(whole, chosen))
    changed |= not same(onto(ablated, chosen), onto(whole, chosen))
    assert changed or text in NOTHING
    for name, edges in whole.edges.items():
        assert len(ablated.edges[name]) == len(edges)
    (record,) = ablated.provenance["ablations"]
    assert record["name"] == with_cells(text, cells)
    assert record["chosen_cells"] == len(chosen)


@pytest.mark.parametrize("text", list(every_ablation()))
def test_all_cells_are_the_ablation_itself(whole, text):
    restricted, plain = run(with_cells(text, "all"), whole), run(text, whole)
    everyone = np.arange(whole.n_cells)
    assert same(of_cells(restricted, everyone), of_cells(plain, everyone))
    columns = [name for name in EDGES if name != "edge_type_id"]  # new types may have other numbers
    assert same(onto(restricted, everyone, columns), onto(plain, everyone, columns))


def test_a_mean_is_that_of_the_chosen_cells(whole):
    ablated = run("mean(population, cells=core)", whole)
    chosen = select_cells(whole, "core", "")
    groups = group_cells(whole.cells, "population").of_cell
    for name, of in (("g", np.log), ("t_ref", np.asarray)):
        before, after = (of(network.membrane.per_cell(name)) for network in (whole, ablated))
        for group in np.unique(groups[chosen]):
            own = chosen[groups[chosen] == group]
            np.testing.assert_allclose(after[own], before[own].mean(), rtol=1e-12)
    assert not np.allclose(
        run("mean(population)", whole).membrane.per_cell("g")[chosen],
        ablated.membrane.per_cell("g")[chosen],
    )


def test_cells_change_places_among_the_chosen(whole):
    ablated = run("shuffle_across(cells=core)", whole)
    chosen = select_cells(whole, "core", "")
    before, after = whole.membrane.group_of[chosen], ablated.membrane.group_of[chosen]
    assert sorted(after) == sorted(before)
    assert (after != before).any()
    assert ablated.membrane.labels == whole.membrane.labels


def test_rewired_cells_get_sources_inside_and_outside_as_before(whole):
    """Sources that are chosen stay so, and the others: in-degrees from the two do not mix."""
    ablated = run("er_pair(cells=core)", whole)
    inside = np.isin(np.arange(whole.n_cells), select_cells(whole, "core", ""))
    before, after = whole.edges["v1_to_v1"], ablated.edges["v1_to_v1"]
    counts = [
        np.unique(
            np.stack([inside[e.source_index], inside[e.target_index]]), axis=1, return_counts=True
        )[1]
        for e in (before, after)
    ]
    np.testing.assert_array_equal(*counts)
    assert (np.diff(after.target_index) >= 0).all()


def test_one_after_the_other(whole):
    """Ablations of two sets that share no cell do the same in either order."""
    texts = ["mean(population, cells=core)", 'no_asc(cells={radius = {"$gte" = 45.0}})']
    found = [run(" | ".join(order), whole) for order in (texts, texts[::-1])]
    everyone = np.arange(whole.n_cells)
    for name, values in of_cells(found[0], everyone).items():
        np.testing.assert_array_equal(of_cells(found[1], everyone)[name], values)
    assert len(found[0].provenance["ablations"]) == 2


@pytest.mark.parametrize("text", ["no_stp", "stp_mean(global)", "stp_shuffle", "mean(cell_model)"])
def test_written_and_read_back_with_its_node_sets(text, small_network_folder, tmp_path):
    network = load_network(small_network_folder)
    recurrent = network.edges["v1_to_v1"]
    network = with_plasticity(
        network, group_of=np.unique(recurrent.edge_type_id, return_inverse=True)[1] % 4 - 1
    )
    first = str(network.cells.attributes["pop_name"][0])
    network = dataclasses.replace(network, node_sets={"core": {"pop_name": first}})
    ablated = run(with_cells(text, "core"), network)
    save_network(ablated, tmp_path / "net")
    assert validate(tmp_path / "net") == []
    back = load_network(tmp_path / "net")
    assert back.node_sets == network.node_sets
    everyone = np.arange(network.n_cells)
    for name, values in of_cells(back, everyone).items():
        np.testing.assert_allclose(values, of_cells(ablated, everyone)[name], rtol=1e-9)
    columns = [name for name in EDGES if name != "edge_type_id"]
    for name, values in onto(back, everyone, columns).items():
        np.testing.assert_allclose(values, onto(ablated, everyone, columns)[name], rtol=1e-6)


def test_the_background_of_other_cells_is_not_tuned(whole):
    """Also not where they fired too rarely to be tuned one by one, in a population with changed cells."""
    ablated = run("mean(population, cells=core)", whole)
    chosen = select_cells(whole, "core", "")
    others = np.setdiff1d(np.arange(whole.n_cells), chosen)
    rng = np.random.default_rng(0)
    gray = {name: _spikes(rng, len(nodes)) for name, nodes in whole.nodes.items() if name != "v1"}
    tuned = calibrated(
        ablated,
        whole,
        gray,
        model=partial(V1Network, dt=1.0, trainable=[]),
        affected=np.isin(np.arange(whole.n_cells), chosen),
    ).network
    assert same(onto(tuned, others), onto(whole, others))
    assert not same(onto(tuned, chosen), onto(ablated, chosen))


def _spikes(rng, n_units):
    return torch.from_numpy((rng.random((2, 150, n_units)) < 0.25).astype(np.uint8))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no_asc(cells=coer)", "did you mean 'core'"),
        ("no_asc(cells=nobody)", "selects no simulated cell"),
        ('no_asc(cells={pop_name = "e23Cux"})', "did you mean 'e23Cux2'"),
        ('no_asc(cells={popname = "e23Cux2"})', "did you mean 'pop_name'"),
        ('no_asc(cells={radius = {"$let" = 4}})', "did you mean '$lt'"),
        ("mean(ei) | no_asc(cells=coer)", "did you mean 'core'"),
    ],
)
def test_a_set_that_selects_nobody_is_one_message(whole, text, said):
    ablation = parse_ablation(text)
    for asked in (ablation.affected, ablation):
        with pytest.raises(ConfigError) as error:
            asked(whole)
        assert said in str(error.value)
        assert len(error.value.problems) == 1


def test_a_set_is_looked_up_before_anything_is_run(small_network_folder, tmp_path):
    steps = []
    with pytest.raises(ConfigError, match="unknown node set 'core'"):
        ablate_network(
            small_network_folder,
            "no_asc(cells=core)",
            tmp_path / "net",
            progress=lambda *step: steps.append(step),
        )
    assert not steps


@pytest.mark.parametrize(
    "node_set",
    [
        "core",
        "pyramids of the core",
        {"ei": "e", "layer": 4},
        {"pop_name": ["e23Cux2", "e4Rorb"]},
        {"pop_name": {"$regex": "e(23|4).*"}, 'od"d': 1.5},
        ["core", "rim"],
        [0, 1, 2],
    ],
)
def test_every_node_set_is_read_back(node_set):
    assert read_cells(written(node_set), "") == node_set
    ablation = parse_ablation(f"mean(ei) | dose(0.5, ei, cells={written(node_set)})")
    assert parse_ablation(ablation.name) == ablation
    assert ablation.steps[1].cells == written(node_set)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('no_asc(cells={ei = "e")', "cannot read the node set"),
        ("no_asc(cells=)", "cannot read the node set"),
        ("no_asc(cells=5.5.5 6)", "cannot read the node set"),
        ("mean(cells=core)", "write mean(level)"),
        ("mean(cells=core, ei)", "takes 1 arguments"),
        ("no_asc(cell=core)", "takes 0 arguments"),
    ],
)
def test_a_wrong_text_of_cells_is_explained(text, said):
    with pytest.raises(ConfigError) as error:
        parse_ablation(text)
    assert said in str(error.value)
