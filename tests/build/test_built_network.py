"""The network folder as a whole: valid, reproducible, honest about its origin, never half-written."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import libsonata
import numpy as np
import pandas as pd
import pytest

from v1builder import curate, pipeline
from v1builder.build import build_network
from v1builder.schema.checksums import CHECKSUMS
from v1builder.schema.config import load_settings, parse_settings
from v1builder.schema.errors import ConfigError, DataError, NetworkError, Problem, StorageError
from v1builder.schema.files import hash_folder
from v1builder.schema.names import SYNAPSE_CLASSES
from v1builder.schema.parameters import RECEPTOR_UNITS
from v1builder.schema.recipe import BuildRecipe, LGNRecipe
from v1builder.sonata import read_edges, read_nodes, read_types
from v1builder.sonata.validate import validate
from v1builder.validate import validate as find_problems


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A network of 60 um: more cells than one block of targets, so that threads matter."""
    out = tmp_path_factory.mktemp("built") / "net"
    return pipeline.build(out, radius=60, seed=1, threads=1)


def test_it_is_valid(built):
    assert validate(built) == []


def test_same_seed_same_bytes_whatever_the_number_of_threads(built, tmp_path):
    two = pipeline.build(tmp_path / "two", radius=60, seed=1, threads=2)
    assert hash_folder(two) == hash_folder(built)


def test_another_seed_gives_other_edges_and_cells(built, tmp_path):
    other = pipeline.build(tmp_path / "other", radius=60, seed=2)
    mine, theirs = hash_folder(built), hash_folder(other)
    changed = {name for name in mine if mine[name] != theirs[name]}
    assert changed == {
        CHECKSUMS,
        "provenance.json",
        "network/v1_nodes.h5",
        "network/lgn_nodes.h5",
        "network/v1_v1_edges.h5",
        "network/lgn_v1_edges.h5",
        "network/bkg_v1_edges.h5",
    }


def test_nodes_and_types(built, tables):
    cells = read_nodes(built / "network/v1_nodes.h5")
    types = read_types(built / "network/v1_node_types.csv", "node_type_id")
    assert set(types["pop_name"]) == set(tables.populations["population"])
    assert set(cells.attributes) == {"x", "y", "z", "tuning_angle", "target_sizes"}
    borrowed = types["borrowed_from"].notna()
    assert set(types.loc[borrowed, "pop_name"]) == {"e4other", "i5Vip", "i6Vip"}
    np.testing.assert_array_equal(types.index[~borrowed], types.loc[~borrowed, "model_name"])
    assert types.index.is_unique
    assert types.index.max() < 2**31
    assert len(read_nodes(built / "network/lgn_nodes.h5")) == 17_400
    assert len(read_nodes(built / "network/bkg_nodes.h5")) == 100


def test_a_network_of_some_populations(tmp_path):
    """Valid, with the cells that a whole column has of them; layer 4 lends its size, not its cells."""
    recipe = parse_settings({"selection": {"populations": ["?23*"]}}, BuildRecipe, "recipe")
    net = pipeline.build(tmp_path / "part", radius=40, seed=1, recipe=recipe)
    whole = pipeline.build(tmp_path / "whole", radius=40, seed=1)
    counts = {}
    for name, folder in (("part", net), ("whole", whole)):
        types = read_types(folder / "network/v1_node_types.csv", "node_type_id")
        cells = read_nodes(folder / "network/v1_nodes.h5")
        counts[name] = types.loc[cells.node_type_id, "pop_name"].value_counts()
    assert set(counts["part"].index) == {"e23Cux2", "i23Vip", "i23Pvalb", "i23Sst"}
    assert counts["part"].to_dict() == counts["whole"][counts["part"].index].to_dict()
    weights = {}
    for name, folder in (("part", net), ("whole", whole)):
        edges = read_edges(folder / "network/lgn_v1_edges.h5")
        weights[name] = np.asarray(edges.attributes["syn_weight"])
    assert 0.5 < np.median(weights["part"]) / np.median(weights["whole"]) < 2
    recorded = json.loads((net / "provenance.json").read_text())
    assert recorded["recipe"]["selection"]["populations"] == ["?23*"]


