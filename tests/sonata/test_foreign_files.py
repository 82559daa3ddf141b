"""Files that others wrote: read as they mean it, or refused by what is wrong with them."""

import json
import os
import shutil
import time

import h5py
import numpy as np
import pandas as pd
import pytest
from small_network import N_V1

from v1builder.load import load_network, save_network
from v1builder.model import V1Network
from v1builder.schema.errors import NetworkError
from v1builder.sonata import (
    read_circuit,
    read_nodes,
    read_spikes,
    read_types,
    validate,
    write_types,
)

V1_NODES, V1_EDGES = "network/v1_nodes.h5", "network/v1_v1_edges.h5"
NODES, EDGES = "nodes/v1", "edges/v1_to_v1"
NODE_TYPES, EDGE_TYPES = "network/v1_node_types.csv", "network/v1_v1_edge_types.csv"
CELL = "components/cell_models/100_glif_lif_asc_config.json"


@pytest.fixture
def folder(small_network_folder, tmp_path):
    copy = tmp_path / "network"
    shutil.copytree(small_network_folder, copy)
    return copy


def replace_dataset(folder, file, name, values):
    with h5py.File(folder / file, "r+") as handle:
        if name in handle:
            attributes = dict(handle[name].attrs)
            del handle[name]
            handle.create_dataset(name, data=values).attrs.update(attributes)
        else:
            handle.create_dataset(name, data=values)


def dataset(folder, file, name):
    with h5py.File(folder / file, "r") as handle:
        return handle[name][()]


def edit_json(path, **changes):
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def edit_config(folder, edit):
    path = folder / "circuit_config.json"
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))


def refused_by_both(folder, message):
    """`validate` and `load` agree, in the same words."""
    found = "\n".join(map(str, validate(folder)))
    with pytest.raises(NetworkError) as error:
        load_network(folder)
    assert message in found, found
    assert message in str(error.value)


def accepted_by_both(folder):
    assert validate(folder) == []
    return load_network(folder)


# Numbers that are not what they stand for.


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{NODES}/node_id", "a number is not whole"),
        (f"{NODES}/node_type_id", "a number is not whole"),
        (f"{NODES}/node_group_index", "a number is not whole"),
    ],
)
def test_fractions_are_no_ids_of_nodes(folder, name, message):
    replace_dataset(folder, V1_NODES, name, dataset(folder, V1_NODES, name) + 0.5)
    refused_by_both(folder, message)


@pytest.mark.parametrize("name", ["source_node_id", "target_node_id", "edge_type_id"])
def test_fractions_are_no_ids_of_edges(folder, name):
    path = f"{EDGES}/{name}"
    replace_dataset(folder, V1_EDGES, path, dataset(folder, V1_EDGES, path) + 0.5)
    refused_by_both(folder, "a number is not whole")


@pytest.mark.parametrize(("file", "name"), [(V1_NODES, NODES), (V1_EDGES, EDGES)])
def test_indices_count_from_zero(folder, file, name):
    path = f"{name}/{name[:4]}_group_index"
    values = dataset(folder, file, path).astype(np.int64)
    values[0] = -1
    replace_dataset(folder, file, path, values)
    refused_by_both(folder, "a number is negative")


@pytest.mark.parametrize(("file", "name"), [(V1_NODES, NODES), (V1_EDGES, EDGES)])
def test_an_index_behind_its_group(folder, file, name):
    path = f"{name}/{name[:4]}_group_index"
    values = dataset(folder, file, path)
    values[0] = 10**6
    replace_dataset(folder, file, path, values)
    refused_by_both(folder, "an index points behind the end of its group")


@pytest.mark.parametrize("delay", [1e9, 1e300])
def test_a_delay_that_no_memory_holds(folder, delay):
    n = len(dataset(folder, V1_EDGES, f"{EDGES}/source_node_id"))
    replace_dataset(folder, V1_EDGES, f"{EDGES}/0/delay", np.full(n, delay))
    refused_by_both(folder, "a delay is longer than ten seconds")


