"""Everything that is wrong with a network folder, not only the first thing.

Checks what every reader of the folder relies on: libsonata, BMTK on NEST, and `load`. Edges are
checked in chunks, so that a network of any size can be checked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.schema.errors import NetworkError, Problem
from v1builder.sonata import node_rules
from v1builder.sonata.circuit import Circuit, PopulationFile, read_circuit
from v1builder.sonata.edges import edge_populations
from v1builder.sonata.foreign import read_json
from v1builder.sonata.groups import OVERRIDE, populations_in
from v1builder.sonata.hdf5 import H5Group, open_to_read
from v1builder.sonata.join import joined, misspelled
from v1builder.sonata.nodes import NodeTable, node_populations, read_nodes
from v1builder.sonata.point_neuron import (
    NeuronProblems,
    cell_model_problems,
    chooses_by_sign,
    n_ports,
)
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

    def note(self, *problems: Problem) -> None:
        """Keep problems, each once."""
        self.problems += [p for p in dict.fromkeys(problems) if p not in self.problems]

    def attempt(self, action: Callable[..., T], *arguments: Any) -> T | None:
        """The result of an action; if it fails, note why and return None."""
        try:
            return action(*arguments)
        except NetworkError as error:
            self.note(*error.problems)
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
    seen: set[str] = set()
    for part in circuit.nodes:
        names = [part.population] if part.population else run.attempt(node_populations, part.file)
        for name in names or []:
            if name in seen:
                run.problems.append(node_rules.second(name, str(part.file), "node"))
                continue
            seen.add(name)
            _check_nodes(run, part, name)
    simulated = [name for name, nodes in run.nodes.items() if not nodes.virtual]
    if simulated or (len(run.nodes) == len(seen) and run.nodes):
        mixed = [name for name, nodes in run.nodes.items() if nodes.mixed]
        run.problems += node_rules.population_problems(simulated, mixed, circuit.path)
    checked: set[str] = set()
    for part in circuit.edges:
        names = [part.population] if part.population else run.attempt(edge_populations, part.file)
        for name in names or []:
            if name in checked:
                run.problems.append(node_rules.second(name, str(part.file), "edge"))
                continue
            checked.add(name)
            check = EdgeCheck(
                part, name, circuit.components.get("synaptic_models_dir"), dict(run.nodes)
            )
            run.attempt(check.run)
            run.problems += [p for p in check.problems if p not in run.problems]
    return run.problems


def _cell_models(run: _Validation) -> Path | None:
    """The folder of the cell models, which point neurons need."""
    where = f"{run.circuit.path}, key components"
    key = "point_neuron_models_dir"
    folder = run.circuit.components.get(key)
    if folder is None:
        guess = misspelled(key, run.circuit.components)
        fix = f"rename the key '{guess}'" if guess else "name the folder of the cell models"
        run.note(Problem("a required key is missing", f"{where}.{key}", fix=fix))
    elif not folder.is_dir():
        fix = "correct the path"
        run.note(Problem("a folder is missing", f"{where}.{key}", str(folder), fix))
        return None
    return folder


def _check_nodes(run: _Validation, part: PopulationFile, name: str) -> None:
    where = f"{part.file}, population {name}"
    problems = run.attempt(_node_shapes, part.file, name)
    run.problems += problems or []
    if problems is None or problems:
        return
    table = run.attempt(read_nodes, part.file, name)
    if table is None:
        return
    checked = CheckedNodes(table.node_id)
    checked.virtual = part.type == "virtual"  # unless the nodes say so themselves
    run.nodes[name] = checked
    types = run.attempt(node_rules.node_types, part, name, table.node_type_id)
    if types is None:
        return
    rows, unknown = node_rules.known_types(table.node_type_id, types, part)
    run.problems += unknown
    if unknown:
        return
    model_type = joined("model_type", table.attributes, types, rows)
    if model_type is None:
        run.problems.append(_missing_column("model_type", part, types))
        return
    of_nodes = {"model_type": model_type}
    processing = joined("model_processing", table.attributes, types, rows)
    if processing is not None:
        of_nodes["model_processing"] = processing
    found = node_rules.node_problems(table.node_id, of_nodes, where)
    run.problems += found
    checked.ei = joined("ei", table.attributes, types, rows)
    virtual = model_type == "virtual"
    checked.virtual, checked.mixed = (
        bool(np.all(virtual)),
        bool(np.any(virtual) and not np.all(virtual)),
    )
    if not checked.virtual and not any("model_type" in problem.what for problem in found):
        checked.n_ports = _check_cells(run, part, table, types, rows)


def _node_shapes(file: Path, name: str) -> list[Problem]:
    with open_to_read(file) as root:
        names = populations_in(root, "nodes", file)
        if name not in names:
            return [Problem(f"no population '{name}' in the file", str(file), ", ".join(names))]
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
        if values.dtype == object:
            what = f"node attribute '{name}' is not a number"
            run.problems.append(Problem(what, f"{part.file}, population {table.population}"))
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
    folder = _cell_models(run)
    if absent or folder is None:
        return None
    template, file = (columns[name].astype(str) for name in columns)  # type: ignore[union-attr]
    overrides = {
        name: values for name, values in table.attributes.items() if name.startswith(OVERRIDE)
    }
    first, kind_of = _kinds([template, file], overrides)
    ports = np.full(len(first), -1, dtype=np.int64)
    for kind, cell in enumerate(first):
        model = run.attempt(read_json, folder / file[cell])
        if model is None:
            continue
        own = {
            name.removeprefix(OVERRIDE): values[cell]
            for name, values in overrides.items()
            if not np.isnan(values[cell]).any()
        }
        path, model = folder / file[cell], {**model, **own}
        named = str(template[cell])
        problems = cell_model_problems(model, named, path, run.of_neuron)
        run.note(*problems)
        if not problems or chooses_by_sign(named):
            ports[kind] = n_ports(model, named)
    return ports[kind_of] if (ports >= 0).all() else None


def _kinds(
    texts: Sequence[NDArray[Any]], overrides: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """One cell of every kind (texts and overrides), and the kind of every cell."""
    keys = [np.unique(text, return_inverse=True)[1].astype(np.float64) for text in texts]
    for values in overrides.values():
        flat = values.reshape(len(values), -1).astype(np.float64)
        keys += list(np.nan_to_num(flat, nan=-np.inf).T)
    _, first, kind_of = np.unique(
        np.stack(keys, axis=1), axis=0, return_index=True, return_inverse=True
    )
    return first, kind_of.reshape(-1)
