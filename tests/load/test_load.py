"""What `load_network` makes of our folder, of others' folders and of broken ones."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_network import CELL_MODELS, N_V1

from v1builder.load import load_network, reader
from v1builder.schema.errors import NetworkError
from v1builder.sonata import read_edges, read_types, write_types

V1_NODES, V1_EDGES = "network/v1_nodes.h5", "network/v1_v1_edges.h5"
V1_TYPES = "network/v1_v1_edge_types.csv"
CELLS = "components/cell_models"


@pytest.fixture
def folder(small_network_folder: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    copy = tmp_path / "network"
    shutil.copytree(small_network_folder, copy)
    return copy


def edit_cell(folder: Path, type_id: int, **changes: object) -> None:
    path = folder / CELLS / f"{type_id}_glif_lif_asc_config.json"
    values = json.loads(path.read_text()) | changes
    kept = {key: value for key, value in values.items() if value is not None}
    path.write_text(json.dumps(kept))


def test_parameters_of_every_cell(small_network_folder: Path) -> None:
    network = load_network(small_network_folder)
    assert (network.simulated, network.n_cells) == ("v1", N_V1)
    published = {row[0]: row for row in CELL_MODELS}
    for cell, type_id in enumerate(network.cells.node_type_id):
        _, population, ei, specimen, C_m, g, E_L, V_th, t_ref, amps = published[int(type_id)]
        row = network.membrane.group_of[cell]
        read = {name: values[row] for name, values in network.membrane.values.items()}
        assert (read["C_m"], read["g"], read["E_L"], read["V_th"]) == (C_m, g, E_L, V_th)
        assert (read["V_reset"], read["t_ref"]) == (E_L, t_ref)
        assert tuple(read["asc_amps"]) == amps
        assert read["asc_decay"].tolist() == [0.003, 0.03]
        assert network.membrane.labels[row] == str(specimen)
        assert network.receptors.labels[network.receptors.group_of[cell]] == population
        assert network.cells.attributes["ei"][cell] == ei
        assert network.cells.attributes["borrowed_from"][cell] == ""
    assert network.receptors.values["tau_syn_fast"].shape == (2, 10)
    assert not network.bias_current.any()


def test_edges_join_their_types(small_network_folder: Path) -> None:
    network = load_network(small_network_folder)
    for name, edges in network.edges.items():
        source = name.split("_")[0]
        raw = read_edges(small_network_folder / f"network/{source}_v1_edges.h5")
        own = raw.attributes
        np.testing.assert_array_equal(edges.source_index, raw.source_id)
        np.testing.assert_array_equal(edges.target_index, raw.target_id)
        np.testing.assert_array_equal(
            edges.weight, own["syn_weight"].astype(np.float64) * own["nsyns"]
        )
        np.testing.assert_array_equal(edges.nsyns, own["nsyns"])
    v1 = network.edges["v1_to_v1"]
    inhibitory = v1.edge_type_id == 1001
    assert np.all(v1.weight[inhibitory] < 0)
    assert set(v1.delay[inhibitory]) == {np.float32(0.9)}
    assert set(v1.receptor[inhibitory]) == {6}
    assert set(v1.receptor[~inhibitory]) == {0}
    assert network.nodes["lgn"].is_virtual
    assert network.edges["lgn_to_v1"].source == "lgn"


def test_progress_counts_edges(small_network_folder: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    network = load_network(small_network_folder, lambda *call: calls.append(call))
    n = {name: len(edges) for name, edges in network.edges.items()}
    assert calls == [(name, count, count) for name, count in n.items()]


def test_glif_psc_is_double_alpha_without_slow_part(folder: Path) -> None:
    types = read_types(folder / "network/v1_node_types.csv", "node_type_id")
    types["model_template"] = "nest:glif_psc"
    write_types(folder / "network/v1_node_types.csv", types)
    taus = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
    for type_id in (100, 101, 200):
        absent = dict.fromkeys(("tau_syn_fast", "tau_syn_slow", "amp_slow"))
        edit_cell(folder, type_id, tau_syn=taus, **absent)
    receptors = load_network(folder).receptors
    np.testing.assert_array_equal(receptors.per_cell("tau_syn_fast"), [taus] * N_V1)
    assert not receptors.per_cell("amp_slow").any()


def test_nest_defaults(folder: Path) -> None:
    """Without asc_r NEST takes 1; without after_spike_currents it has no such currents."""
    edit_cell(folder, 100, asc_r=None)
    edit_cell(folder, 200, asc_amps=None, asc_r=None, asc_decay=None, after_spike_currents=False)
    network = load_network(folder)
    by_type = {type_id: network.cells.node_type_id == type_id for type_id in (100, 200)}
    assert np.all(network.membrane.per_cell("asc_r")[by_type[100]] == 1.0)
    assert np.all(network.membrane.per_cell("asc_amps")[by_type[200]] == 0.0)


def test_overrides_of_single_nodes(folder: Path) -> None:
    own = np.full(N_V1, np.nan)
    own[5], own[6] = -33.0, -32.0
    with h5py.File(folder / V1_NODES, "r+") as file:
        file["nodes/v1/0/dynamics_params/V_th"] = own
    network = load_network(folder)
    before = {row[0]: row[7] for row in CELL_MODELS}
    expected = np.array([before[int(type_id)] for type_id in network.cells.node_type_id])
    expected[5:7] = [-33.0, -32.0]
    np.testing.assert_array_equal(network.membrane.per_cell("V_th"), expected)


def test_old_names_and_negative_ids(folder: Path) -> None:
    with h5py.File(folder / V1_EDGES, "r+") as file:
        group = file["edges/v1_to_v1"]
        group.move("0/nsyns", "0/n_syns_")
        group["edge_type_id"][...] = -group["edge_type_id"][()]
    types = read_types(folder / V1_TYPES, "edge_type_id")
    types.index = -types.index
    write_types(folder / V1_TYPES, types)
    assert set(load_network(folder).edges["v1_to_v1"].edge_type_id) == {-1000, -1001}


def test_integers_are_as_wide_as_they_must_be(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers that appear late and need more bits than those before them change nothing else."""
    monkeypatch.setattr(reader, "_CHUNK", 8)
    assert load_network(folder).edges["v1_to_v1"].nsyns.dtype == np.int8
    with h5py.File(folder / V1_EDGES, "r+") as file:
        group = file["edges/v1_to_v1"]
        group["0/nsyns"][9], group["0/nsyns"][17] = 128, 70_000
        nsyns, type_id = group["0/nsyns"][()], group["edge_type_id"][()]
    edges = load_network(folder).edges["v1_to_v1"]
    np.testing.assert_array_equal(edges.nsyns, nsyns)
    np.testing.assert_array_equal(edges.edge_type_id, type_id)
    assert (edges.nsyns.dtype, edges.edge_type_id.dtype) == (np.int32, np.int16)