@pytest.mark.parametrize("flag", ["false", 0, None, [True]])
def test_a_switch_is_true_or_false(folder, flag):
    """The text "false" counted as true, with half again as many spikes."""
    path = folder / CELL
    values = json.loads(path.read_text())
    values["after_spike_currents"] = flag
    path.write_text(json.dumps(values))
    refused_by_both(folder, "a switch is neither true nor false")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t_reff": 3.0}, "did you mean 't_ref'"),
        ({"threshold_spike": 2.0}, "'threshold_spike' other than zero is not supported"),
        ({"C_m": "61.8"}, "a parameter is not a number"),
        ({"C_m": True}, "a parameter is not a number"),
        ({"C_m": 10**400}, "a parameter is not a number"),
        ({"C_m": {"value": 1}}, "a parameter is not a number"),
        ({"asc_amps": [1.0, [2.0]]}, "a parameter is not a number"),
        ({"asc_amps": 1.0}, "a parameter has the wrong shape"),
        ({"asc_init": "no"}, "after-spike currents must start at zero"),
    ],
)
def test_cell_models_are_read_strictly(folder, changes, message):
    edit_json(folder / CELL, **changes)
    refused_by_both(folder, message)


def test_overrides_are_checked_like_files(folder):
    """A negative capacitance of one cell, in the HDF5 file."""
    capacitance = np.full(N_V1, np.nan)
    capacitance[5] = -10.0
    replace_dataset(folder, V1_NODES, f"{NODES}/0/dynamics_params/C_m", capacitance)
    refused_by_both(folder, "a parameter must be positive")
    capacitance[5] = 50.0
    replace_dataset(folder, V1_NODES, f"{NODES}/0/dynamics_params/C_m", capacitance)
    assert accepted_by_both(folder).membrane.per_cell("C_m")[5] == 50.0


@pytest.mark.parametrize(
    ("times", "ids", "message"),
    [
        ([1.0, 1e30], [0, 1], "later than any run"),
        ([1.0, np.nan], [0, 1], "negative or not finite"),
        ([1.0, 2.0], [0.5, 1.0], "a number is not whole"),
        ([1.0, 2.0], [-1, 1], "a number is negative"),
        ([1.0, 2.0], [2**64 - 1, 1], "a number is not whole"),
        ([b"a", b"b"], [0, 1], "spike times are not numbers"),
        ([1.0, 2.0], [0, 1, 2], "not one node id per time"),
    ],
)
def test_spikes_are_read_strictly(tmp_path, times, ids, message):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["spikes/lgn/timestamps"] = times
        file["spikes/lgn/node_ids"] = np.array(ids, np.uint64) if 2**64 - 1 in ids else ids
    with pytest.raises(NetworkError, match=message):
        read_spikes(tmp_path / "s.h5")
    if len(times) == len(ids) and not isinstance(times[0], bytes):
        rows = "".join(f"{t} lgn {i}\n" for t, i in zip(times, ids, strict=True))
        (tmp_path / "s.csv").write_text("timestamps population node_ids\n" + rows)
        with pytest.raises(NetworkError, match=message):
            read_spikes(tmp_path / "s.csv")


@pytest.mark.parametrize(
    ("units", "factor"), [("s", 1000), ("seconds", 1000), ("ms", 1), (None, 1)]
)
def test_times_in_seconds(tmp_path, units, factor):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["spikes/lgn/timestamps"] = [0.25, 0.5]
        file["spikes/lgn/node_ids"] = [3, 1]
        if units is not None:
            file["spikes/lgn/timestamps"].attrs["units"] = units
    found = read_spikes(tmp_path / "s.h5")["lgn"]
    assert found.timestamps.tolist() == [0.25 * factor, 0.5 * factor]


def test_an_unknown_unit_of_time(tmp_path):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["spikes/lgn/timestamps"] = [0.25]
        file["spikes/lgn/node_ids"] = [3]
        file["spikes/lgn/timestamps"].attrs["units"] = "fortnights"
    with pytest.raises(NetworkError, match="unknown unit of time 'fortnights'"):
        read_spikes(tmp_path / "s.h5")


def test_numbers_as_only_python_writes_them(tmp_path):
    (tmp_path / "t.csv").write_text("edge_type_id delay\n1 1_0\n")
    assert read_types(tmp_path / "t.csv", "edge_type_id")["delay"].tolist() == ["1_0"]


