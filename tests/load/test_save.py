"""load(save(x)) == x, also for networks that an ablation changed; NEST gets what we changed."""

import json
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from v1builder.load import GroupedValues, Network, load_network, save_network
from v1builder.schema.errors import NetworkError, StorageError
from v1builder.schema.files import hash_folder
from v1builder.sonata import validate


def assert_same_cells(a: GroupedValues, b: GroupedValues) -> None:
    assert set(a.values) == set(b.values)
    for name in a.values:
        np.testing.assert_array_equal(a.per_cell(name), b.per_cell(name))
    labels = [[values.labels[row] for row in values.group_of] for values in (a, b)]
    assert labels[0] == labels[1]


def assert_same(a: Network, b: Network) -> None:
    assert_same_cells(a.membrane, b.membrane)
    assert_same_cells(a.receptors, b.receptors)
    np.testing.assert_array_equal(a.bias_current, b.bias_current)
    assert a.provenance == b.provenance
    for name, nodes in a.nodes.items():
        np.testing.assert_array_equal(nodes.node_id, b.nodes[name].node_id)
        for attribute in ("x", "y", "model_type", "pop_name"):
            np.testing.assert_array_equal(
                nodes.attributes[attribute], b.nodes[name].attributes[attribute]
            )
    for name, edges in a.edges.items():
        for field in fields(edges):
            before, after = getattr(edges, field.name), getattr(b.edges[name], field.name)
            if field.name == "types":
                assert before.equals(after)
            else:
                assert np.array_equal(before, after), (name, field.name)


@pytest.fixture(scope="module")
def network(small_network_folder: Path) -> Network:
    return load_network(small_network_folder)


def by_population(network: Network) -> Network:
    """Every cell with the mean membrane of its population, and another bias per population."""
    inhibitory = (network.cells.attributes["ei"] == "i").astype(np.int64)
    values = {
        name: np.stack([network.membrane.per_cell(name)[inhibitory == k].mean(0) for k in (0, 1)])
        for name in network.membrane.values
    }
    membrane = GroupedValues(values, inhibitory, ("e23Cux2", "i23Pvalb"))
    return replace(network, membrane=membrane, bias_current=np.where(inhibitory, -12.5, 300.0 / 7))


def shuffled(network: Network, seed: int) -> Network:
    """Membranes permuted over all cells: types must be split."""
    order = np.random.default_rng(seed).permutation(network.n_cells)
    old = network.membrane
    return replace(network, membrane=GroupedValues(old.values, old.group_of[order], old.labels))


def test_unchanged_network_keeps_everything(network: Network, tmp_path: Path) -> None:
    again = load_network(save_network(network, tmp_path / "a"))
    assert_same(network, again)
    np.testing.assert_array_equal(again.cells.node_type_id, network.cells.node_type_id)
    assert again.cells.types.equals(network.cells.types)
    assert validate(tmp_path / "a") == []
    save_network(again, tmp_path / "b")
    assert hash_folder(tmp_path / "a") == hash_folder(tmp_path / "b")


def test_population_means_with_bias(network: Network, tmp_path: Path) -> None:
    ablated = by_population(network)
    again = load_network(save_network(ablated, tmp_path / "a"))
    assert_same(ablated, again)
    assert again.membrane.labels == ("e23Cux2", "i23Pvalb")
    assert validate(tmp_path / "a") == []
    assert_same(again, load_network(save_network(again, tmp_path / "b")))


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 1000))
def test_shuffled_membranes_split_types(network: Network, tmp_path: Path, seed: int) -> None:
    changed = shuffled(network, seed)
    again = load_network(save_network(changed, tmp_path / "a", overwrite=True))
    assert_same(changed, again)
    assert len(again.cells.types) > len(network.cells.types)
    assert validate(tmp_path / "a") == []