def test_compressed_files_and_two_edge_groups(small_network_folder: Path, folder: Path) -> None:
    """Half of the edges in group 0, half in group 1, which takes its delay from the file; gzip."""
    raw = read_edges(small_network_folder / V1_EDGES)
    n, order = len(raw), np.random.default_rng(0).permutation(len(raw))
    group_of = (np.arange(n) % 2).astype(np.uint8)
    with h5py.File(folder / V1_EDGES, "w") as file:
        edges = file.create_group("edges/v1_to_v1")
        for name, values in (
            ("source_node_id", raw.source_id),
            ("target_node_id", raw.target_id),
            ("edge_type_id", raw.edge_type_id),
            ("edge_group_id", group_of),
        ):
            edges.create_dataset(name, data=values, compression="gzip")
        for end in ("source", "target"):
            edges[f"{end}_node_id"].attrs["node_population"] = "v1"
        index = np.zeros(n, dtype=np.uint64)
        for key in (0, 1):
            members = order[group_of[order] == key]  # rows of a group need not be in edge order
            index[members] = np.arange(len(members))
            for name, values in raw.attributes.items():
                edges.create_dataset(f"{key}/{name}", data=values[members], compression="gzip")
            if key == 1:
                edges["1/delay"] = np.full(len(members), 4.5)
        edges["edge_group_index"] = index
    plain = load_network(small_network_folder).edges["v1_to_v1"]
    grouped = load_network(folder).edges["v1_to_v1"]
    np.testing.assert_array_equal(grouped.weight, plain.weight)
    np.testing.assert_array_equal(grouped.nsyns, plain.nsyns)
    np.testing.assert_array_equal(grouped.delay, np.where(group_of == 1, 4.5, plain.delay))


