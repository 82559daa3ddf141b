"""The same folder, read by libsonata and by BMTK, gives what we wrote."""

import json
import shutil
from pathlib import Path

import h5py
import libsonata
import numpy as np
import pytest
from bmtk.utils.sonata import File

from v1builder.schema.files import hash_folder
from v1builder.sonata import (
    read_circuit,
    read_edges,
    read_nodes,
    read_report,
    read_simulation,
    read_spikes,
    write_report,
    write_spikes,
)

EDGES = ("v1_to_v1", "lgn_to_v1", "bkg_to_v1")


def paths(folder: Path, population: str) -> tuple[str, str]:
    part = next(p for p in read_circuit(folder).edges if p.population == population)
    return str(part.file), str(part.types_file)


@pytest.fixture
def circuit(small_network_folder: Path) -> libsonata.CircuitConfig:
    return libsonata.CircuitConfig.from_file(str(small_network_folder / "circuit_config.json"))


def test_libsonata_lists_the_populations(circuit: libsonata.CircuitConfig) -> None:
    assert circuit.config_status == libsonata.CircuitConfigStatus.complete
    assert circuit.node_populations == {"v1", "lgn", "bkg"}
    assert circuit.edge_populations == set(EDGES)
    assert circuit.node_population_properties("v1").type == "point_neuron"
    assert circuit.node_population_properties("lgn").type == "virtual"


def test_libsonata_reads_the_nodes(
    circuit: libsonata.CircuitConfig, small_network_folder: Path
) -> None:
    table = read_nodes(small_network_folder / "network/v1_nodes.h5")
    population = circuit.node_population("v1")
    assert population.size == len(table)
    assert population.attribute_names == set(table.attributes)
    for name, values in table.attributes.items():
        read = population.get_attribute(name, population.select_all())
        np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("name", EDGES)
def test_libsonata_finds_the_edges_of_every_node(
    name: str, circuit: libsonata.CircuitConfig, small_network_folder: Path
) -> None:
    edges = read_edges(paths(small_network_folder, name)[0])
    population = circuit.edge_population(name)
    everything = population.select_all()
    assert (population.source, population.target) == (edges.source, edges.target)
    np.testing.assert_array_equal(population.source_nodes(everything), edges.source_id)
    np.testing.assert_array_equal(population.target_nodes(everything), edges.target_id)
    for attribute, values in edges.attributes.items():
        np.testing.assert_array_equal(population.get_attribute(attribute, everything), values)
    for node in range(circuit.node_population(edges.target).size):
        found = population.afferent_edges([node]).flatten()
        np.testing.assert_array_equal(found, np.flatnonzero(edges.target_id == node))
    for node in range(circuit.node_population(edges.source).size):
        found = population.efferent_edges([node]).flatten()
        np.testing.assert_array_equal(np.sort(found), np.flatnonzero(edges.source_id == node))


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # BMTK's own use of pandas
@pytest.mark.parametrize("name", EDGES)
def test_bmtk_finds_the_edges_of_every_node(name: str, small_network_folder: Path) -> None:
    file, types = paths(small_network_folder, name)
    edges = read_edges(file)
    population = File([file], [types]).edges[name]
    n_nodes = {"v1": 24, "lgn": 6, "bkg": 2}
    for node in range(n_nodes[edges.target]):
        found = sorted(
            (e.source_node_id, e["syn_weight"], e["nsyns"], e["delay"])
            for e in population.get_target(node)
        )
        mine = np.flatnonzero(edges.target_id == node)
        assert [row[0] for row in found] == edges.source_id[mine].tolist()
        assert [row[1] for row in found] == edges.attributes["syn_weight"][mine].tolist()
        assert [row[2] for row in found] == edges.attributes["nsyns"][mine].tolist()
        assert all(row[3] > 0 for row in found)
    for node in range(n_nodes[edges.source]):
        found = sorted(e.target_node_id for e in population.get_source(node))
        assert found == edges.target_id[edges.source_id == node].tolist()


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # BMTK's own use of pandas
def test_bmtk_reads_the_nodes(small_network_folder: Path) -> None:
    folder = small_network_folder / "network"
    table = read_nodes(folder / "v1_nodes.h5")
    nodes = File([str(folder / "v1_nodes.h5")], [str(folder / "v1_node_types.csv")]).nodes["v1"]
    read = list(nodes)
    assert [node.node_id for node in read] == table.node_id.tolist()
    assert [node.node_type_id for node in read] == table.node_type_id.tolist()
    assert [node["x"] for node in read] == table.attributes["x"].tolist()
    assert {node["pop_name"] for node in read} == {"e23Cux2", "i23Pvalb"}


def test_same_contents_same_bytes(small_network_folder: Path, tmp_path: Path) -> None:
    from small_network import write_small_network

    assert hash_folder(write_small_network(tmp_path)) == hash_folder(small_network_folder)