def test_changed_edges(network: Network, tmp_path: Path) -> None:
    """Trained weights (float64), delays and receptors of single edges, edges in another order."""
    rng = np.random.default_rng(0)
    edges = network.edges["v1_to_v1"]
    order = rng.permutation(len(edges))
    new = replace(
        edges,
        source_index=edges.source_index[order],
        target_index=edges.target_index[order],
        edge_type_id=edges.edge_type_id[order],
        nsyns=edges.nsyns[order],
        weight=edges.weight[order] * rng.uniform(0.5, 2.0, len(edges)),
        delay=rng.uniform(0.5, 3.0, len(edges)).astype(np.float32),
        receptor=rng.integers(0, 10, len(edges)).astype(np.int16),
    )
    changed = replace(network, edges=network.edges | {"v1_to_v1": new})
    again = load_network(save_network(changed, tmp_path / "a")).edges["v1_to_v1"]
    back = np.lexsort((new.source_index, new.target_index))
    np.testing.assert_array_equal(again.source_index, new.source_index[back])
    np.testing.assert_array_equal(again.target_index, new.target_index[back])
    np.testing.assert_array_equal(again.delay, new.delay[back])
    np.testing.assert_array_equal(again.receptor, new.receptor[back])
    np.testing.assert_allclose(again.weight, new.weight[back], rtol=2.3e-16)
    assert validate(tmp_path / "a") == []


def test_second_ablation_replaces_labels_and_bias(network: Network, tmp_path: Path) -> None:
    once = load_network(save_network(by_population(network), tmp_path / "a"))
    zero = np.zeros(network.n_cells, dtype=np.int64)
    values = {name: once.membrane.per_cell(name)[:1] for name in once.membrane.values}
    twice = replace(
        once,
        membrane=GroupedValues(values, zero, ("everyone",)),
        bias_current=np.zeros(network.n_cells),
    )
    assert_same(twice, load_network(save_network(twice, tmp_path / "b")))


def test_bias_that_disagrees_with_the_cell_model(network: Network, tmp_path: Path) -> None:
    folder = save_network(by_population(network), tmp_path / "a")
    path = next((folder / "components/cell_models").iterdir())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"E_L": -50.0}))
    with pytest.raises(NetworkError, match="disagree with the cell models"):
        load_network(folder)


def test_existing_folder_stays(network: Network, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("data")
    with pytest.raises(StorageError, match="already exists"):
        save_network(network, tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "data"


_NEST_PROGRAM = """
import json, sys
from bmtk.simulator import pointnet
import nest
configuration = pointnet.Config.from_json(sys.argv[1])
configuration.build_env()
network = pointnet.PointNetwork.from_config(configuration)
pointnet.PointSimulator.from_config(configuration, network).run()
names = ["E_L", "C_m", "V_th", "g", "t_ref", "asc_amps", "tau_syn_fast"]
gids = [network.gid_map.get_gid("v1", i) for i in range(24)]
cells = [nest.NodeCollection([gid]).get(names) for gid in gids]
targets = nest.GetConnections(target=nest.NodeCollection(sorted(gids)))
edges = [sorted(targets.get(name)) for name in ("weight", "receptor")]
print("RESULT" + json.dumps([cells, *edges], default=list))
"""


@pytest.mark.nest
def test_nest_gets_the_ablated_parameters(network: Network, tmp_path: Path) -> None:
    ablated = by_population(network)
    folder = save_network(ablated, tmp_path / "net")
    config = {
        "network": "circuit_config.json",
        "target_simulator": "NEST",
        "run": {"tstop": 1.0, "dt": 0.1},
        "output": {"output_dir": "./output", "spikes_file": "spikes.h5"},
    }
    (folder / "simulation_config.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-c", _NEST_PROGRAM, "simulation_config.json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    line = next(row for row in done.stdout.splitlines() if row.startswith("RESULT"))
    cells, weights, receptors = json.loads(line.removeprefix("RESULT"))
    for name in ("C_m", "V_th", "g", "t_ref", "asc_amps"):
        got = np.array([cell[name] for cell in cells])
        np.testing.assert_allclose(got, ablated.membrane.per_cell(name), rtol=1e-14)
    g, rest = ablated.membrane.per_cell("g"), ablated.membrane.per_cell("E_L")
    got = np.array([cell["E_L"] for cell in cells])
    np.testing.assert_allclose((got - rest) * g, ablated.bias_current, rtol=1e-9)
    got = np.array([cell["tau_syn_fast"] for cell in cells])
    np.testing.assert_allclose(got, ablated.receptors.per_cell("tau_syn_fast"), rtol=1e-14)
    edges = ablated.edges["v1_to_v1"]
    np.testing.assert_allclose(weights, np.sort(edges.weight), rtol=1e-6)
    assert receptors == sorted((edges.receptor + 1).tolist())
    shutil.rmtree(folder)
