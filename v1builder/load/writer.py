"""`Network` -> SONATA folder, so that an ablated network also runs in BMTK and NEST.

Parameters live in the component files of node types. Where an ablation gave cells of one type
different membranes, receptors or bias currents, the type is split: the first combination keeps the
type's id, the others get new ids above all old ones, with the old row of the types table copied. A
bias current becomes a shift of E_L in the component file, which is the same to every simulator; the
columns `bias_current` (pA) and `E_L_without_bias` (mV) of the types table let the reader undo it.

`load_network(save_network(x))` gives the same cells (parameters, labels and bias per cell) and the
same edges, sorted by (target, source). Rows of `membrane` and `receptors` that no cell uses are not
kept, and an edge's weight is kept as syn_weight * nsyns: exact for weights that came from a float32
file, to one unit in the last place otherwise.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.load.membrane import (
    BIAS_CURRENT,
    E_L_WITHOUT_BIAS,
    MEMBRANE_LABELS,
    PORT_FILL,
    RECEPTOR_LABELS,
    with_shifted_rest,
)
from v1builder.load.network import EdgePopulation, Network, NodePopulation
from v1builder.load.plasticity import resting_factor, written_plasticity
from v1builder.load.populations import split
from v1builder.load.reference import RECORDINGS, home_of
from v1builder.schema.checksums import write_checksums
from v1builder.schema.citations import write_citations
from v1builder.schema.errors import NetworkError
from v1builder.schema.files import atomic_folder, write_json, write_text
from v1builder.schema.names import GLIF_TEMPLATE
from v1builder.sonata.circuit import PopulationFile, write_circuit_config
from v1builder.sonata.components import write_cell_model, write_synaptic_model
from v1builder.sonata.edge_rules import AS_IT_IS
from v1builder.sonata.edges import EdgeWriter
from v1builder.sonata.join import (
    SYNAPSE_PARAMETER,
    is_absent,
    joined,
    receptor_of_type,
    type_rows,
)
from v1builder.sonata.nodes import write_nodes
from v1builder.sonata.point_neuron import CellModel, chooses_by_sign, component_file
from v1builder.sonata.types import write_types

#: Edges written at once.
_BLOCK = 1 << 22
#: Attributes that the node types table carries for the simulated cells.
_OWN_COLUMNS = ("membrane_label", "receptor_label", BIAS_CURRENT, E_L_WITHOUT_BIAS)


def save_network(
    network: Network,
    folder: Path | str,
    *,
    overwrite: bool = False,
    recordings_of: Path | str | None = None,
) -> Path:
    """Write a network as a SONATA folder, complete or not at all.

    Args:
        network: what to write.
        folder: folder to create.
        overwrite: replace an existing folder.
        recordings_of: folder of the network it was made from, whose recordings (not its tables of what it
            was drawn from, which hold no longer) travel along.

    Returns:
        The folder.

    Raises:
        NetworkError: node ids are not 0..n-1 in order, which the indices of SONATA need.
        StorageError: the folder exists, or the file system refused.
    """
    with atomic_folder(folder, overwrite=overwrite) as temporary:
        nodes = [
            _write_population(network, here, population, temporary)
            for name in network.nodes
            for here, population in split(network.nodes[name])
        ]
        synapses: dict[str, dict[str, Any]] = {}
        edges = [_write_edges(network, name, temporary, synapses) for name in network.edges]
        write_circuit_config(temporary, nodes, edges, network.node_sets)
        write_json(temporary / "provenance.json", network.provenance)
        if recordings_of is not None:
            _copy_recordings(Path(recordings_of), temporary)
        data = network.provenance.get("data", {})
        if data.get("sources"):
            write_citations(temporary, data)
        write_checksums(temporary)
    return Path(folder)


def _copy_recordings(source: Path, folder: Path) -> None:
    source = home_of(source)
    for name in RECORDINGS:
        if (source / name).is_file():
            write_text(folder / name, (source / name).read_text(encoding="utf-8"))


def _write_population(
    network: Network, here: slice, population: NodePopulation, folder: Path
) -> PopulationFile:
    """Write one population of the files; `here` is its place if it is simulated."""
    name = population.name
    if not np.array_equal(population.node_id, np.arange(len(population))):
        raise NetworkError.of(
            "node ids must be 0..n-1 in order to be written",
            f"node population {name}",
            f"ids {population.node_id[:3]}...",
            "renumber the nodes",
        )
    type_id, types = population.node_type_id, population.types
    simulated = not population.is_virtual
    if simulated:
        type_id, types = _types_of_cells(network, here, population, folder)
    nodes_file = Path(f"network/{name}_nodes.h5")
    types_file = Path(f"network/{name}_node_types.csv")
    write_nodes(folder / nodes_file, name, type_id, _own_attributes(population), population.node_id)
    write_types(folder / types_file, types)
    return PopulationFile(name, nodes_file, types_file, "point_neuron" if simulated else "virtual")


def _own_attributes(population: NodePopulation) -> dict[str, NDArray]:
    """Attributes that are not simply those of the type; parameter overrides went into the types."""
    rows = population.types.index.get_indexer(population.node_type_id)
    own = {}
    for name, values in population.attributes.items():
        if name.startswith("dynamics_params") or name in (*_OWN_COLUMNS, "model_template"):
            continue
        if name in population.types:
            column = population.types[name].to_numpy()[rows]
            same = pd.isna(column) if values.dtype != object else (values == "") & pd.isna(column)
            if np.all(same | (column == values)):
                continue
        own[name] = values
    return own


def _types_of_cells(
    network: Network, here: slice, cells: NodePopulation, folder: Path
) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Write the component files; return the type of every cell and the types table."""
    old = cells.node_type_id
    _, bias_row = np.unique(network.bias_current[here], return_inverse=True)
    _, start_row = np.unique(_initial_voltage(network)[here], return_inverse=True)
    rows = (network.membrane.group_of[here], network.receptors.group_of[here])
    keys = np.stack([old, *rows, bias_row.reshape(-1), start_row.reshape(-1)], axis=1)
    combos, first, kind_of = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    ids = combos[:, 0].astype(np.int64)
    repeated = np.concatenate(([False], ids[1:] == ids[:-1]))
    ids[repeated] = (
        int(cells.types.index.to_numpy().max()) + 1 + np.arange(np.count_nonzero(repeated))
    )
    types = cells.types.loc[combos[:, 0]].drop(columns=list(_OWN_COLUMNS), errors="ignore")
    types.index = pd.Index(ids, name="node_type_id")
    first = first + (here.start or 0)
    prefix = f"{cells.name}_" if network.cells.parts else ""
    written = _write_models(network, first, ids, prefix, folder)
    types["model_template"] = [template for template, _ in written]
    types["dynamics_params"] = [name for _, name in written]
    shifted = np.array([template == GLIF_TEMPLATE for template, _ in written])
    bias = network.bias_current[first]
    if np.any(bias[shifted]):
        types[BIAS_CURRENT] = np.where(shifted, bias, np.nan)
        types[E_L_WITHOUT_BIAS] = np.where(shifted, network.membrane.per_cell("E_L")[first], np.nan)
    for column, names, grouped in (
        ("membrane_label", MEMBRANE_LABELS, network.membrane),
        ("receptor_label", RECEPTOR_LABELS, network.receptors),
    ):
        labels = [grouped.labels[row] for row in grouped.group_of[first]]
        found = next(name for name in names if name in types)
        if [str(value).removesuffix(".json") for value in types[found]] != labels:
            types[column] = labels  # else the reader finds the same names without
    order = np.lexsort((ids, cells.types.index.get_indexer(combos[:, 0])))  # as in the old table
    return ids[kind_of.reshape(-1)].astype(np.int64), types.iloc[order]