# Files that are none, or hold less than they declare.


def test_a_pipe_is_not_read(folder):
    """Nobody writes to it, so that a reader would wait for ever."""
    (folder / CELL).unlink()
    os.mkfifo(folder / CELL)
    refused_by_both(folder, "this is not a file")
    (folder / V1_NODES).unlink()
    os.mkfifo(folder / V1_NODES)
    refused_by_both(folder, "this is not a file")


def test_variables_that_double_one_another(folder):
    manifest = {f"$V{i}": f"$V{i + 1}$V{i + 1}" for i in range(60)} | {"$V60": "x"}
    edit_config(
        folder, lambda c: c.update(manifest=manifest | c["manifest"], target_simulator="$V0")
    )
    start = time.monotonic()
    refused_by_both(folder, "a text grows too long")
    assert time.monotonic() - start < 5


def test_rows_that_are_declared_and_not_there(folder):
    """3 GB of zeros from a file of 1 MB."""
    with h5py.File(folder / V1_EDGES, "r+") as file:
        group = file[EDGES]
        attributes = dict(group["source_node_id"].attrs)
        del group["source_node_id"]
        group.create_dataset("source_node_id", shape=(400_000_000,), dtype="u8", chunks=(1 << 20,))
        group["source_node_id"].attrs.update(attributes)
    assert (folder / V1_EDGES).stat().st_size < 2 * 10**6
    refused_by_both(folder, "declares far more than the file holds")


def test_virtual_datasets(folder):
    """Without their source they read as zeros; one that refers to itself crashed the process."""
    n = len(dataset(folder, V1_EDGES, f"{EDGES}/0/syn_weight"))
    with h5py.File(folder / V1_EDGES, "r+") as file:
        del file[f"{EDGES}/0/syn_weight"]
        layout = h5py.VirtualLayout(shape=(n,), dtype="f4")
        layout[:] = h5py.VirtualSource("nowhere.h5", "syn_weight", shape=(n,))
        file.create_virtual_dataset(f"{EDGES}/0/syn_weight", layout)
    refused_by_both(folder, "a dataset is made of parts of other files")


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        (V1_NODES, NODES, "group"),
        (V1_NODES, f"{NODES}/node_type_id", "group"),
        (V1_NODES, f"{NODES}/0", "dataset"),
        (V1_NODES, f"{NODES}/0/x", "link"),
        (V1_EDGES, EDGES, "dataset"),
        (V1_EDGES, "edges", "dataset"),
        (V1_EDGES, f"{EDGES}/source_node_id", "scalar"),
        (V1_EDGES, f"{EDGES}/0/nsyns", "compound"),
        (V1_EDGES, f"{EDGES}/0/nsyns", "text"),
        (V1_EDGES, f"{EDGES}/target_node_id", "matrix"),
        (V1_EDGES, f"{EDGES}/edge_group_id", "null"),
    ],
)
def test_what_is_in_the_way_in_hdf5(folder, file, name, value):
    with h5py.File(folder / file, "r+") as handle:
        n = len(handle[name]) if isinstance(handle[name], h5py.Dataset) else 3
        del handle[name]
        if value == "group":
            handle.create_group(name).create_group("inner")
        elif value == "link":
            handle[name] = h5py.SoftLink("/nowhere")
        else:
            handle[name] = {
                "dataset": np.arange(3),
                "scalar": 3,
                "compound": np.zeros(n, dtype=[("a", "i4"), ("b", "f4")]),
                "text": ["x"] * n,
                "matrix": np.zeros((n, 2), np.int64),
                "null": h5py.Empty("i8"),
            }[value]
    assert validate(folder)
    with pytest.raises(NetworkError):
        load_network(folder)


