"""Inputs that repeat the spikes of a file."""

import numpy as np
import pandas as pd
import pytest
import torch
from example_nodes import units

from v1builder.inputs import RecordedSource
from v1builder.load import load_network, save_network
from v1builder.schema.errors import NetworkError
from v1builder.sonata.spikes import write_spikes


def source(tmp_path, times, ids, dt=1.0, n=4, **columns):
    write_spikes(tmp_path / "spikes.h5", {"lgn": (times, ids)})
    columns = {"spikes_file": np.full(n, str(tmp_path / "spikes.h5")), **columns}
    nodes = units("lgn", n, **columns)
    return RecordedSource.of(nodes, np.arange(n), dt=dt, dtype=torch.float32)


@pytest.mark.parametrize("dt", [0.5, 1.0])
def test_a_trial_is_a_piece_of_the_recording_and_the_recording_is_a_ring(tmp_path, dt):
    rng = np.random.default_rng(1)
    times, ids = np.append(rng.uniform(0, 40, 60), 39.99), np.append(rng.integers(10, 14, 60), 11)
    found = source(tmp_path, times, ids, dt)
    n = round(40 / dt)
    assert found.n_recorded == n
    recording = np.zeros((n, 4), int)
    np.add.at(recording, ((times / dt).astype(int), ids - 10), 1)
    rings = {np.roll(recording, -k, axis=0).tobytes(): k for k in range(n)}
    assert len(rings) == n
    trials = found.gray(200, n, torch.Generator().manual_seed(0)).numpy().astype(int)
    starts = [
        rings[trial.tobytes()] for trial in trials
    ]  # every trial is the ring from some step on
    assert len(set(starts)) > 0.5 * min(n, 200)
    longer = found.spikes([()], 2 * n + 3, torch.Generator().manual_seed(3))[0].numpy()
    np.testing.assert_array_equal(longer[:n], longer[n : 2 * n])
    np.testing.assert_array_equal(longer[:3], longer[2 * n :])
    seconds = n * dt / 1000
    np.testing.assert_allclose(found.gray_rates(), recording.sum(axis=0) / seconds)


@pytest.mark.parametrize(
    ("times", "ids", "columns", "message"),
    [
        ([], [], {}, "no spikes"),
        ([1.0, 2.0], [10, 99], {}, "nodes that the population lacks.*node_id 99"),
        (np.full(256, 3.2), np.full(256, 11), {}, "more than 255 spikes.*256"),
        ([1.0], [10], {"spikes_file": np.array(["a", "b", "a", "a"])}, "several files"),
    ],
)
def test_a_recording_that_cannot_be_repeated(tmp_path, times, ids, columns, message):
    with pytest.raises(NetworkError, match=f"(?s){message}"):
        source(tmp_path, np.asarray(times, float), np.asarray(ids), **columns)


def test_a_recording_of_others_names_its_populations(tmp_path):
    write_spikes(tmp_path / "spikes.h5", {"lgm": ([1.0], [10])})
    nodes = units("lgn", 2, spikes_file=np.full(2, str(tmp_path / "spikes.h5")))
    with pytest.raises(NetworkError, match="lgm"):
        RecordedSource.of(nodes, np.arange(2), dt=1.0, dtype=torch.float32)


def test_the_file_is_beside_the_table_that_names_it(small_network_folder, tmp_path):
    """Read from a folder, saved to another: the spikes stay where they are."""
    network = load_network(small_network_folder)
    name = next(name for name, nodes in network.nodes.items() if nodes.is_virtual)
    save_network(network, tmp_path / "net")
    (table,) = (tmp_path / "net" / "network").glob(f"{name}_node_types.csv")
    types = pd.read_csv(table, sep=" ")
    types.assign(spikes_file="spikes.h5").to_csv(table, sep=" ", index=False)
    write_spikes(
        table.parent / "spikes.h5", {name: ([5.0, 9.0], network.nodes[name].node_id[[0, 0]])}
    )
    found = load_network(tmp_path / "net")
    save_network(found, tmp_path / "elsewhere" / "net")
    for again in (found, load_network(tmp_path / "elsewhere" / "net")):
        nodes = again.nodes[name]
        source = RecordedSource.of(nodes, np.arange(len(nodes)), dt=1.0, dtype=torch.float32)
        assert source.gray(1, 10, torch.Generator().manual_seed(0)).sum() == 2