def test_node_ids_need_not_be_positions(small_network_folder: Path, folder: Path) -> None:
    with h5py.File(folder / "network/lgn_nodes.h5", "r+") as file:
        ids = file["nodes/lgn/node_id"]
        ids[...] = 100 - 10 * ids[()]
    with h5py.File(folder / "network/lgn_v1_edges.h5", "r+") as file:
        ids = file["edges/lgn_to_v1/source_node_id"]
        ids[...] = 100 - 10 * ids[()]
    np.testing.assert_array_equal(
        load_network(folder).edges["lgn_to_v1"].source_index,
        load_network(small_network_folder).edges["lgn_to_v1"].source_index,
    )


def break_edges(folder: Path, dataset: str, value: object) -> None:
    with h5py.File(folder / V1_EDGES, "r+") as file:
        file[f"edges/v1_to_v1/{dataset}"][2] = value


def break_types(folder: Path, file: str, kind: str, **columns: object) -> None:
    types = read_types(folder / file, kind)
    for column, value in columns.items():
        types = types.drop(columns=column) if value is None else types.assign(**{column: value})
    write_types(folder / file, types)


def drop_weights(folder: Path) -> None:
    with h5py.File(folder / V1_EDGES, "r+") as file:
        del file["edges/v1_to_v1/0/syn_weight"]


def break_synapse_counts(folder: Path) -> None:
    with h5py.File(folder / V1_EDGES, "r+") as file:
        group = file["edges/v1_to_v1/0"]
        counts = group["nsyns"][()] + 0.5
        del group["nsyns"]
        group["nsyns"] = counts


NODE_TYPES = "network/v1_node_types.csv"
BROKEN = {
    "an edge has a source that does not exist": lambda f: break_edges(f, "source_node_id", 99),
    "an edge has a type": lambda f: break_edges(f, "edge_type_id", 5),
    "'syn_weight' is missing, NaN": lambda f: break_edges(f, "0/syn_weight", np.nan),
    "a delay is not positive": lambda f: break_types(f, V1_TYPES, "edge_type_id", delay=-1.0),
    "nsyns is not a whole number": break_synapse_counts,
    "have 'syn_weight'": lambda f: drop_weights(f),
    "receptor port does not exist": lambda f: break_types(
        f, V1_TYPES, "edge_type_id", receptor_type=0
    ),
    "choose one of: nest:glif_psc_double_alpha, nest:glif_psc": lambda f: break_types(
        f, NODE_TYPES, "node_type_id", model_template="nest:iaf_cond_alpha"
    ),
    "1.5 at edge": lambda f: break_types(f, V1_TYPES, "edge_type_id", receptor_type=1.5),
    "have no 'model_type'": lambda f: break_types(f, NODE_TYPES, "node_type_id", model_type=None),
    "needs a simulated node population": lambda f: break_types(
        f, NODE_TYPES, "node_type_id", model_type="virtual"
    ),
    "mixes virtual and simulated nodes": lambda f: break_types(
        f, NODE_TYPES, "node_type_id", model_type=["virtual", "point_neuron", "point_neuron"]
    ),
    "unknown model processing 'mine'": lambda f: break_types(
        f, NODE_TYPES, "node_type_id", model_processing="mine"
    ),
    "unknown weight function 'gaussianLL'": lambda f: break_types(
        f, V1_TYPES, "edge_type_id", weight_function="gaussianLL"
    ),
    "must be positive": lambda f: edit_cell(f, 100, C_m=-1.0),
    "the target cell has ports 1 to 1": lambda f: edit_cell(
        f, 100, tau_syn_fast=[1.0], tau_syn_slow=[1.0], amp_slow=[0.0]
    ),
    "a file is missing": lambda f: (f / V1_TYPES).unlink(),
    "not a network folder": lambda f: (f / "circuit_config.json").unlink(),
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_network(message: str, folder: Path) -> None:
    BROKEN[message](folder)
    with pytest.raises(NetworkError, match=message):
        load_network(folder)