def test_cell_models_have_the_kinetics_of_every_port(built, tables):
    types = read_types(built / "network/v1_node_types.csv", "node_type_id")
    kinetics = tables.synapse_kinetics.set_index(["pre_synapse_class", "post_synapse_class"])
    columns = {
        "tau_syn_fast": "tau_fast_ms",
        "tau_syn_slow": "tau_slow_ms",
        "amp_slow": "amp_slow_rel",
    }
    assert {*columns, "psc_shape"} == set(RECEPTOR_UNITS)
    for row in types.to_dict("records"):
        path = built / "components/cell_models" / row["dynamics_params"]
        parameters = json.loads(path.read_text())
        for name, column in columns.items():
            rows = [(pre, row["synapse_class"]) for pre in SYNAPSE_CLASSES]
            np.testing.assert_array_equal(parameters[name], kinetics.loc[rows, column])


def test_recurrent_edges_agree_with_their_types(built, tables):
    edges = read_edges(built / "network/v1_v1_edges.h5")
    types = read_types(built / "network/v1_v1_edge_types.csv", "edge_type_id")
    cells = read_nodes(built / "network/v1_nodes.h5")
    node_types = read_types(built / "network/v1_node_types.csv", "node_type_id")
    pop_name = node_types.loc[cells.node_type_id, "pop_name"].to_numpy()
    of_edge = types.loc[edges.edge_type_id]
    np.testing.assert_array_equal(of_edge["source_pop_name"], pop_name[edges.source_id])
    target_type = cells.node_type_id[edges.target_id]
    queries = [f"node_type_id=='{key}'" for key in target_type]
    np.testing.assert_array_equal(of_edge["target_query"], queries)
    sign = np.where(np.char.startswith(pop_name[edges.source_id].astype(str), "e"), 1, -1)
    weight = edges.attributes["syn_weight"]
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(np.sign(weight), sign)

    classes = tables.populations.set_index("population")["synapse_class"]
    delays = tables.synapse_kinetics.set_index(["pre_synapse_class", "post_synapse_class"])[
        "delay_ms"
    ]
    for row in types.to_dict("records"):
        pre, post = classes[row["source_pop_name"]], classes[row["target_pop_name"]]
        assert row["delay"] == delays[pre, post]
        assert row["receptor_type"] == SYNAPSE_CLASSES.index(pre) + 1
        component = built / "components/synaptic_models" / row["dynamics_params"]
        assert json.loads(component.read_text()) == {"receptor_type": row["receptor_type"]}


def test_background_weight_is_that_of_the_cell_model(built, models):
    edges = read_edges(built / "network/bkg_v1_edges.h5")
    cells = read_nodes(built / "network/v1_nodes.h5")
    weight = models.set_index("node_type_id")["bkg_weight"]
    expected = weight.loc[cells.node_type_id[edges.target_id]].astype(np.float32)
    np.testing.assert_array_equal(edges.attributes["syn_weight"], expected)
    types = read_types(built / "network/bkg_v1_edge_types.csv", "edge_type_id")
    np.testing.assert_array_equal(
        types.loc[edges.edge_type_id, "syn_weight"].astype(np.float32), expected
    )


def test_libsonata_finds_the_edges_of_a_cell(built):
    population = libsonata.EdgeStorage(str(built / "network/v1_v1_edges.h5")).open_population(
        "v1_to_v1"
    )
    edges = read_edges(built / "network/v1_v1_edges.h5")
    for cell in (0, 700, 1400):
        afferent = population.afferent_edges([cell]).flatten()
        np.testing.assert_array_equal(afferent, np.flatnonzero(edges.target_id == cell))
        efferent = population.efferent_edges([cell]).flatten()
        np.testing.assert_array_equal(efferent, np.flatnonzero(edges.source_id == cell))


def test_provenance_names_what_was_borrowed_and_where_data_come_from(built, models):
    record = json.loads((built / "provenance.json").read_text())
    assert (record["radius_um"], record["seed"]) == (60.0, 1)
    assert BuildRecipe.model_validate(record["recipe"]) == BuildRecipe()
    borrowed = {row["population"] for row in record["borrowed_cell_models"]}
    assert borrowed == {"e4other", "i5Vip", "i6Vip"}
    fallbacks = record["background_weight_fallbacks"]
    assert len(fallbacks) == (models["bkg_weight_source"] != "published").sum()
    assert record["data"] == curate.read_store().provenance
    with h5py.File(built / "network/v1_v1_edges.h5") as file:
        assert record["n_edges"]["v1_to_v1"] == len(file["edges/v1_to_v1/source_node_id"])


def test_recordings_to_compare_with_travel_along(built, tables):
    table = pd.read_csv(built / "reference/in_vivo.csv")
    pd.testing.assert_frame_equal(table, tables.neuropixels_reference, check_dtype=False)


