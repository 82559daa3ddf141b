"""SONATA folder -> `Network`: types joined, parameters gathered, ids turned into positions.

Reads any point-neuron SONATA network of the templates in `sonata.point_neuron`, whoever wrote it. What
a simulator's default had to stand in for is told in `provenance["defaults"]`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.load.edge_values import EdgeValues
from v1builder.load.integers import Integers
from v1builder.load.membrane import read_cells
from v1builder.load.network import (
    CURRENT_FILE,
    SPIKES_FILE,
    EdgePopulation,
    Network,
    NodePopulation,
)
from v1builder.load.plasticity import read_plasticity
from v1builder.load.populations import merged
from v1builder.schema.errors import NetworkError, raise_if_any
from v1builder.sonata import edge_rules as rules
from v1builder.sonata import node_rules
from v1builder.sonata.circuit import Circuit, PopulationFile, read_circuit
from v1builder.sonata.edge_types import edge_types
from v1builder.sonata.edges import edge_count, edge_populations, iterate_edges
from v1builder.sonata.foreign import read_json
from v1builder.sonata.join import joined, receptor_of_type, type_rows
from v1builder.sonata.nodes import node_populations, read_nodes

#: Edges joined at once.
_CHUNK = 1 << 22

Progress = Callable[[str, int, int], None]


def load_network(folder_or_config: Path | str, progress: Progress | None = None) -> Network:
    """Read a network.

    Args:
        folder_or_config: network folder, or a SONATA circuit configuration.
        progress: called with (edge population, edges read, edges in all).

    Raises:
        NetworkError: the network is not valid or has something that is not supported. The message
            names the first thing found; `sonata.validate` finds all.
    """
    return load_circuit(read_circuit(folder_or_config), progress)


def load_circuit(circuit: Circuit, progress: Progress | None = None) -> Network:
    """Read the network of a circuit configuration that is already parsed.

    Raises:
        NetworkError: as `load_network`.
    """
    nodes: dict[str, NodePopulation] = {}
    for part in circuit.nodes:
        for name in [part.population] if part.population else node_populations(part.file):
            if name in nodes:
                _second(name, part, "node")
            nodes[name] = _read_nodes(part, name)
    own = _simulated(nodes, circuit.path)
    cells = merged([nodes[name] for name in own])
    simulated = cells.name
    starts = {part.name: part.start for part in cells.parts} or {simulated: 0}
    found = read_cells(cells, circuit)
    notes = _ignored(cells, circuit.path)
    edges: dict[str, EdgePopulation] = {}
    for part in circuit.edges:
        for name in [part.population] if part.population else edge_populations(part.file):
            ends = _EdgeEnds(nodes, simulated, starts, found.n_ports)
            if name in edges:
                _second(name, part, "edge")
            edges[name] = _read_edges(part, name, circuit, ends, notes, progress)
    record = circuit.path.parent / "provenance.json"
    provenance = read_json(record) if record.is_file() else {}
    if notes:
        provenance = {**provenance, "defaults": [*provenance.get("defaults", []), *notes]}
    return Network(
        {name: nodes[name] for name in nodes if name not in own} | {simulated: cells}
        if cells.parts
        else nodes,
        edges,
        simulated,
        found.membrane,
        found.receptors,
        found.bias_current,
        provenance,
        found.initial_voltage,
        {} if circuit.node_sets_file is None else read_json(circuit.node_sets_file),
    )


def _second(name: str, part: PopulationFile, kind: str) -> NoReturn:
    raise NetworkError([node_rules.second(name, str(part.file), kind)])


def _ignored(cells: NodePopulation, path: Path) -> dict[str, None]:
    """Notes on what has no effect on point neurons."""
    column = cells.attributes.get("model_processing")
    where = f"{path}, node population {cells.name}, column model_processing"
    names = [] if column is None else node_rules.processing_names(column)
    return {f"{where}: {name} concerns morphologies; without effect here": None for name in names}


def _read_nodes(part: PopulationFile, name: str) -> NodePopulation:
    table = read_nodes(part.file, name)
    types = node_rules.node_types(part, name, table.node_type_id)
    rows, problems = node_rules.known_types(table.node_type_id, types, part)
    raise_if_any(problems, NetworkError)
    attributes: dict[str, NDArray[Any]] = dict(table.attributes)
    for column in types.columns:
        values = joined(str(column), table.attributes, types, rows)
        assert values is not None
        attributes[str(column)] = values
    folder = (part.types_file or part.file).parent
    for column in {SPIKES_FILE, CURRENT_FILE} & attributes.keys():
        files = ["" if pd.isna(file) else str(file) for file in attributes[column]]
        attributes[column] = np.array([str(folder / file) if file else "" for file in files])
    where = f"{part.types_file or part.file}, population {name}"
    if "model_type" not in attributes:
        raise NetworkError([node_rules.no_column("model_type", where, attributes)])
    problems = node_rules.node_problems(table.node_id, attributes, where)
    raise_if_any(problems, NetworkError)
    return NodePopulation(name, table.node_id, table.node_type_id, attributes, types)


def _simulated(nodes: dict[str, NodePopulation], path: Path) -> list[str]:
    candidates = [name for name, population in nodes.items() if not population.is_virtual]
    mixed = [
        name for name in candidates if np.any(nodes[name].attributes["model_type"] == "virtual")
    ]
    raise_if_any(node_rules.population_problems(candidates, mixed, path), NetworkError)
    return candidates


def _positions(
    population: NodePopulation, ids: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Positions of node ids in their population, and which ids are not there."""
    known = population.node_id
    n = len(known)
    if n and known[0] == 0 and known[-1] == n - 1 and np.all(known[1:] > known[:-1]):
        return ids, ids >= n if ids.dtype.kind == "u" else (ids >= n) | (ids < 0)
    order = np.argsort(known)
    positions = order[np.searchsorted(known, ids, sorter=order).clip(max=max(n - 1, 0))]
    return positions, known[positions] != ids.astype(np.int64)


