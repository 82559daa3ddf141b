"""read(write(x)) == x, the indices, and what the writers refuse."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from v1builder.schema.errors import NetworkError
from v1builder.schema.files import sha256_of
from v1builder.sonata import (
    EdgeWriter,
    iterate_edges,
    read_edges,
    read_nodes,
    read_spikes,
    read_types,
    write_nodes,
    write_spikes,
    write_types,
)
from v1builder.sonata.indices import iterate_runs, write_indices
from v1builder.sonata.validate_edges import index_fault

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1, max_size=8)


@quick
@given(
    n=st.integers(0, 9),
    data=st.data(),
    first_type=st.integers(-(2**62), 2**62),
)
def test_nodes_roundtrip(tmp_path: Path, n: int, data: st.DataObject, first_type: int) -> None:
    types = first_type + np.arange(n)
    attributes = {
        "x": data.draw(nps.arrays(np.float64, n, elements=finite)),
        "k": data.draw(nps.arrays(np.int32, n)),
        "name": np.array(data.draw(st.lists(text, min_size=n, max_size=n)), dtype=object),
    }
    write_nodes(tmp_path / "n.h5", "v1", types, attributes)
    table = read_nodes(tmp_path / "n.h5")
    np.testing.assert_array_equal(table.node_type_id, types)
    np.testing.assert_array_equal(table.node_id, np.arange(n))
    assert set(table.attributes) == set(attributes)
    for name, values in attributes.items():
        np.testing.assert_array_equal(table.attributes[name], values)


@st.composite
def edge_lists(draw: st.DrawFn) -> tuple[int, int, np.ndarray, np.ndarray]:
    n_source, n_target = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    pair = st.tuples(st.integers(0, n_target - 1), st.integers(0, n_source - 1))
    pairs = np.array(sorted(draw(st.lists(pair, max_size=30))), dtype=np.int64).reshape(-1, 2)
    return n_source, n_target, pairs[:, 1], pairs[:, 0]


@quick
@given(edges=edge_lists(), cuts=st.lists(st.integers(0, 30), max_size=4), seed=st.integers(0, 99))
def test_edges_roundtrip(
    tmp_path: Path,
    edges: tuple[int, int, np.ndarray, np.ndarray],
    cuts: list[int],
    seed: int,
) -> None:
    n_source, n_target, source, target = edges
    n = len(source)
    rng = np.random.default_rng(seed)
    type_id = rng.integers(-(2**40), 2**40, n)
    weight = rng.normal(size=n).astype(np.float32)
    path = tmp_path / "e.h5"
    with EdgeWriter(path, "a_to_b", "a", "b", n_source, n_target, {"w": np.float32}) as writer:
        for block in np.split(np.arange(n), sorted(min(cut, n) for cut in cuts)):
            writer.write(source[block], target[block], type_id[block], w=weight[block])
    table = read_edges(path)
    assert (table.population, table.source, table.target) == ("a_to_b", "a", "b")
    np.testing.assert_array_equal(table.source_id, source)
    np.testing.assert_array_equal(table.target_id, target)
    np.testing.assert_array_equal(table.edge_type_id, type_id)
    np.testing.assert_array_equal(table.attributes["w"], weight)
    chunks = list(iterate_edges(path, chunk=7))
    np.testing.assert_array_equal(np.concatenate([c.attributes["w"] for c in chunks]), weight)
    with h5py.File(path) as file:
        for direction, ids in (("source_to_target", source), ("target_to_source", target)):
            index = file[f"edges/a_to_b/indices/{direction}"]
            assert index["node_id_to_ranges"] == index["node_id_to_range"]  # one dataset, two names
            fault = index_fault(index["node_id_to_ranges"][()], index["range_to_edge_id"], ids)
            assert fault == ""


@quick
@given(
    ids=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    chunk=st.integers(1, 9),
    bucket=st.integers(1, 9),
)
def test_indices_do_not_depend_on_chunks_or_buckets(
    tmp_path: Path, ids: list[int], chunk: int, bucket: int
) -> None:
    with h5py.File(tmp_path / "i.h5", "w") as file:
        groups = [file.create_group(name) for name in ("whole", "parts")]
        for group in groups:
            group["source_node_id"] = group["target_node_id"] = np.array(ids)
        write_indices(groups[0], 5, 5)
        write_indices(groups[1], 5, 5, chunk=chunk, bucket=bucket)
        for name in ("node_id_to_ranges", "range_to_edge_id"):
            whole, parts = (group[f"indices/source_to_target/{name}"][()] for group in groups)
            np.testing.assert_array_equal(whole, parts)
        blocks = list(iterate_runs(groups[0]["source_node_id"], chunk))
        runs = [np.concatenate(column) for column in zip(*blocks, strict=True)]
        assert np.all(runs[0][1:] != runs[0][:-1])  # a run is never cut
        np.testing.assert_array_equal(np.repeat(runs[0], runs[2] - runs[1]), ids)


@quick
@given(
    values=st.lists(finite, min_size=1, max_size=6),
    words=st.lists(text.filter(lambda word: word not in ("NULL",)), min_size=6, max_size=6),
)
def test_types_roundtrip(tmp_path: Path, values: list[float], words: list[str]) -> None:
    n = len(values)
    types = pd.DataFrame(
        {"delay": values, "query": [f"pop=='{w}' & x" for w in words[:n]]},
        index=pd.Index(np.arange(n) - 3, name="edge_type_id"),
    )
    write_types(tmp_path / "t.csv", types)
    read = read_types(tmp_path / "t.csv", "edge_type_id")
    assert read.index.tolist() == types.index.tolist()
    assert read["query"].tolist() == types["query"].tolist()
    assert read["delay"].astype(float).tolist() == values


@quick
@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 2**40)), max_size=20))
def test_spikes_roundtrip(tmp_path: Path, spikes: list[tuple[float, int]]) -> None:
    write_spikes(tmp_path / "s.h5", {"v1": ([t for t, _ in spikes], [i for _, i in spikes])})
    read = read_spikes(tmp_path / "s.h5")["v1"]
    assert list(zip(read.timestamps, read.node_ids, strict=True)) == sorted(spikes)


def test_old_spike_layout(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["spikes/timestamps"], file["spikes/gids"] = [3.0, 1.0], [4, 5]
    read = read_spikes(tmp_path / "old.h5")[""]
    assert (read.timestamps.tolist(), read.node_ids.tolist()) == ([1.0, 3.0], [5, 4])


def test_negative_spike_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="negative or not finite"):
        write_spikes(tmp_path / "s.h5", {"v1": ([-1.0], [0])})
    assert not (tmp_path / "s.h5").exists()


def test_absent_values_of_types(tmp_path: Path) -> None:
    types = pd.DataFrame(
        {"borrowed_from": ["", "e4other"], "model_type": ["virtual", "virtual"]},
        index=pd.Index([1, 2], name="node_type_id"),
    )
    write_types(tmp_path / "t.csv", types)
    assert "NULL" in (tmp_path / "t.csv").read_text()
    read = read_types(tmp_path / "t.csv", "node_type_id")
    assert read["borrowed_from"].isna().tolist() == [True, False]


def test_old_name_of_nsyns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("edge_type_id n_syns_\n1 4\n")
    assert read_types(tmp_path / "t.csv", "edge_type_id")["nsyns"].tolist() == [4]


@pytest.mark.parametrize(
    ("source", "target", "columns", "message"),
    [
        ([1, 0], [0, 0], {"w": [1, 1]}, "sorted by"),
        ([0, 0], [1, 0], {"w": [1, 1]}, "sorted by"),
        ([0, 9], [0, 0], {"w": [1, 1]}, "source that does not exist"),
        ([0, 1], [0, -1], {"w": [1, 1]}, "target that does not exist"),
        ([0, 1], [0, 0], {"w": [1]}, "one value per edge"),
        ([0, 1], [0, 0], {}, "columns of the block"),
        ([0, 1], [0, 0], {"w": [1, 1], "u": [1, 1]}, "columns of the block"),
    ],
)
def test_bad_block_leaves_no_file(
    tmp_path: Path, source: list[int], target: list[int], columns: dict, message: str
) -> None:
    with (
        pytest.raises(NetworkError, match=message),
        EdgeWriter(tmp_path / "e.h5", "p", "a", "b", 3, 3, {"w": float}) as writer,
    ):
        writer.write(source, target, np.zeros(2, int), **columns)
    assert list(tmp_path.iterdir()) == []


def test_blocks_must_follow_one_another(tmp_path: Path) -> None:
    with EdgeWriter(tmp_path / "e.h5", "p", "a", "b", 3, 3, {}) as writer:
        writer.write([1], [2], [0])
        with pytest.raises(NetworkError, match="sorted by"):
            writer.write([2], [1], [0])
    assert read_edges(tmp_path / "e.h5").source_id.tolist() == [1]


def test_block_size_does_not_change_the_bytes(tmp_path: Path) -> None:
    target, source = np.divmod(np.arange(5000), 50)
    for name, n_blocks in (("one.h5", 1), ("many.h5", 17)):
        with EdgeWriter(tmp_path / name, "p", "a", "b", 50, 100, {"w": np.float32}) as writer:
            for block in np.array_split(np.arange(5000), n_blocks):
                ids = source[block]
                writer.write(ids, target[block], np.zeros(len(block), int), w=ids)
    assert sha256_of(tmp_path / "one.h5") == sha256_of(tmp_path / "many.h5")


def test_index_fault_does_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    from v1builder.sonata import validate_edges

    ids = np.array([0, 0, 2, 1, 1, 1, 0])
    to_ranges = np.array([[0, 2], [2, 3], [3, 4], [0, 0]])
    to_edges = np.array([[0, 2], [6, 7], [3, 6], [2, 3]])
    twice = np.array([[0, 2], [6, 7], [0, 1], [3, 6], [2, 3]])
    cases = {
        "": (to_ranges, to_edges),
        "listed for node": (to_ranges, to_edges[[0, 1, 3, 2]]),
        "edge 6 is not listed": (to_ranges, to_edges[[0, 0, 2, 3]]),
        "edges that do not exist": (to_ranges, to_edges + 9 * (to_edges == [2, 3])),
        "edge 5 is not listed": (to_ranges, to_edges - (to_edges == [-1, 6])),
        "ranges that do not exist": (to_ranges * 2, to_edges),
        "an edge is listed twice": (np.array([[0, 3], [3, 4], [4, 5], [0, 0]]), twice),
    }
    for chunk in (1, 2, 3, 100):
        monkeypatch.setattr(validate_edges, "_CHUNK", chunk)
        for message, (ranges, table) in cases.items():
            fault = index_fault(ranges, table, ids)
            assert message in fault
            assert bool(fault) == bool(message)


def test_node_attribute_of_wrong_length(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="one value per node"):
        write_nodes(tmp_path / "n.h5", "v1", [1, 1], {"x": [0.0]})