@pytest.mark.parametrize(
    "edit",
    [
        lambda c: c["networks"].update(nodes={"a": 1}),
        lambda c: c["networks"].update(nodes=[1]),
        lambda c: c.update(networks=[1]),
        lambda c: c["networks"]["nodes"][0].update(nodes_file=3),
        lambda c: c["networks"]["nodes"][0].update(populations=["v1"]),
        lambda c: c["networks"]["nodes"][0].update(populations={"v1": "point_neuron"}),
        lambda c: c["networks"]["nodes"][0].update(enabled="false"),
        lambda c: c["networks"]["nodes"].append(c["networks"]["nodes"][0]),
        lambda c: c["networks"]["edges"].append(c["networks"]["edges"][0]),
        lambda c: c["networks"]["nodes"][0].update(nodes_file="a\0b"),
        lambda c: c["networks"]["nodes"][0].update(nodes_file="a" * 5000),
        lambda c: c["components"].update(point_neuron_models_dir=7),
        lambda c: c.update(components=[]) or c.update(components=["a"]),
        lambda c: c.update(node_sets_file=["a"]),
        lambda c: c.update(manifest={"$A": 3}),
        lambda c: c["networks"].update(nodez=[]),
    ],
)
def test_configurations_of_the_wrong_shape(folder, edit):
    edit_config(folder, edit)
    problems = validate(folder)
    assert problems
    with pytest.raises(NetworkError):
        load_network(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200 + "]" * 200, "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": 1, "a": 2}', "a key occurs twice"),
        ("[1]", "does not hold a JSON dictionary"),
        ("\xff\xfe", "not valid JSON"),
    ],
)
def test_json_that_is_none(tmp_path, text, message):
    (tmp_path / "circuit_config.json").write_text(text)
    with pytest.raises(NetworkError, match=message):
        read_circuit(tmp_path)


# Files that others write, and that mean something.


def test_weights_of_the_published_v1_model(folder, tmp_path):
    """AllenInstitute/biorealistic-v1-model returns syn_weight as it is, whatever nsyns."""
    types = read_types(folder / EDGE_TYPES, "edge_type_id")
    functions = ["weight_function_recurrent", None]  # of the second type nsyns counts
    write_types(folder / EDGE_TYPES, types.assign(weight_function=functions))
    edges = accepted_by_both(folder).edges["v1_to_v1"]
    raw = dataset(folder, V1_EDGES, f"{EDGES}/0/syn_weight").astype(float)
    as_it_is = edges.edge_type_id == types.index[0]
    assert set(as_it_is.tolist()) == {False, True}
    assert edges.nsyns.max() > 1
    np.testing.assert_array_equal(edges.weight, np.where(as_it_is, raw, raw * edges.nsyns))
    again = load_network(save_network(load_network(folder), tmp_path / "again"))
    np.testing.assert_allclose(again.edges["v1_to_v1"].weight, edges.weight, rtol=1e-6)


def test_weight_functions_of_a_user(folder):
    types = read_types(folder / EDGE_TYPES, "edge_type_id")
    write_types(folder / EDGE_TYPES, types.assign(weight_function="gaussianLL"))
    refused_by_both(folder, "unknown weight function 'gaussianLL'")


def test_edges_need_no_index(folder):
    with h5py.File(folder / V1_EDGES, "r+") as file:
        del file[f"{EDGES}/indices"]
    accepted_by_both(folder)


def test_folders_that_no_point_neuron_needs(folder):
    def edit(config):
        config["components"] |= {"filter_models_dir": "nowhere", "morphologies_dir": "nowhere"}

    edit_config(folder, edit)
    accepted_by_both(folder)


def test_attributes_without_a_types_table(folder):
    """`node_types_file: null`: what a node is stands in the HDF5 file."""
    n = len(dataset(folder, "network/lgn_nodes.h5", "nodes/lgn/node_type_id"))
    replace_dataset(folder, "network/lgn_nodes.h5", "nodes/lgn/0/model_type", ["virtual"] * n)

    def edit(config):
        entry = next(e for e in config["networks"]["nodes"] if "lgn_nodes" in e["nodes_file"])
        entry["node_types_file"] = None

    edit_config(folder, edit)
    assert accepted_by_both(folder).nodes["lgn"].is_virtual