@dataclass(frozen=True)
class _EdgeEnds:
    """Where edges may begin and end.

    Attributes:
        nodes: populations of the files.
        simulated: name of the simulated one, which stands for all in `starts`.
        starts: first position along it, by name of the population in the files.
        n_ports: [n_cells] see `membrane.CellFiles`.
    """

    nodes: dict[str, NodePopulation]
    simulated: str
    starts: dict[str, int]
    n_ports: NDArray[np.int64]

    def check(self, source: str, target: str, where: str) -> None:
        """Raise NetworkError unless both are in the network and the target is simulated."""
        for end, name in (("source", source), ("target", target)):
            if name not in self.nodes:
                raise NetworkError([rules.no_population(end, name, where, self.nodes)])
        if target not in self.starts:
            raise NetworkError([rules.not_simulated(target, where, self.starts)])

    def positions(
        self, end: str, population: str, ids: NDArray[Any], where: str, start: int
    ) -> NDArray[np.int32]:
        """Positions of sources or targets along the axis of cells, or along the input."""
        nodes = self.nodes[population]
        found, wrong = _positions(nodes, ids)
        rules.refuse([rules.unknown_nodes(end, population, len(nodes), wrong, ids)], where, start)
        return found.astype(np.int32) + np.int32(self.starts.get(population, 0))

    def name_of(self, population: str) -> str:
        """Name of the population that stands for one of the files."""
        return self.simulated if population in self.starts else population


def _read_edges(
    part: PopulationFile,
    name: str,
    circuit: Circuit,
    ends: _EdgeEnds,
    notes: dict[str, None],
    progress: Progress | None,
) -> EdgePopulation:
    n = edge_count(part.file, name)
    types = edge_types(part, name, circuit.components.get("synaptic_models_dir"))
    source_index, target_index = np.empty(n, np.int32), np.empty(n, np.int32)
    type_id, nsyns, weight = Integers(n), Integers(n), np.empty(n, np.float64)
    of_type, plasticity = read_plasticity(types, part.types_file or part.file), Integers(n)
    delay, receptor = np.empty(n, np.float32), Integers(n)
    where = f"{part.file}, population {name}"
    values = EdgeValues(types.assign(receptor_type=receptor_of_type(types)), where, ends.n_ports)
    source = target = ""
    for chunk in iterate_edges(part.file, name, _CHUNK):
        source, target = chunk.source, chunk.target
        ends.check(source, target, where)
        problems = rules.other_ends(part, {"source": source, "target": target}, where)
        problems += rules.own_parameters(chunk.attributes, where)
        raise_if_any(problems, NetworkError)
        here = slice(chunk.start, chunk.start + len(chunk))
        rows = type_rows(chunk.edge_type_id, types)
        rules.refuse([rules.unknown_types(rows < 0, chunk.edge_type_id)], where, chunk.start)
        source_index[here] = ends.positions("source", source, chunk.source_id, where, chunk.start)
        target_index[here] = ends.positions("target", target, chunk.target_id, where, chunk.start)
        synapses = values.synapses(chunk, rows)
        type_id[here], nsyns[here] = chunk.edge_type_id, synapses
        weight[here] = values.weight(chunk, rows, synapses)
        weight[here] *= of_type.resting(rows)
        plasticity[here] = of_type.model_of_type[rows]
        delay[here] = values.delay(chunk, rows)
        receptor[here] = values.receptor(chunk, rows, target_index[here], weight[here])
        if progress is not None:
            progress(name, here.stop, n)
    notes |= values.defaults
    return EdgePopulation(
        name,
        ends.name_of(source),
        ends.name_of(target),
        source_index,
        target_index,
        type_id.values,
        weight,
        nsyns.values,
        delay,
        receptor.values,
        types,
        of_type.of_edges(plasticity.values),
    )
