"""Copy a small valid network, break one thing, expect the one message that names it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from v1builder.sonata import read_types, validate, write_types

Breaker = Callable[[Path], None]
V1_EDGES = "network/v1_v1_edges.h5"
POPULATION = "edges/v1_to_v1"


def set_values(file: str, dataset: str, index: object, value: object) -> Breaker:
    def breaker(folder: Path) -> None:
        with h5py.File(folder / file, "r+") as handle:
            handle[dataset][index] = value

    return breaker


def remove(file: str, item: str) -> Breaker:
    def breaker(folder: Path) -> None:
        with h5py.File(folder / file, "r+") as handle:
            del handle[item]

    return breaker


def shorten(file: str, dataset: str) -> Breaker:
    def breaker(folder: Path) -> None:
        with h5py.File(folder / file, "r+") as handle:
            values = handle[dataset][:-1]
            del handle[dataset]
            handle[dataset] = values

    return breaker


def halve_synapses(folder: Path) -> None:
    with h5py.File(folder / V1_EDGES, "r+") as file:
        counts = file[f"{POPULATION}/0/nsyns"][()] + 0.5
        del file[f"{POPULATION}/0/nsyns"]
        file[f"{POPULATION}/0/nsyns"] = counts


def edit_json(file: str, **changes: object) -> Breaker:
    """Change entries of a JSON file; None removes one."""

    def breaker(folder: Path) -> None:
        values = json.loads((folder / file).read_text()) | changes
        kept = {key: value for key, value in values.items() if value is not None}
        (folder / file).write_text(json.dumps(kept))

    return breaker


def edit_types(file: str, kind: str, **changes: object) -> Breaker:
    """Change columns of a types table; None removes one."""

    def breaker(folder: Path) -> None:
        types = read_types(folder / file, kind)
        for column, value in changes.items():
            types = types.drop(columns=column) if value is None else types.assign(**{column: value})
        write_types(folder / file, types)

    return breaker


def overwrite(file: str, text: str) -> Breaker:
    return lambda folder: (folder / file).write_text(text) and None


def truncate(folder: Path) -> None:
    path = folder / V1_EDGES
    path.write_bytes(path.read_bytes()[:50_000])


def corrupt_config(**changes: object) -> Breaker:
    return edit_json("circuit_config.json", **changes)


def swap_two_sources(folder: Path) -> None:
    """Edges of two sources exchanged, as an edit by hand would do; both nodes exist."""
    with h5py.File(folder / V1_EDGES, "r+") as handle:
        source = handle[POPULATION]["source_node_id"]
        values = source[()]
        values[[0, 1]] = values[[1, 0]]
        source[...] = values


def point_edges_at_absent_node(folder: Path) -> None:
    with h5py.File(folder / "network/lgn_v1_edges.h5", "r+") as handle:
        group = handle["edges/lgn_to_v1"]
        values = group["source_node_id"][()]
        values[values == 5] = 77
        group["source_node_id"][...] = values
        del group["indices/source_to_target"]
        index = group.create_group("indices/source_to_target")
        order = np.argsort(values, kind="stable")
        index["range_to_edge_id"] = np.stack([order, order + 1], axis=1)
        bounds = np.searchsorted(values[order], np.arange(79))
        index["node_id_to_ranges"] = np.stack([bounds[:-1], bounds[1:]], axis=1)


CELL = "components/cell_models/100_glif_lif_asc_config.json"
V1_TYPES = "network/v1_v1_edge_types.csv"

CASES: dict[str, tuple[Breaker, str, str]] = {
    "config gone": (lambda f: (f / "circuit_config.json").unlink(), "not a network folder", ""),
    "config not JSON": (overwrite("circuit_config.json", "{"), "not valid JSON", ""),
    "config unknown key": (
        corrupt_config(componnents={}),
        "unknown key 'componnents'",
        "components",
    ),
    "config no networks": (corrupt_config(networks=None), "required key is missing", "networks"),
    "config no components": (
        corrupt_config(components={"synaptic_models_dir": "components/synaptic_models"}),
        "required key is missing",
        "point_neuron_models_dir",
    ),
    "config unknown variable": (
        corrupt_config(manifest={"$BASEDIR": ".", "$COMPONENTS_DIR": "components"}),
        "unknown manifest variable 'BASE_DIR'",
        "BASEDIR",
    ),
    "nodes file gone": (
        lambda f: (f / "network/bkg_node_types.csv").unlink(),
        "a file is missing",
        "bkg_node_types.csv",
    ),
    "edges truncated": (truncate, "truncated or is not HDF5", "v1_v1_edges.h5"),
    "edges not HDF5": (overwrite(V1_EDGES, "no"), "truncated or is not HDF5", "v1_v1_edges.h5"),
    "dataset gone": (
        remove(V1_EDGES, f"{POPULATION}/target_node_id"),
        "a dataset is missing",
        "target_node_id",
    ),
    "node types without model_type": (
        edit_types("network/lgn_node_types.csv", "node_type_id", model_type=None),
        "the nodes have no 'model_type'",
        "lgn_node_types.csv",
    ),
    "node types without dynamics_params": (
        edit_types("network/v1_node_types.csv", "node_type_id", dynamics_params=None),
        "the nodes have no 'dynamics_params'",
        "v1_node_types.csv",
    ),
    "edges without syn_weight": (
        remove(V1_EDGES, f"{POPULATION}/0/syn_weight"),
        "neither the edges nor their types have 'syn_weight'",
        "v1_to_v1",
    ),
    "types CSV without ids": (overwrite(V1_TYPES, "delay\n1.5\n"), "no column 'edge_type_id'", ""),
    "type id twice": (
        overwrite(
            "network/bkg_node_types.csv", "node_type_id model_type\n400 virtual\n400 virtual\n"
        ),
        "a type id occurs twice",
        "400",
    ),
    "node type unknown": (
        set_values("network/lgn_nodes.h5", "nodes/lgn/node_type_id", 2, 999),
        "a node has a type that the types table lacks",
        "999",
    ),
    "edge type unknown": (
        set_values(V1_EDGES, f"{POPULATION}/edge_type_id", 5, 999),
        "an edge has a type that the types table lacks",
        "999",
    ),
    "edge to a node that is not there": (
        point_edges_at_absent_node,
        "an edge has a source that does not exist",
        "77",
    ),
    "NaN weight": (
        set_values(V1_EDGES, f"{POPULATION}/0/syn_weight", 4, np.nan),
        "'syn_weight' is missing, NaN or infinite",
        "first edge 4",
    ),
    "NaN position": (
        set_values("network/v1_nodes.h5", "nodes/v1/0/x", 3, np.nan),
        "node attribute 'x' is NaN or infinite",
        "first node 3",
    ),
    "negative delay": (
        edit_types(V1_TYPES, "edge_type_id", delay=[1.5, -0.5]),
        "a delay is not positive",
        "-0.5",
    ),
    "zero delay": (
        edit_types(V1_TYPES, "edge_type_id", delay=[0.0, 1.0]),
        "a delay is not positive",
        "0.0",
    ),
    "inhibition that excites": (
        set_values(V1_EDGES, f"{POPULATION}/0/syn_weight", slice(None), 5.0),
        "the weight of an inhibitory source is positive",
        "5.0",
    ),
    "no synapses": (
        set_values(V1_EDGES, f"{POPULATION}/0/nsyns", 0, 0),
        "nsyns is less than one",
        "first edge 0",
    ),
    "half a synapse": (
        halve_synapses,
        "nsyns is not a whole number",
        "first edge 0",
    ),
    "receptor port between two": (
        edit_json("components/synaptic_models/i_to_v1.json", receptor_type=1.5),
        "a receptor port does not exist",
        "1.5",
    ),
    "receptor port out of range": (
        edit_json("components/synaptic_models/i_to_v1.json", receptor_type=11),
        "a receptor port does not exist",
        "11",
    ),
    "synaptic model gone": (
        lambda f: (f / "components/synaptic_models/i_to_v1.json").unlink(),
        "a file is missing",
        "i_to_v1.json",
    ),
    "index disagrees": (swap_two_sources, "an index disagrees with the edges", "source_to_target"),
    "index lists too little": (
        set_values(V1_EDGES, f"{POPULATION}/indices/target_to_source/node_id_to_ranges", 0, 0),
        "an index disagrees with the edges",
        "target_to_source",
    ),
    "index gone": (
        remove(V1_EDGES, f"{POPULATION}/indices/source_to_target"),
        "an index is missing",
        "source_to_target",
    ),
    "edge column too short": (
        shorten(V1_EDGES, f"{POPULATION}/0/syn_weight"),
        "datasets differ in length",
        "0/syn_weight",
    ),
    "node column too short": (
        shorten("network/bkg_nodes.h5", "nodes/bkg/node_id"),
        "datasets differ in length",
        "node_id",
    ),
    "cell model not JSON": (overwrite(CELL, "{,}"), "not valid JSON", CELL),
    "cell model without V_th": (edit_json(CELL, V_th=None), "lacks the parameter 'V_th'", CELL),
    "cell model with NaN": (edit_json(CELL, g=float("nan")), "is NaN or infinite", "parameter g"),
    "C_m zero": (edit_json(CELL, C_m=0.0), "must be positive", "parameter C_m"),
    "g negative": (edit_json(CELL, g=-1.0), "must be positive", "parameter g"),
    "tau negative": (
        edit_json(CELL, tau_syn_fast=[-1.0] * 10),
        "must be positive",
        "parameter tau_syn_fast",
    ),
    "reset above threshold": (
        edit_json(CELL, V_reset=0.0),
        "V_reset is not below V_th",
        "V_reset 0",
    ),
    "asc of unequal length": (edit_json(CELL, asc_r=[1.0]), "parameters differ in length", "asc_r"),
    "asc neither on nor off": (
        edit_json(CELL, after_spike_currents=None),
        "NEST would ignore the after-spike currents",
        CELL,
    ),
    "template not supported": (
        edit_types(
            "network/v1_node_types.csv", "node_type_id", model_template="nest:glif_psc_double"
        ),
        "unknown model template 'nest:glif_psc_double'",
        "nest:glif_psc_double_alpha",
    ),
    "nothing to simulate": (
        edit_types("network/v1_node_types.csv", "node_type_id", model_type="virtual"),
        "needs a simulated node population",
        "none",
    ),
}

#: Faults that necessarily show up in more than one place.
ALSO_SEEN_ELSEWHERE = {
    "node types without model_type",
    "node types without dynamics_params",
    "node column too short",
    "nothing to simulate",
    "template not supported",
}


def test_valid_network_has_no_problems(small_network_folder: Path) -> None:
    assert validate(small_network_folder) == []


@pytest.mark.parametrize("case", CASES)
def test_one_fault_one_message(case: str, small_network_folder: Path, tmp_path: Path) -> None:
    breaker, message, detail = CASES[case]
    folder = tmp_path / "network"
    shutil.copytree(small_network_folder, folder)
    breaker(folder)
    problems = validate(folder)
    matching = [p for p in problems if message in p.what and detail in str(p)]
    assert matching, "\n".join(map(str, problems))
    if case not in ALSO_SEEN_ELSEWHERE:
        assert len(problems) == 1, "\n".join(map(str, problems))


def test_all_faults_are_reported_at_once(small_network_folder: Path, tmp_path: Path) -> None:
    cases = ["negative delay", "NaN weight", "cell model without V_th"]
    cases += ["node type unknown", "NaN position"]
    folder = tmp_path / "network"
    shutil.copytree(small_network_folder, folder)
    for case in cases:
        CASES[case][0](folder)
    found = "\n".join(str(problem) for problem in validate(folder))
    for case in cases:
        assert CASES[case][1] in found, case


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    (problem,) = validate(tmp_path / "nowhere")
    assert "no such network" in problem.what