def test_explicit_enumerations(folder):
    """The guide: numbers in the attribute, their texts in `@library` under its name."""
    before = load_network(folder)
    names = before.cells.attributes["pop_name"].astype(str)
    texts, codes = np.unique(names, return_inverse=True)
    replace_dataset(folder, V1_NODES, f"{NODES}/0/pop_name", codes.astype(np.uint8))
    replace_dataset(folder, V1_NODES, f"{NODES}/0/@library/pop_name", texts.tolist())
    functions = ["weight_function_recurrent", "wmax"]
    n = len(dataset(folder, V1_EDGES, f"{EDGES}/source_node_id"))
    replace_dataset(folder, V1_EDGES, f"{EDGES}/0/weight_function", np.arange(n) % 2)
    replace_dataset(folder, V1_EDGES, f"{EDGES}/0/@library/weight_function", functions)
    network = accepted_by_both(folder)
    assert network.cells.attributes["pop_name"].tolist() == names.tolist()
    edges = network.edges["v1_to_v1"]
    raw = dataset(folder, V1_EDGES, f"{EDGES}/0/syn_weight").astype(float)
    np.testing.assert_allclose(edges.weight, np.where(np.arange(n) % 2, raw * edges.nsyns, raw))
    replace_dataset(folder, V1_NODES, f"{NODES}/0/pop_name", codes + 1)
    refused_by_both(folder, "a value is not one of its enumeration")


def test_a_types_table_of_several_populations(folder):
    """The guide: their ids may collide, and a column says whose a row is."""
    path = folder / "network/lgn_node_types.csv"
    header = "node_type_id population model_type pop_name"
    rows = ["300 lgn virtual lgn", "400 bkg virtual bkg", "300 bkg virtual another"]
    path.write_text("\n".join([header, *rows]) + "\n")
    bkg = "network/bkg_nodes.h5"
    n = len(dataset(folder, bkg, "nodes/bkg/node_type_id"))
    replace_dataset(folder, bkg, "nodes/bkg/node_type_id", np.where(np.arange(n), 300, 400))

    def edit(config):
        for entry in config["networks"]["nodes"]:
            if "bkg" in entry["nodes_file"]:
                entry["node_types_file"] = "$BASE_DIR/network/lgn_node_types.csv"

    edit_config(folder, edit)
    network = accepted_by_both(folder)
    assert set(network.nodes["lgn"].attributes["pop_name"]) == {"lgn"}
    assert network.nodes["bkg"].attributes["pop_name"].tolist() == ["bkg", *["another"] * (n - 1)]


def test_edges_without_a_types_table(folder):
    n = len(dataset(folder, V1_EDGES, f"{EDGES}/source_node_id"))
    replace_dataset(folder, V1_EDGES, f"{EDGES}/0/receptor_type", np.full(n, 3))
    replace_dataset(folder, V1_EDGES, f"{EDGES}/0/delay", np.full(n, 2.5))

    def edit(config):
        entry = next(e for e in config["networks"]["edges"] if "v1_v1" in e["edges_file"])
        entry["edge_types_file"] = None

    edit_config(folder, edit)
    edges = accepted_by_both(folder).edges["v1_to_v1"]
    assert set(edges.receptor.tolist()) == {2}
    assert set(edges.delay.tolist()) == {2.5}


def test_a_population_without_edges(folder):
    with h5py.File(folder / V1_EDGES, "r+") as file:
        group = file[EDGES]
        del group["indices"]
        for parent, names in ((group, list(group)), (group["0"], list(group["0"]))):
            for name in names:
                if isinstance(parent[name], h5py.Dataset):
                    kind, attributes = parent[name].dtype, dict(parent[name].attrs)
                    del parent[name]
                    parent.create_dataset(name, data=np.zeros(0, kind)).attrs.update(attributes)
    assert len(accepted_by_both(folder).edges["v1_to_v1"]) == 0


def test_positions_as_a_matrix(folder):
    """BMTK's builder wrote `positions` [n, 3] for years."""
    matrix = np.stack([dataset(folder, V1_NODES, f"{NODES}/0/{axis}") for axis in "xyz"], axis=1)
    with h5py.File(folder / V1_NODES, "r+") as file:
        for axis in "xyz":
            del file[f"{NODES}/0/{axis}"]
    replace_dataset(folder, V1_NODES, f"{NODES}/0/positions", matrix)
    replace_dataset(folder, V1_NODES, f"{NODES}/0/rotation", matrix[:, :2] * 2)
    found = accepted_by_both(folder).cells.attributes
    np.testing.assert_array_equal(np.stack([found[axis] for axis in "xyz"], axis=1), matrix)
    np.testing.assert_array_equal(found["rotation_1"], 2 * matrix[:, 1])