def _initial_voltage(network: Network) -> NDArray[np.float64]:
    """[n_cells] mV above E_L."""
    start = network.initial_voltage
    return np.zeros(network.n_cells) if start is None else start


def _write_models(
    network: Network, first: NDArray[np.intp], ids: NDArray[np.int64], prefix: str, folder: Path
) -> list[tuple[str, str]]:
    """Write the component file of each kind of cells; template and file name of each."""
    membrane, receptors = network.membrane, network.receptors
    templates = network.cells.attributes.get("model_template")
    starts = _initial_voltage(network)
    n_used = _ports_used(network)
    written = []
    for cell, type_id in zip(first, ids, strict=True):
        ports = {key: values[receptors.group_of[cell]] for key, values in receptors.values.items()}
        row = membrane.group_of[cell]
        own = {key: np.asarray(values[row]) for key, values in membrane.values.items()}
        model = CellModel(
            own,
            _own_ports(ports, int(n_used[cell])),
            float(own.get("E_L", np.nan) + starts[cell]),
            float(network.bias_current[cell]),
            "" if templates is None else str(templates[cell]),
        )
        where = f"node population {network.simulated}, type {type_id}"
        template, parameters = component_file(with_shifted_rest(model, where), where)
        kind = (
            "glif_lif_asc_config" if template == GLIF_TEMPLATE else template.removeprefix("nest:")
        )
        name = f"{prefix}{type_id}_{kind}.json"
        write_cell_model(folder, name, parameters)
        written.append((template, name))
    return written