@pytest.mark.slow
def test_filternet_makes_every_lgn_unit(tmp_path):
    """BMTK's LGN model takes our nodes as they are. One tile has every class."""
    recipe = BuildRecipe(lgn=LGNRecipe(tiles=(1, 1)))
    net = pipeline.build(tmp_path / "net", radius=30, recipe=recipe)
    config = {
        "run": {"tstop": 100.0, "dt": 1.0},
        "target_simulator": "LGNModel",
        "output": {"output_dir": str(tmp_path / "output"), "log_file": "log.txt"},
        "components": {"filter_models_dir": str(net / "components/cell_models")},
        "networks": {
            "nodes": [
                {
                    "nodes_file": str(net / "network/lgn_nodes.h5"),
                    "node_types_file": str(net / "network/lgn_node_types.csv"),
                }
            ]
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    script = Path(__file__).with_name("run_filternet.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "config.json")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    made = json.loads(done.stdout.splitlines()[-1])
    assert made == {"OnUnit": 34, "OffUnit": 69, "TwoSubfieldLinearCell": 13}


@pytest.mark.parametrize("stage", ["edges v1 -> v1", "edges bkg -> v1"])
def test_an_interrupted_build_leaves_nothing(tmp_path, stage):
    def interrupt(name, done, total):
        if name == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.build(tmp_path / "net", radius=30, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_progress_tells_every_stage_to_its_end(tmp_path):
    told = []
    pipeline.build(tmp_path / "net", radius=30, progress=lambda *what: told.append(what))
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == ["cells", "edges v1 -> v1", "edges lgn -> v1", "edges bkg -> v1"]
    for stage in stages:
        _, done, total = [what for what in told if what[0] == stage][-1]
        assert done == total


def test_bad_arguments_are_refused_before_anything_is_written(tmp_path):
    for bad in ({"radius": 20}, {"radius": 701}, {"seed": -1}):
        with pytest.raises(ConfigError):
            pipeline.build(tmp_path / "net", **bad)
    with pytest.raises(DataError):
        pipeline.build(tmp_path / "net", store=tmp_path / "no-store")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept_unless_told(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "mine").write_text("keep")
    with pytest.raises(StorageError, match="--overwrite"):
        pipeline.build(tmp_path / "net", radius=30)
    assert (tmp_path / "net" / "mine").read_text() == "keep"
    pipeline.build(tmp_path / "net", radius=30, overwrite=True)
    assert not (tmp_path / "net" / "mine").exists()


def test_recipe_from_toml(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('[recurrent]\nweight_tuning = "like_to_like"\n[cells]\npoisson_counts = true\n')
    recipe = load_settings(path, BuildRecipe)
    assert recipe.recurrent.weight_tuning == "like_to_like"
    tuned = pipeline.build(tmp_path / "tuned", radius=30, recipe=path)
    plain = pipeline.build(tmp_path / "plain", radius=30)
    assert len(read_nodes(tuned / "network/v1_nodes.h5")) != len(
        read_nodes(plain / "network/v1_nodes.h5")
    )
    path.write_text('[recurrent]\nweight_tunning = "none"\n')
    with pytest.raises(ConfigError, match="did you mean 'weight_tuning'"):
        pipeline.build(tmp_path / "typo", recipe=path)
    with pytest.raises(ConfigError, match=r"background\.n_units"):
        parse_settings({"background": {"n_units": 0}}, BuildRecipe, "recipe")


def test_faults_of_cell_models_are_all_reported(tmp_path, tables):
    models = curate.cell_models(tables)
    models.loc[0, "g"] = np.nan
    models.loc[1, "population"] = "e23Cux3"
    with pytest.raises(DataError) as error:
        build_network(tables, models, BuildRecipe(), 30.0, 1, tmp_path / "net")
    assert "e23Cux3" in str(error.value)
    assert "column g" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_is_not_valid_does_not_get_its_name(tmp_path, monkeypatch):
    problem = Problem("it is wrong", "")

    def wrong(folder):
        return [replace(problem, where=f"{folder}/network")]

    monkeypatch.setattr(sys.modules["v1builder.build.network"], "validate", wrong)
    with pytest.raises(NetworkError) as error:
        pipeline.build(tmp_path / "net", radius=30)
    assert error.value.problems == [replace(problem, where=f"{tmp_path}/net/network")]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["network/v1_v1_edges.h5", "components/cell_models", "reference"])
def test_a_flipped_bit_anywhere_is_found_by_validate(built, tmp_path, name):
    assert find_problems(built) == []
    shutil.copytree(built, tmp_path / "net")
    path = tmp_path / "net" / name
    path = next(path.iterdir()) if path.is_dir() else path
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    path.write_bytes(damaged)
    assert any(problem.where == str(path) for problem in find_problems(tmp_path / "net"))