def test_attributes_without_values_are_absent(folder):
    with h5py.File(folder / V1_NODES, "r+") as file:
        file[f"{NODES}/0/nothing"] = h5py.Empty("f8")
    assert "nothing" not in read_nodes(folder / V1_NODES).attributes
    accepted_by_both(folder)


def test_edge_groups_of_different_columns(folder):
    """Only group 1 has nsyns and delay: edges of group 0 have the default and their type's."""
    with h5py.File(folder / V1_EDGES, "r+") as file:
        group = file[EDGES]
        n = len(group["source_node_id"])
        second = np.arange(n) % 3 == 0
        weight = group["0/syn_weight"][()]
        del group["0"], group["edge_group_id"], group["edge_group_index"]
        group["edge_group_id"] = second.astype(np.uint8)
        index = np.where(second, np.cumsum(second), np.cumsum(~second)) - 1
        group["edge_group_index"] = index.astype(np.uint64)
        group["0/syn_weight"], group["1/syn_weight"] = weight[~second], weight[second]
        group["1/nsyns"] = np.full(second.sum(), 4)
        group["1/delay"] = np.full(second.sum(), 7.5)
    network = accepted_by_both(folder)
    edges = network.edges["v1_to_v1"]
    assert edges.nsyns.tolist() == np.where(second, 4, 1).tolist()
    np.testing.assert_allclose(edges.weight, weight.astype(float) * edges.nsyns)
    of_type = read_types(folder / EDGE_TYPES, "edge_type_id")["delay"]
    expected = np.where(second, 7.5, of_type.loc[edges.edge_type_id].to_numpy())
    np.testing.assert_allclose(edges.delay, expected, rtol=1e-6)
    assert any("no 'nsyns'; taken as 1" in note for note in network.provenance["defaults"])


def test_parameters_of_single_edges_are_refused(folder):
    n = len(dataset(folder, V1_EDGES, f"{EDGES}/source_node_id"))
    replace_dataset(folder, V1_EDGES, f"{EDGES}/0/dynamics_params/U", np.full(n, 0.4))
    refused_by_both(folder, "edges with synapse parameters of their own are not supported")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dealy": 3.0}, "did you mean 'delay'"),
        ({"receptor_tpye": 3}, "did you mean 'receptor_type'"),
        ({"erev": 0.0}, "unknown synapse parameter 'erev'"),
        ({"U": 0.3, "tau_rec": 100.0}, "a static_synapse has no short-term plasticity"),
    ],
)
def test_synapse_files_are_read_strictly(folder, changes, message):
    """NEST refuses what a synapse does not have; here it had no effect."""
    edit_json(folder / "components/synaptic_models/e_to_e.json", **changes)
    refused_by_both(folder, message)


def test_what_pointnet_takes_from_no_synapse_file(folder):
    """BMTK's tutorials write a weight there, of which PointNet makes nothing, and DPointNet a fit."""
    before = load_network(folder).edges["v1_to_v1"].weight
    changes = {"weight": 250.0, "basis_weights": [-0.07, 1.11, 0.23, -0.02]}
    edit_json(folder / "components/synaptic_models/e_to_e.json", **changes)
    assert accepted_by_both(folder).edges["v1_to_v1"].weight.tolist() == before.tolist()


def test_templates_without_a_schema(folder):
    """As in the networks of BMTK's DPointNet."""
    before = load_network(folder)
    types = read_types(folder / NODE_TYPES, "node_type_id")
    write_types(folder / NODE_TYPES, types.assign(model_template="glif_psc_double_alpha"))
    again = accepted_by_both(folder)
    assert V1Network(again, backend="reference").neuron.name == "glif"
    for name, values in before.membrane.values.items():
        np.testing.assert_array_equal(again.membrane.values[name], values)


