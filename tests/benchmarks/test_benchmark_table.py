"""The benchmark's networks, its count of bytes and its tables. Nothing is timed here."""

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _importable():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def case(**changed) -> dict:
    base = {
        "cells": 1000, "fan_in": 100, "receptors": 10, "batch": 1, "steps": 500, "dt": 1.0,
        "neuron": "glif3", "backend": "fused", "mode": "forward", "threads": 2, "width": 1.0,
    }  # fmt: skip
    return {**base, **changed}


def result(program: str, seconds: list[float], steps_run: int = 500, **changed) -> dict:
    runs = [{"seconds": s, "spikes": 5000.0, "peak_mb": 400.0 + i} for i, s in enumerate(seconds)]
    return {"program": program, "case": case(**changed), "runs": runs, "steps_run": steps_run,
            "bandwidth_gb_s": 30.0, "load": "0.1 to 0.2"}  # fmt: skip


def test_both_networks_have_the_asked_edges_and_the_same_ones_every_time():
    import workload  # pyright: ignore[reportMissingImports]

    glif3, lif = workload.glif3(50, 20, 10), workload.lif(50, 20)
    for data in (glif3, lif):
        assert (np.bincount(data["target"], minlength=50) == 20).all()
        assert (np.bincount(data["drive_target"], minlength=50) == 4).all()
        inhibitory = data["source"] >= 40
        assert (data["weight"][inhibitory] < 0).all()
        assert (data["weight"][~inhibitory] > 0).all()
    np.testing.assert_array_equal(workload.lif(50, 20)["weight"], lif["weight"])


def test_the_dense_matrix_gives_the_input_of_the_edges():
    import workload  # pyright: ignore[reportMissingImports]

    data = workload.lif(60, 20)
    spikes = np.random.default_rng(0).random(60) < 0.3
    matrix = workload.dense(data["source"], data["target"], data["weight"], (60, 60))
    expected = np.zeros(60)
    np.add.at(expected, data["target"], data["weight"] * spikes[data["source"]])
    np.testing.assert_allclose(matrix @ spikes, expected, rtol=1e-4, atol=1e-5)


def test_lif_cells_fire_about_as_often_as_the_glif3_cells():
    """The GLIF3 network of 1 000 cells fires at 12.6 Hz in NEST and here."""
    import workload  # pyright: ignore[reportMissingImports]

    data = workload.lif(1000, 100)
    W = workload.dense(data["source"], data["target"], data["weight"], (1000, 1000))
    W_in = workload.dense(
        data["drive_source"], data["drive_target"], data["drive_weight"], (1000, 100)
    )
    inputs = workload.background(1, 500)[0] @ W_in.T
    v, z, n_spikes = np.zeros(1000), np.zeros(1000), 0.0
    for t in range(500):
        v = v * (1 - z) * workload.DECAY + W @ z + inputs[t]
        z = (v > workload.V_TH).astype(np.float32)
        n_spikes += z.sum()
    assert n_spikes / 1000 / 0.5 == pytest.approx(12.6, rel=0.2)


def test_median_rate_cost_and_ratio_of_a_cut_run():
    import table  # pyright: ignore[reportMissingImports]

    ours = table.summary(result("v1builder fused", [0.02, 0.01, 0.06]))
    assert (ours["median_s"], ours["min_s"], ours["max_s"]) == (0.02, 0.01, 0.06)
    assert ours["rate_hz"] == pytest.approx(10)
    assert ours["ns_per_spike_synapse"] == pytest.approx(0.02e9 / (5000 * 100))
    assert ours["peak_mb"] == 402

    cut = table.summary(result("peer", [0.4, 0.6], steps_run=50, neuron="lif"))
    assert cut["median_s"] == pytest.approx(5.0)
    assert cut["spikes"] == pytest.approx(50_000)
    assert cut["ns_per_spike_synapse"] is None  # few spikes in the first steps from rest
    assert table.with_ratios([cut, ours])[0]["ratio"] == pytest.approx(250)
    line = table.row(cut)
    assert "| peer | LIF | 5.00 | 4.00-6.00 (2) | 250 |" in line
    assert "over 50 steps and scaled" in line


def test_a_peer_that_was_not_installed_has_a_line(tmp_path):
    import table  # pyright: ignore[reportMissingImports]

    missing = {"program": "peer", "case": case(), "runs": [], "error": "not installed: no wheel"}
    ours = table.summary(result("v1builder fused", [0.02]))
    report = {"text": "# Page\n", "results": [ours, missing], "not_reached": ["9 cells, batch 1"]}
    text = table.markdown(report)
    assert "| peer | GLIF3 | | | | | | | | not installed: no wheel |" in text
    assert "1000 cells, 100 synapses each, batch 1, forward" in text
    assert "9 cells, batch 1" in text
    table.write(report, tmp_path)
    assert (tmp_path / "benchmarks.png").stat().st_size > 1000
    assert (tmp_path / "benchmarks.md").read_text() == text


def test_bytes_grow_with_spikes_or_with_the_matrix_as_each_algorithm_has_it():
    from roofline import bytes_moved  # pyright: ignore[reportMissingImports]

    quiet, busy = (bytes_moved(case(), spikes, None) for spikes in (0, 1000))
    assert busy - quiet == 1000 * 100 * 16  # weight, place, read and write of the sum
    dense = case(backend="norse", neuron="lif", cells=2000)
    assert bytes_moved(dense, 0, None) == 500 * 4 * 2000**2
    both = {"mode": "forward+backward"}
    narrow, wide = (bytes_moved(case(**both), 0, active) for active in (0.1, 0.8))
    assert wide - narrow == pytest.approx(500 * 1000 * 0.7 * 100 * 12)
    assert bytes_moved(case(backend="brainpy"), 0, None) is None


def test_a_loop_is_cut_to_the_steps_that_fit():
    from protocol import steps_within  # pyright: ignore[reportMissingImports]

    assert steps_within(20, 0.1, 10, 500) == 500
    assert steps_within(20, 4.0, 10, 500) == 50
    assert steps_within(1, 4.0, 10, 500) == 10
