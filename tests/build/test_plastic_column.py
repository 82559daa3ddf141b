"""A column with short-term plasticity beside the static one, through file, loader and writer."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from v1builder import fetch, pipeline
from v1builder.curate.plasticity import METRICS, metrics
from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.operating_table import bench_of
from v1builder.load import load_network, save_network
from v1builder.load.groups import group_cells
from v1builder.report.inventory import take_inventory
from v1builder.schema.checksums import CHECKSUMS
from v1builder.schema.errors import NetworkError
from v1builder.schema.files import hash_folder, sha256_of
from v1builder.schema.recipe import BoundaryRecipe, BuildRecipe, SynapseRecipe
from v1builder.sonata.validate import validate

MODEL = "components/synaptic_models/e23_to_sst.json"


@pytest.fixture(scope="module")
def plastic(tmp_path_factory):
    recipe = BuildRecipe(synapses=SynapseRecipe(dynamics="stp"))
    folder = tmp_path_factory.mktemp("plastic") / "net"
    return pipeline.build(folder, radius=30, seed=1, recipe=recipe)


def test_only_synapses_differ_from_the_static_column(plastic, small_column):
    static, own = hash_folder(small_column), hash_folder(plastic)
    changed = {name for name in own if own[name] != static.get(name)}
    synapses = {name for name in changed if name.startswith("components/synaptic_models/")}
    assert changed - synapses == {
        CHECKSUMS,
        "network/v1_v1_edges.h5",
        "network/v1_v1_edge_types.csv",
        "provenance.json",
        "reference/short_term_plasticity.csv",
    }
    assert not any("exc_to" in name for name in synapses)
    a = load_network(small_column).edges["v1_to_v1"]
    b = load_network(plastic).edges["v1_to_v1"]
    for name in ("source_index", "target_index", "edge_type_id", "delay", "receptor", "nsyns"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_allclose(b.weight, a.weight, rtol=1.2e-7)
    assert a.plasticity is None
    assert b.plasticity is not None
    assert (b.plasticity.group_of >= 0).all()


def test_components_hold_the_fit(plastic):
    fit = pd.read_csv(plastic / "reference/short_term_plasticity.csv").set_index(["pre", "post"])
    row = fit.loc[("pyr", "sst")]
    model = json.loads((plastic / MODEL).read_text())
    assert (model["U"], model["u"], model["x"]) == (row["U"], row["U"], 1.0)
    assert (model["tau_rec"], model["tau_fac"]) == (row["tau_rec_ms"], row["tau_fac_ms"])
    record = json.loads((plastic / "provenance.json").read_text())["short_term_plasticity"]
    assert "campagnola2022" in record["references"]


def test_the_fit_follows_the_store(tmp_path):
    """A store whose pyr -> sst synapses depress gives a column in which they do; the record says how
    well, and info repeats it."""
    store = fetch(tmp_path / "store")
    path = store / "tables/synaptic_physiology.csv"
    table = pd.read_csv(path)
    for metric, value in zip(METRICS, metrics(0.6, 500.0, 5.0), strict=True):
        here = (table["metric"] == metric) & (table["pre"] == "pyr") & (table["post"] == "sst")
        table.loc[here, "median"] = value
    table.to_csv(path, index=False)
    record = json.loads((store / "provenance.json").read_text())
    for source in record["sources"]:
        if "synaptic_physiology" in source["tables"]:
            source["tables"]["synaptic_physiology"]["sha256"] = sha256_of(path)
    (store / "provenance.json").write_text(json.dumps(record))
    recipe = BuildRecipe(synapses=SynapseRecipe(dynamics="stp"))
    net = pipeline.build(tmp_path / "net", radius=30, seed=1, recipe=recipe, store=store)
    model = json.loads((net / MODEL).read_text())
    assert model["U"] == pytest.approx(0.6, abs=0.15)
    assert model["tau_rec"] > 200
    fit = pd.read_csv(net / "reference/short_term_plasticity.csv").set_index(["pre", "post"])
    record = json.loads((net / "provenance.json").read_text())["short_term_plasticity"]
    for metric, one in record["residuals"].items():
        residual = fit.loc[fit["source"] == "fitted", f"{metric}_residual"]
        assert one["rms"] == pytest.approx(np.sqrt((residual**2).mean()))
        assert abs(one["largest"]) == pytest.approx(residual.abs().max())
        assert one["pair"] == " -> ".join(residual.abs().idxmax())
    notes = take_inventory(load_network(net)).notes
    assert notes[0] == "short-term plasticity: 15 pairs of subclasses fitted; pooled: vip -> pyr"
    assert len(notes) == 3


def test_load_save_load(plastic, tmp_path):
    once = load_network(plastic).edges["v1_to_v1"]
    folder = save_network(load_network(plastic), tmp_path / "net")
    again = load_network(folder).edges["v1_to_v1"]
    assert validate(folder) == []
    for name in ("CITATIONS.md", "CITATIONS.bib"):  # whoever gets the copy can cite
        assert (folder / name).read_bytes() == (plastic / name).read_bytes()
    assert once.plasticity.labels == again.plasticity.labels
    np.testing.assert_array_equal(once.weight, again.weight)
    np.testing.assert_array_equal(once.plasticity.group_of, again.plasticity.group_of)
    for name, values in once.plasticity.values.items():
        np.testing.assert_array_equal(values, again.plasticity.values[name])


def test_bad_synapse_models_are_all_named(plastic, tmp_path):
    folder = tmp_path / "net"
    shutil.copytree(plastic, folder)
    values = json.loads((folder / MODEL).read_text())
    (folder / MODEL).write_text(json.dumps(values | {"U": 1.5, "tau_rec": 0.0}))
    types = folder / "network/lgn_v1_edge_types.csv"
    types.write_text(types.read_text().replace("static_synapse", "stdp_synapse"))
    text = "\n".join(map(str, validate(folder)))
    assert "'U' of a tsodyks2_synapse must be above 0" in text
    assert "'tau_rec' of a tsodyks2_synapse must be positive" in text
    assert "unknown synapse model 'stdp_synapse'" in text
    assert "static_synapse, tsodyks2_synapse" in text
    with pytest.raises(NetworkError, match="tsodyks2_synapse"):
        load_network(folder)


# --- Synapses of a pair that differ -------------------------------------------------------------

DRAWS = "reference/short_term_plasticity_draws.csv"


def spread(over, **options):
    synapses = SynapseRecipe(dynamics="stp", spread=1.0, spread_over=over)
    return BuildRecipe(synapses=synapses, **options)


@pytest.fixture(scope="module", params=["source", "edge"])
def diverse(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("diverse") / "net"
    recipe = spread(request.param)
    return request.param, pipeline.build(folder, radius=30, seed=1, recipe=recipe, threads=1)


def models_of_edges(network):
    """Of every edge: the cells at its ends, its pair of synapse classes, its (U, tau_rec, tau_fac)."""
    edges = network.edges["v1_to_v1"]
    classes = network.cells.attributes["synapse_class"].astype(str)
    table = edges.plasticity
    frame = pd.DataFrame({name: table.per_cell(name) for name in ("U", "tau_rec", "tau_fac")})
    return frame.assign(
        source=edges.source_index,
        pre=classes[edges.source_index],
        post=classes[edges.target_index],
        receptor=edges.receptor,
    )


def test_synapses_of_a_pair_are_its_draws(plastic, diverse):
    over, folder = diverse
    alike, own = load_network(plastic), load_network(folder)
    a, b = alike.edges["v1_to_v1"], own.edges["v1_to_v1"]
    for name in ("source_index", "target_index", "delay", "receptor", "nsyns"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_allclose(b.weight, a.weight, rtol=3e-7)  # the effect at rest
    draws = pd.read_csv(folder / DRAWS)
    assert len(draws) == 16 * 8
    edges = models_of_edges(own)
    from_pyramids = edges[edges["pre"].str.startswith("e") & (edges["post"] == "sst")]
    expected = draws[(draws["pre"] == "pyr") & (draws["post"] == "sst")]
    assert set(from_pyramids["U"].round(9)) == set(expected["U"].round(9))
    counts = from_pyramids.groupby("U").size()
    assert counts.min() > 0.5 * counts.mean()
    models = edges.groupby(["source", "post"])["U"].nunique()
    sizes = edges.groupby(["source", "post"]).size()
    if over == "source":
        assert (models == 1).all()
    else:
        assert models[sizes >= 20].min() > 4
    assert validate(folder) == []


def test_the_mean_of_class_pairs_takes_the_spread_away(diverse):
    _, folder = diverse
    network = load_network(folder)
    bench = bench_of(network, n_trials=2)
    start = bench.start(network)
    ablated = bench.ablated(start, parse_ablation("stp_mean(class_pair)"))[0]
    before, after = models_of_edges(network), models_of_edges(ablated)
    classes, edges = group_cells(network.cells, "class").of_cell, network.edges["v1_to_v1"]
    pairs = [classes[edges.source_index], classes[edges.target_index]]
    for name in ("U", "tau_rec", "tau_fac"):
        pooled = after[name].groupby(pairs)
        np.testing.assert_allclose(pooled.max(), pooled.min())
        assert before[name].groupby(pairs).std().mean() > 0.01
    logs = np.log(before["tau_rec"]).groupby(pairs).mean()
    np.testing.assert_allclose(np.log(after["tau_rec"]).groupby(pairs).first(), logs)


def test_a_spread_column_is_the_same_with_any_number_of_threads(diverse, tmp_path):
    over, folder = diverse
    again = pipeline.build(tmp_path / "net", radius=30, seed=1, recipe=spread(over), threads=2)
    assert hash_folder(again) == hash_folder(folder)


def test_a_boundary_has_draws_too(tmp_path):
    recipe = spread("source", boundary=BoundaryRecipe(radius_um=60.0))
    net = pipeline.build(tmp_path / "net", radius=30, seed=1, recipe=recipe)
    around = load_network(net).edges["boundary_to_v1"].plasticity
    assert len(np.unique(around.per_cell("U"))) > 100
    notes = take_inventory(load_network(net)).notes
    assert any("8 draws, over every source" in note for note in notes)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"spread": 1.0}, "static synapses have no spread"),
        ({"dynamics": "stp", "spread": -1.0}, "greater than or equal to 0"),
        ({"dynamics": "stp", "spread": 1.0, "n_draws": 2}, "greater than or equal to 3"),
        ({"dynamics": "stp", "spread": 1.0, "spread_over": "pair"}, "'source' or 'edge'"),
    ],
)
def test_bad_spread(settings, said):
    with pytest.raises(ValidationError, match=said):
        SynapseRecipe(**settings)