def test_tables_with_several_spaces(tmp_path):
    """The SONATA guide: columns are separated by one or multiple spaces."""
    path = tmp_path / "t.csv"
    path.write_text('node_type_id   name    size \n1  "a b"     2 \n2   NULL   NULL\n')
    table = read_types(path, "node_type_id")
    assert table.index.tolist() == [1, 2]
    assert table.loc[1].tolist() == ["a b", 2.0]
    assert table.loc[2].isna().all()
    path.write_text(
        "node_type_id name size\n1  2\n"
    )  # older: an absent value between single spaces
    assert pd.isna(read_types(path, "node_type_id").loc[1, "name"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("node_type_id a\n1 2 3\n", "not one value per column"),
        ("node_type_id a a\n1 2 3\n", "a column occurs twice"),
        ("node_type_id nsyns n_syns_\n1 2 3\n", "under two names"),
        ("", "the table is empty"),
        ("node_type_id\n1.5\n", "not an integer"),
    ],
)
def test_tables_that_are_none(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(NetworkError, match=message):
        read_types(tmp_path / "t.csv", "node_type_id")


def test_cells_with_compartments_are_named(folder):
    types = read_types(folder / NODE_TYPES, "node_type_id")
    types = types.assign(model_type="biophysical", model_template="ctdb:Biophys1.hoc")
    write_types(folder / NODE_TYPES, types)
    with h5py.File(folder / V1_EDGES, "r+") as file:
        del file[f"{EDGES}/indices"]
    refused_by_both(folder, "cells of model_type 'biophysical' are not supported")
    assert len(validate(folder)) == 1


def test_model_processing_of_others(folder):
    types = read_types(folder / NODE_TYPES, "node_type_id")
    write_types(folder / NODE_TYPES, types.assign(model_processing="my_own"))
    refused_by_both(folder, "unknown model processing 'my_own'")


def test_a_missing_column_is_not_renamed_to_itself(folder):
    """Port columns are nowhere, because no synaptic model names one."""
    for path in (folder / "components/synaptic_models").glob("*.json"):
        path.write_text("{}")
    refused_by_both(folder, "neither the edges nor their types have 'receptor_type'")
    assert "rename" not in "\n".join(map(str, validate(folder)))


def test_synaptic_models_without_a_folder(folder):
    edit_config(folder, lambda c: c["components"].pop("synaptic_models_dir"))
    refused_by_both(folder, "the configuration names no folder of synaptic models")


def test_edges_between_other_populations_than_the_configuration_says(folder):
    def edit(config):
        config["networks"]["edges"][0] |= {"source": "lgn", "target": "v1"}

    edit_config(folder, edit)
    refused_by_both(folder, "is not the one of the configuration")


def test_a_path_to_the_file_of_two_lines(folder, tmp_path):
    """What BMTK's build_env writes: `network` and `simulation`."""
    config = tmp_path / "config.json"
    simulation = {"run": {"tstop": 10.0}, "network": "network/circuit_config.json"}
    (tmp_path / "simulation_config.json").write_text(json.dumps(simulation))
    config.write_text(
        json.dumps(
            {"network": "network/circuit_config.json", "simulation": "simulation_config.json"}
        )
    )
    for path in (config, tmp_path / "simulation_config.json"):
        assert validate(path) == []
        assert load_network(path).n_cells == N_V1


def test_networks_and_run_in_one_file(folder):
    edit_config(folder, lambda c: c.update(run={"tstop": 10.0}, output={"output_dir": "out"}))
    accepted_by_both(folder)


def test_synapses_that_start_away_from_rest(folder):
    """U without u, which NEST takes as .5: `load` makes no model of it, and `validate` says so."""
    types = read_types(folder / EDGE_TYPES, "edge_type_id")
    write_types(folder / EDGE_TYPES, types.assign(model_template="tsodyks2_synapse"))
    for name in ("e_to_e", "i_to_v1"):
        path = folder / f"components/synaptic_models/{name}.json"
        edit_json(path, U=0.3)
    found = validate(folder)
    assert [p.what for p in found] == [
        "a synapse with short-term plasticity does not start at rest"
    ] * 2
    with pytest.raises(NetworkError, match="does not start at rest"):
        V1Network(load_network(folder), backend="reference")
    for name in ("e_to_e", "i_to_v1"):
        edit_json(folder / f"components/synaptic_models/{name}.json", u=0.3)
    V1Network(accepted_by_both(folder), backend="reference")