def _ports_used(network: Network) -> NDArray[np.int64]:
    """[n_cells] number of ports up to the last that an edge names; all where none is silent."""
    values = network.receptors.values
    n = values["tau_syn_fast"].shape[1]
    silent = np.all([values[name][:, -1] == fill for name, fill in PORT_FILL.items()], axis=0)
    if not silent.any():
        return np.full(network.n_cells, n)
    used = np.ones(network.n_cells, dtype=np.int64)
    for edges in network.edges.values():
        np.maximum.at(used, edges.target_index, edges.receptor + np.int64(1))
    return used


def _own_ports(
    ports: dict[str, NDArray[np.float64]], n_used: int
) -> dict[str, NDArray[np.float64]]:
    """Ports without the silent ones that the reader put behind them."""
    silent = np.all([ports[name] == fill for name, fill in PORT_FILL.items()], axis=0)
    silent[:n_used] = False
    n = len(silent) - int(np.argmin(silent[::-1]))
    return {name: values[:n] for name, values in ports.items()}


def _write_edges(
    network: Network, name: str, folder: Path, synapses: dict[str, dict[str, Any]]
) -> PopulationFile:
    """Write one population; to the synaptic model files that there are (`synapses`) it adds its own."""
    edges = written_plasticity(network.edges[name])
    source, target = (
        _part_of(network, edges.source, edges.source_index),
        _part_of(network, edges.target, edges.target_index),
    )
    edges_file = Path(f"network/{source.name}_{target.name}_edges.h5")
    types_file = Path(f"network/{source.name}_{target.name}_edge_types.csv")
    order = _sorted_order(edges)
    by_sign = _chosen_by_sign(network)[edges.target_index]
    resting = resting_factor(edges)
    per_synapse = edges.weight / (np.where(edges.nsyns == 0, 1, edges.nsyns) * resting)
    narrow = per_synapse.astype(np.float32)
    exact = np.array_equal(narrow.astype(np.float64) * edges.nsyns * resting, edges.weight)
    columns: dict[str, NDArray] = {
        "syn_weight": narrow if exact else per_synapse,
        "nsyns": edges.nsyns.astype(np.int32),
    }
    columns |= _differing(edges, by_sign)
    with EdgeWriter(
        folder / edges_file,
        name,
        source.name,
        target.name,
        source.n,
        target.n,
        {key: values.dtype for key, values in columns.items()},
    ) as writer:
        for start in range(0, len(edges), _BLOCK):
            here = slice(start, start + _BLOCK) if order is None else order[start : start + _BLOCK]
            writer.write(
                edges.source_index[here] - source.start,
                edges.target_index[here] - target.start,
                edges.edge_type_id[here],
                **{key: values[here] for key, values in columns.items()},
            )
    write_types(
        folder / types_file, _write_synapse_models(edges, columns["syn_weight"], folder, synapses)
    )
    return PopulationFile(name, edges_file, types_file, "chemical")


