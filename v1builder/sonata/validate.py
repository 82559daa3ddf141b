"""Everything that is wrong with a network folder, not only the first thing.

Checks what every reader of the folder relies on: libsonata, BMTK on NEST, and `load`. Edges are
checked in chunks, so that a network of any size can be checked.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.schema.errors import NetworkError, Problem, unknown_name
from v1builder.sonata import node_rules
from v1builder.sonata.circuit import Circuit, PopulationFile, read_circuit
from v1builder.sonata.components import read_json
from v1builder.sonata.edges import edge_populations
from v1builder.sonata.hdf5 import H5Group, open_to_read
from v1builder.sonata.join import joined
from v1builder.sonata.nodes import NodeTable, node_populations, read_nodes
from v1builder.sonata.point_neuron import (
    NeuronProblems,
    cell_model_problems,
    chooses_by_sign,
    n_ports,
)
from v1builder.sonata.types import read_types
from v1builder.sonata.validate_edges import EdgeCheck, shape_problems

T = TypeVar("T")


@dataclass
class CheckedNodes:
    """What the checks of edges need to know of a node population.

    Attributes:
        node_id: [n] ids.
        ei: [n] "e", "i" or "", or None when the nodes do not say.
        virtual: the population is not simulated.
        mixed: some of its nodes are, some are not.
        n_ports: [n] number of receptor ports of each cell, 0 where the sign of a weight chooses the
            port; None when unknown.
    """

    node_id: NDArray[np.int64]
    ei: NDArray[Any] | None = None
    virtual: bool = True
    mixed: bool = False
    n_ports: NDArray[np.int64] | None = None


@dataclass
class _Validation:
    """The problems found so far, and the node populations that could be read."""

    circuit: Circuit
    of_neuron: NeuronProblems | None = None
    problems: list[Problem] = field(default_factory=list)
    nodes: dict[str, CheckedNodes] = field(default_factory=dict)

    def attempt(self, action: Callable[..., T], *arguments: Any) -> T | None:
        """The result of an action; if it fails, note why and return None."""
        try:
            return action(*arguments)
        except NetworkError as error:
            self.problems += [p for p in error.problems if p not in self.problems]
            return None


def validate(folder: Path | str, of_neuron: NeuronProblems | None = None) -> list[Problem]:
    """Check a network folder (or the circuit configuration named).

    Args:
        folder: the network.
        of_neuron: asked about cell models that are read as they are (`other_neurons`); else their
            parameters need only be numbers.

    Returns:
        Every problem found; empty when the network is valid.
    """
    try:
        circuit = read_circuit(folder)
    except NetworkError as error:
        return error.problems
    run = _Validation(circuit, of_neuron)
    _check_components(run)
    for part in circuit.nodes:
        names = [part.population] if part.population else run.attempt(node_populations, part.file)
        for name in names or []:
            _check_nodes(run, part, name)
    simulated = [name for name, nodes in run.nodes.items() if not nodes.virtual]
    if simulated or len(run.nodes) == len(circuit.nodes):
        mixed = [name for name, nodes in run.nodes.items() if nodes.mixed]
        run.problems += node_rules.population_problems(simulated, mixed, circuit.path)
    for part in circuit.edges:
        names = [part.population] if part.population else run.attempt(edge_populations, part.file)
        for name in names or []:
            check = EdgeCheck(
                part, name, circuit.components.get("synaptic_models_dir"), dict(run.nodes)
            )
            run.attempt(check.run)
            run.problems += [p for p in check.problems if p not in run.problems]
    return run.problems


def _check_components(run: _Validation) -> None:
    known = (
        "point_neuron_models_dir",
        "synaptic_models_dir",
        "morphologies_dir",
        "biophysical_neuron_models_dir",
        "mechanisms_dir",
        "templates_dir",
        "recXelectrodes_dir",
    )
    where = f"{run.circuit.path}, key components"
    for key, folder in run.circuit.components.items():
        if key not in known:
            run.problems.append(unknown_name("key", key, known, where))
        elif not folder.is_dir():
            run.problems.append(
                Problem("a folder is missing", f"{where}.{key}", str(folder), "correct the path")
            )
    if "point_neuron_models_dir" not in run.circuit.components:
        run.problems.append(
            Problem(
                "a required key is missing",
                f"{where}.point_neuron_models_dir",
                fix="name the folder of the cell models",
            )
        )


def _check_nodes(run: _Validation, part: PopulationFile, name: str) -> None:
    where = f"{part.file}, population {name}"
    problems = run.attempt(_node_shapes, part.file, name)
    run.problems += problems or []
    types = run.attempt(read_types, part.types_file, "node_type_id") if part.types_file else None
    if problems is None or problems:
        return
    table = run.attempt(read_nodes, part.file, name)
    if table is None:
        return
    checked = CheckedNodes(table.node_id)
    run.nodes[name] = checked
    if len(np.unique(table.node_id)) != len(table):
        run.problems.append(Problem("a node id occurs twice", where, fix="give every node its id"))
    if types is None:
        checked.virtual = part.type == "virtual"
        return
    rows, unknown = node_rules.known_types(table.node_type_id, types, part)
    if unknown:
        run.problems += unknown
        checked.virtual = part.type == "virtual"
        return
    model_type = joined("model_type", table.attributes, types, rows)
    if model_type is None:
        run.problems.append(_missing_column("model_type", part, types))
        checked.virtual = part.type == "virtual"
        return
    checked.ei = joined("ei", table.attributes, types, rows)
    virtual = model_type == "virtual"
    checked.virtual, checked.mixed = (
        bool(np.all(virtual)),
        bool(np.any(virtual) and not np.all(virtual)),
    )
    if not checked.virtual:
        checked.n_ports = _check_cells(run, part, table, types, rows)


def _node_shapes(file: Path, name: str) -> list[Problem]:
    with open_to_read(file) as root:
        if "nodes" not in root or name not in root["nodes"]:
            present = ", ".join(root.get("nodes", {}))
            return [Problem(f"no population '{name}' in the file", str(file), present)]
        group: H5Group = root[f"nodes/{name}"]
        return shape_problems(group, f"{file}, population {name}", "node", ("node_type_id",))


def _missing_column(column: str, part: PopulationFile, types: pd.DataFrame) -> Problem:
    return node_rules.no_column(column, str(part.types_file), types.columns)


def _check_cells(
    run: _Validation,
    part: PopulationFile,
    table: NodeTable,
    types: pd.DataFrame,
    rows: NDArray[np.int64],
) -> NDArray[np.int64] | None:
    """Check the cell models of a simulated population; return the ports of each cell if known."""
    for name, values in table.attributes.items():
        if name not in "xyz" and not name.startswith("dynamics_params/"):
            continue
        wrong = ~np.isfinite(values.astype(np.float64)) if name in "xyz" else np.isinf(values)
        if np.any(wrong):
            run.problems.append(
                Problem(
                    f"node attribute '{name}' is NaN or infinite",
                    f"{part.file}, population {table.population}",
                    f"{np.count_nonzero(wrong)} nodes, first node {np.argwhere(wrong)[0][0]}",
                    "build the network again",
                )
            )
    columns = {
        name: joined(name, table.attributes, types, rows)
        for name in ("model_template", "dynamics_params")
    }
    absent = [name for name, values in columns.items() if values is None]
    run.problems += [_missing_column(name, part, types) for name in absent]
    folder = run.circuit.components.get("point_neuron_models_dir")
    if absent or folder is None:
        return None
    ports: dict[tuple[str, str], int] = {}
    pairs = zip(columns["model_template"], columns["dynamics_params"], strict=True)  # type: ignore[arg-type]
    for template, file in sorted({(str(template), str(file)) for template, file in pairs}):
        model = run.attempt(read_json, folder / file)
        if model is None:
            continue
        problems = cell_model_problems(model, template, folder / file, run.of_neuron)
        run.problems += problems
        if not problems or chooses_by_sign(template):
            ports[template, file] = n_ports(model, template)
    pairs = zip(columns["model_template"], columns["dynamics_params"], strict=True)  # type: ignore[arg-type]
    names = [(str(template), str(file)) for template, file in pairs]
    if not set(names) <= set(ports):
        return None
    return np.array([ports[name] for name in names], dtype=np.int64)
