"""SONATA folder -> `Network`: types joined, parameters gathered, ids turned into positions.

Reads any point-neuron SONATA network of `glif_psc_double_alpha` or `glif_psc` cells with one
simulated population, whoever wrote it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.load.membrane import read_cells
from v1builder.load.network import EdgePopulation, Network, NodePopulation
from v1builder.schema.errors import NetworkError
from v1builder.sonata.circuit import Circuit, PopulationFile, read_circuit
from v1builder.sonata.components import read_json
from v1builder.sonata.edges import edge_count, edge_populations, iterate_edges
from v1builder.sonata.join import (
    joined,
    numbers,
    receptor_of_type,
    type_rows,
    with_synapse_models,
)
from v1builder.sonata.nodes import node_populations, read_nodes
from v1builder.sonata.types import read_types

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
            nodes[name] = _read_nodes(part, name)
    simulated = _simulated(nodes, circuit.path)
    membrane, receptors, bias = read_cells(nodes[simulated], circuit)
    n_receptors = receptors.values["tau_syn_fast"].shape[1]
    edges: dict[str, EdgePopulation] = {}
    for part in circuit.edges:
        for name in [part.population] if part.population else edge_populations(part.file):
            edges[name] = _read_edges(part, name, circuit, nodes, simulated, n_receptors, progress)
    record = circuit.path.parent / "provenance.json"
    provenance = read_json(record) if record.is_file() else {}
    return Network(nodes, edges, simulated, membrane, receptors, bias, provenance)


def _read_nodes(part: PopulationFile, name: str) -> NodePopulation:
    table = read_nodes(part.file, name)
    if part.types_file is None:
        types = pd.DataFrame(index=pd.Index(np.unique(table.node_type_id), name="node_type_id"))
    else:
        types = read_types(part.types_file, "node_type_id")
    rows = _known_rows(table.node_type_id, types, "node", part)
    attributes: dict[str, NDArray[Any]] = dict(table.attributes)
    for column in types.columns:
        values = joined(str(column), table.attributes, types, rows)
        assert values is not None
        attributes[str(column)] = values
    if "model_type" not in attributes:
        raise NetworkError.of(
            "the nodes have no 'model_type'",
            f"{part.types_file or part.file}, population {name}",
            ", ".join(attributes),
            "add the column model_type (point_neuron or virtual)",
        )
    return NodePopulation(name, table.node_id, table.node_type_id, attributes, types)


def _known_rows(
    ids: NDArray[np.int64], types: pd.DataFrame, kind: str, part: PopulationFile
) -> NDArray[np.int64]:
    rows = type_rows(ids, types)
    if np.any(rows < 0):
        unknown = np.unique(ids[rows < 0])
        raise NetworkError.of(
            f"{'an' if kind == 'edge' else 'a'} {kind} has a type that the types table lacks",
            f"{part.file}, types {part.types_file}",
            f"{kind}_type_id {', '.join(map(str, unknown[:5]))}",
            f"add the type to the table or correct the {kind}s",
        )
    return rows


def _simulated(nodes: dict[str, NodePopulation], path: Path) -> str:
    candidates = [name for name, population in nodes.items() if not population.is_virtual]
    if len(candidates) != 1:
        raise NetworkError.of(
            "a network needs exactly one simulated node population",
            path,
            f"simulated: {', '.join(candidates) or 'none'}",
            "merge the simulated populations into one"
            if candidates
            else "add a point_neuron population",
        )
    return candidates[0]


def _positions(population: NodePopulation, ids: NDArray[Any], where: str) -> NDArray[np.int32]:
    """Positions of node ids in their population."""
    known = population.node_id
    n = len(known)
    if n and known[0] == 0 and known[-1] == n - 1 and np.all(known[1:] > known[:-1]):
        wrong = ids >= n if ids.dtype.kind == "u" else (ids >= n) | (ids < 0)
        positions = ids
    else:
        order = np.argsort(known)
        positions = order[np.searchsorted(known, ids, sorter=order).clip(max=max(n - 1, 0))]
        wrong = known[positions] != ids.astype(np.int64)
    if np.any(wrong):
        raise NetworkError.of(
            "an edge names a node that does not exist",
            where,
            f"node id {ids[wrong][0]} of population {population.name} ({n} nodes)",
            "build the network again",
        )
    return positions.astype(np.int32)


def _read_edges(
    part: PopulationFile,
    name: str,
    circuit: Circuit,
    nodes: dict[str, NodePopulation],
    simulated: str,
    n_receptors: int,
    progress: Progress | None,
) -> EdgePopulation:
    n = edge_count(part.file, name)
    types = (
        pd.DataFrame(index=pd.Index([], dtype=np.int64, name="edge_type_id"))
        if part.types_file is None
        else read_types(part.types_file, "edge_type_id")
    )
    types = with_synapse_models(types, circuit.components.get("synaptic_models_dir"))
    with_ports = types.assign(receptor_type=receptor_of_type(types))
    source_index, target_index = np.empty(n, np.int32), np.empty(n, np.int32)
    type_id, weight = np.empty(n, np.int64), np.empty(n, np.float64)
    nsyns, delay, receptor = np.empty(n, np.int32), np.empty(n, np.float32), np.empty(n, np.int16)
    where = f"{part.file}, population {name}"
    source = target = ""
    for chunk in iterate_edges(part.file, name, _CHUNK):
        source, target = _ends(chunk.source, chunk.target, nodes, simulated, where)
        here = slice(chunk.start, chunk.start + len(chunk))
        rows = _known_rows(chunk.edge_type_id, types, "edge", part)

        def column(
            key: str,
            own: dict[str, NDArray[Any]] = chunk.attributes,
            rows: NDArray[np.int64] = rows,
            start: int = chunk.start,
        ) -> NDArray[np.float64]:
            return _column(key, joined(key, own, with_ports, rows), start, where)

        source_index[here] = _positions(nodes[source], chunk.source_id, where)
        target_index[here] = _positions(nodes[target], chunk.target_id, where)
        type_id[here] = chunk.edge_type_id
        nsyns[here] = column("nsyns")
        weight[here] = column("syn_weight") * nsyns[here]
        delay[here] = _positive(column("delay"), where)
        receptor[here] = _receptor(column("receptor_type"), n_receptors, where)
        if progress is not None:
            progress(name, here.stop, n)
    return EdgePopulation(
        name,
        source,
        target,
        source_index,
        target_index,
        type_id,
        weight,
        nsyns,
        delay,
        receptor,
        types,
    )


def _ends(
    source: str, target: str, nodes: dict[str, NodePopulation], simulated: str, where: str
) -> tuple[str, str]:
    for end, name in (("source", source), ("target", target)):
        if name not in nodes:
            raise NetworkError.of(
                f"the {end} population of the edges is not in the network",
                where,
                name or "no attribute node_population",
                f"the network has: {', '.join(nodes)}",
            )
    if target != simulated:
        raise NetworkError.of(
            "the target of the edges is not simulated",
            where,
            target,
            f"only {simulated} is simulated",
        )
    return source, target


def _column(key: str, values: NDArray[Any] | None, start: int, where: str) -> NDArray[np.float64]:
    if values is None:
        raise NetworkError.of(
            f"neither the edges nor their types have '{key}'", where, fix=f"add the column '{key}'"
        )
    column = numbers(values)
    wrong = ~np.isfinite(column)
    if wrong.any():
        raise NetworkError.of(
            f"'{key}' is missing, NaN or infinite",
            where,
            f"edge {start + int(np.flatnonzero(wrong)[0])}",
            "build the network again",
        )
    return column


def _positive(delay: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    if np.any(delay <= 0):
        raise NetworkError.of(
            "a delay is not positive", where, f"{delay.min():g} ms", "give every edge a delay > 0"
        )
    return delay


def _receptor(port: NDArray[np.float64], n_receptors: int, where: str) -> NDArray[np.float64]:
    if np.any((port < 1) | (port > n_receptors)):
        raise NetworkError.of(
            "a receptor port does not exist",
            where,
            f"ports {port.min():g} to {port.max():g}",
            f"the cells have ports 1 to {n_receptors}",
        )
    return port - 1