@dataclass(frozen=True)
class _End:
    """A population of the files and its place on the axis of cells."""

    name: str
    start: int
    n: int


def _part_of(network: Network, name: str, index: NDArray[np.int32]) -> _End:
    """The population that edges begin or end in; the first of several without edges."""
    ends = [
        _End(population.name, here.start, len(population))
        for here, population in split(network.nodes[name])
    ]
    if not len(index):
        return ends[0]
    found = [end for end in ends if end.start <= index.min() < end.start + end.n]
    if not found or index.max() >= found[0].start + found[0].n:
        raise NetworkError.of(
            "edges of one population connect several node populations",
            f"node population {name}",
            fix="give every pair of node populations its own edge population",
        )
    return found[0]


def _chosen_by_sign(network: Network) -> NDArray[np.bool_]:
    """[n_cells] whether a cell is written as one that chooses the port by a weight's sign."""
    templates = network.cells.attributes.get("model_template")
    names = [] if templates is None else templates
    by_sign = np.array([chooses_by_sign(str(name)) for name in names], dtype=bool)
    return by_sign if len(by_sign) else np.zeros(network.n_cells, dtype=bool)


def _differing(edges: EdgePopulation, by_sign: NDArray[np.bool_]) -> dict[str, NDArray]:
    """Delays and receptor ports as edge columns, where they are not simply those of the type.

    The port of a cell that chooses it by the sign of a weight is 0 in files, or absent.
    """
    rows = type_rows(edges.edge_type_id, edges.types)
    types = edges.types.assign(receptor_type=receptor_of_type(edges.types))
    ports = np.where(by_sign, 0, edges.receptor + np.int16(1))
    columns = {}
    for name, values in (("delay", edges.delay), ("receptor_type", ports)):
        of_type = joined(name, {}, types, rows)
        if name == "receptor_type" and of_type is not None:
            of_type = np.where(by_sign & np.isnan(of_type), 0, of_type)
            if np.isnan(of_type).any():
                of_type = None
        if of_type is None and name == "receptor_type" and by_sign.all():
            continue
        if of_type is None or not np.array_equal(of_type.astype(values.dtype), values):
            columns[name] = values
    return columns


def _write_synapse_models(
    edges: EdgePopulation, syn_weight: NDArray, folder: Path, written: dict[str, dict[str, Any]]
) -> pd.DataFrame:
    """Write the synaptic model files; return the types table without what they hold.

    A name under which another population has `written` something else gets this population's before it.
    """
    types = edges.types.copy()
    inside = [str(name) for name in types if str(name).startswith(SYNAPSE_PARAMETER)]
    if "dynamics_params" in types:
        for name, rows in types.groupby("dynamics_params", sort=True):
            row = rows.iloc[0]
            values = {key.removeprefix(SYNAPSE_PARAMETER): row[key] for key in inside}
            present = {key: value for key, value in values.items() if not is_absent(value)}
            file = str(name)
            while written.setdefault(file, present) != present:
                file = f"{edges.name}_{file}"
            types.loc[rows.index, "dynamics_params"] = file
            write_synaptic_model(folder, file, present)
    # What is written multiplies: weights that were taken as they are have been divided by nsyns.
    as_it_is = "weight_function" in types and bool(types["weight_function"].isin(AS_IT_IS).any())
    types = types.drop(columns=[*inside, *(["weight_function"] if as_it_is else [])])
    if "syn_weight" in types:  # one that training or an ablation made stale must not mislead
        rows = type_rows(edges.edge_type_id, types)
        if not np.array_equal(types["syn_weight"].to_numpy()[rows].astype(np.float32), syn_weight):
            types = types.drop(columns="syn_weight")
    return types


def _sorted_order(edges: EdgePopulation) -> NDArray[np.intp] | None:
    """The order by (target, source), or None when the edges already have it."""
    source, target = edges.source_index, edges.target_index
    later = target[1:] > target[:-1]
    if np.all(later | ((target[1:] == target[:-1]) & (source[1:] >= source[:-1]))):
        return None
    return np.lexsort((source, target))