def test_edge_types_are_signed_and_uncompressed(small_network_folder: Path) -> None:
    with h5py.File(paths(small_network_folder, "v1_to_v1")[0]) as file:
        group = file["edges/v1_to_v1"]
        assert group["edge_type_id"].dtype == np.int64
        assert group["edge_type_id"].compression is None
        assert group["0/syn_weight"].compression is None


def test_libsonata_reads_spikes(tmp_path: Path) -> None:
    times, ids = [7.5, 0.25, 7.5, 3.0], [3, 1, 2, 3]
    write_spikes(tmp_path / "spikes.h5", {"v1": (times, ids), "lgn": ([], [])})
    reader = libsonata.SpikeReader(str(tmp_path / "spikes.h5"))
    assert reader.get_population_names() == ["lgn", "v1"]
    population = reader["v1"]
    assert population.sorting == "by_time"
    assert population.get() == [(1, 0.25), (3, 3.0), (2, 7.5), (3, 7.5)]


def test_bmtk_reads_spikes_and_we_read_its(tmp_path: Path) -> None:
    from bmtk.utils.reports.spike_trains import SpikeTrains

    write_spikes(tmp_path / "ours.h5", {"v1": ([0.5, 2.0, 1.0], [1, 0, 1])})
    trains = SpikeTrains.load(str(tmp_path / "ours.h5"))
    assert trains.get_times(1, population="v1").tolist() == [0.5, 1.0]
    trains.to_sonata(str(tmp_path / "theirs.h5"))
    theirs = read_spikes(tmp_path / "theirs.h5")["v1"]
    assert theirs.timestamps.tolist() == [0.5, 1.0, 2.0]
    assert theirs.node_ids.tolist() == [1, 1, 0]


def test_libsonata_and_bmtk_read_reports(tmp_path: Path) -> None:
    from bmtk.utils.reports import CompartmentReport

    data = np.arange(12, dtype=np.float32).reshape(4, 3)
    path = tmp_path / "v.h5"
    write_report(path, "v1", [2, 5, 9], data, start=0.0, step=0.5, units="mV")
    population = libsonata.ElementReportReader(str(path))["v1"]
    assert population.times == (0.0, 2.0, 0.5)
    assert population.data_units == "mV"
    assert population.time_units == "ms"
    assert sorted(population.get_node_ids()) == [2, 5, 9]
    frame = population.get()
    np.testing.assert_array_equal(frame.data, data)
    report = CompartmentReport(str(path), mode="r")
    np.testing.assert_array_equal(np.ravel(report.data(node_id=5, population="v1")), data[:, 1])


def simulation_config(folder: Path) -> dict:
    """A configuration for libsonata; BMTK's has `module` names of its own."""
    return {
        "version": 2.4,
        "manifest": {"$OUTPUT_DIR": "output"},
        "network": "circuit_config.json",
        "run": {"tstop": 50.0, "dt": 0.1, "random_seed": 1},
        "output": {"output_dir": "$OUTPUT_DIR", "spikes_file": "spikes.h5"},
        "node_set": "cells",
        "node_sets_file": "node_sets.json",
        "inputs": {
            "lgn": {
                "input_type": "spikes",
                "module": "synapse_replay",
                "spike_file": "lgn_spikes.h5",
                "delay": 0.0,
                "duration": 50.0,
                "node_set": "cells",
            }
        },
    }


def test_libsonata_reads_the_simulation_config(small_network_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "network"
    shutil.copytree(small_network_folder, folder)
    write_spikes(folder / "lgn_spikes.h5", {"lgn": ([1.0], [0])})
    (folder / "node_sets.json").write_text(json.dumps({"cells": {"population": "v1"}}))
    path = folder / "simulation_config.json"
    path.write_text(json.dumps(simulation_config(folder)))
    theirs = libsonata.SimulationConfig.from_file(str(path))
    ours = read_simulation(path)
    assert (theirs.run.tstop, theirs.run.dt) == (ours.config.run.tstop, ours.config.run.dt)
    assert Path(theirs.network) == ours.circuit.path
    assert Path(theirs.output.output_dir) == ours.output_dir
    replay = theirs.input("lgn")
    input_file = ours.config.inputs["lgn"].input_file
    assert input_file is not None
    assert Path(replay.spike_file) == ours.input_path(input_file)


def test_report_roundtrip(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(5, 2)).astype(np.float32)
    write_report(tmp_path / "v.h5", "v1", [0, 3], data, start=1.0, step=0.25, units="mV")
    report = read_report(tmp_path / "v.h5")
    np.testing.assert_array_equal(report.data, data)
    np.testing.assert_allclose(report.times, [1.0, 1.25, 1.5, 1.75, 2.0])
    assert (report.population, report.units, report.node_ids.tolist()) == ("v1", "mV", [0, 3])
