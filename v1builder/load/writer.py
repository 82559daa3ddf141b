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

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.load.membrane import (
    BIAS_CURRENT,
    E_L_WITHOUT_BIAS,
    MEMBRANE_LABELS,
    RECEPTOR_LABELS,
    with_bias,
)
from v1builder.load.network import EdgePopulation, Network, NodePopulation
from v1builder.schema.errors import NetworkError
from v1builder.schema.files import atomic_folder, write_json
from v1builder.schema.names import GLIF_TEMPLATE
from v1builder.sonata.circuit import PopulationFile, write_circuit_config
from v1builder.sonata.components import write_cell_model, write_synaptic_model
from v1builder.sonata.edges import EdgeWriter
from v1builder.sonata.join import (
    SYNAPSE_PARAMETER,
    is_absent,
    joined,
    receptor_of_type,
    type_rows,
)
from v1builder.sonata.nodes import write_nodes
from v1builder.sonata.point_neuron import CellModel, cell_model_parameters
from v1builder.sonata.types import write_types

#: Edges written at once.
_BLOCK = 1 << 22
#: Attributes that the node types table carries for the simulated cells.
_OWN_COLUMNS = ("membrane_label", "receptor_label", BIAS_CURRENT, E_L_WITHOUT_BIAS)


def save_network(network: Network, folder: Path | str, *, overwrite: bool = False) -> Path:
    """Write a network as a SONATA folder, complete or not at all.

    Args:
        network: what to write.
        folder: folder to create.
        overwrite: replace an existing folder.

    Returns:
        The folder.

    Raises:
        NetworkError: node ids are not 0..n-1 in order, which the indices of SONATA need.
        StorageError: the folder exists, or the file system refused.
    """
    with atomic_folder(folder, overwrite=overwrite) as temporary:
        nodes = [_write_population(network, name, temporary) for name in network.nodes]
        edges = [_write_edges(network, name, temporary) for name in network.edges]
        write_circuit_config(temporary, nodes, edges)
        write_json(temporary / "provenance.json", network.provenance)
    return Path(folder)


def _write_population(network: Network, name: str, folder: Path) -> PopulationFile:
    population = network.nodes[name]
    if not np.array_equal(population.node_id, np.arange(len(population))):
        raise NetworkError.of(
            "node ids must be 0..n-1 in order to be written",
            f"node population {name}",
            f"ids {population.node_id[:3]}...",
            "renumber the nodes",
        )
    type_id, types = population.node_type_id, population.types
    if name == network.simulated:
        type_id, types = _types_of_cells(network, folder)
    nodes_file = Path(f"network/{name}_nodes.h5")
    types_file = Path(f"network/{name}_node_types.csv")
    write_nodes(folder / nodes_file, name, type_id, _own_attributes(population), population.node_id)
    write_types(folder / types_file, types)
    kind = "point_neuron" if name == network.simulated else "virtual"
    return PopulationFile(name, nodes_file, types_file, kind)


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


def _types_of_cells(network: Network, folder: Path) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Write the component files; return the type of every cell and the types table."""
    cells = network.cells
    old = cells.node_type_id
    _, bias_row = np.unique(network.bias_current, return_inverse=True)
    keys = np.stack(
        [old, network.membrane.group_of, network.receptors.group_of, bias_row.reshape(-1)], axis=1
    )
    combos, first, kind_of = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    ids = combos[:, 0].copy()
    repeated = np.concatenate(([False], ids[1:] == ids[:-1]))
    ids[repeated] = (
        int(cells.types.index.to_numpy().max()) + 1 + np.arange(np.count_nonzero(repeated))
    )
    types = cells.types.loc[combos[:, 0]].drop(columns=list(_OWN_COLUMNS), errors="ignore")
    types.index = pd.Index(ids, name="node_type_id")
    types["model_template"] = GLIF_TEMPLATE
    types["dynamics_params"] = _write_models(network, first, ids, folder)
    if np.any(network.bias_current):
        types[BIAS_CURRENT] = network.bias_current[first]
        types[E_L_WITHOUT_BIAS] = network.membrane.per_cell("E_L")[first]
    for column, names, grouped in (
        ("membrane_label", MEMBRANE_LABELS, network.membrane),
        ("receptor_label", RECEPTOR_LABELS, network.receptors),
    ):
        labels = [grouped.labels[row] for row in grouped.group_of[first]]
        found = next(name for name in names if name in types)
        if [str(value).removesuffix(".json") for value in types[found]] != labels:
            types[column] = labels  # else the reader finds the same names without
    order = np.lexsort((ids, cells.types.index.get_indexer(combos[:, 0])))  # as in the old table
    return ids[kind_of.reshape(-1)], types.iloc[order]


def _write_models(
    network: Network, first: NDArray[np.intp], ids: NDArray[np.int64], folder: Path
) -> list[str]:
    membrane, receptors = network.membrane, network.receptors
    names = []
    for cell, type_id in zip(first, ids, strict=True):
        own = {key: values[membrane.group_of[cell]] for key, values in membrane.values.items()}
        shifted = with_bias(float(own["E_L"]), float(own["g"]), float(network.bias_current[cell]))
        model = CellModel(
            {**own, "E_L": np.asarray(shifted)},
            {key: values[receptors.group_of[cell]] for key, values in receptors.values.items()},
        )
        name = f"{type_id}_glif_lif_asc_config.json"
        write_cell_model(folder, name, cell_model_parameters(model))
        names.append(name)
    return names


def _write_edges(network: Network, name: str, folder: Path) -> PopulationFile:
    edges = network.edges[name]
    edges_file = Path(f"network/{edges.source}_{edges.target}_edges.h5")
    types_file = Path(f"network/{edges.source}_{edges.target}_edge_types.csv")
    order = _sorted_order(edges)
    per_synapse = edges.weight / np.where(edges.nsyns == 0, 1, edges.nsyns)
    narrow = per_synapse.astype(np.float32)
    exact = np.array_equal(narrow.astype(np.float64) * edges.nsyns, edges.weight)
    columns: dict[str, NDArray] = {
        "syn_weight": narrow if exact else per_synapse,
        "nsyns": edges.nsyns,
    }
    columns |= _differing(edges)
    with EdgeWriter(
        folder / edges_file,
        name,
        edges.source,
        edges.target,
        len(network.nodes[edges.source]),
        len(network.nodes[edges.target]),
        {key: values.dtype for key, values in columns.items()},
    ) as writer:
        for start in range(0, len(edges), _BLOCK):
            here = slice(start, start + _BLOCK) if order is None else order[start : start + _BLOCK]
            writer.write(
                edges.source_index[here],
                edges.target_index[here],
                edges.edge_type_id[here],
                **{key: values[here] for key, values in columns.items()},
            )
    write_types(folder / types_file, _write_synapse_models(edges, columns["syn_weight"], folder))
    return PopulationFile(name, edges_file, types_file, "chemical")


def _differing(edges: EdgePopulation) -> dict[str, NDArray]:
    """Delays and receptor ports as edge columns, where they are not simply those of the type."""
    rows = type_rows(edges.edge_type_id, edges.types)
    types = edges.types.assign(receptor_type=receptor_of_type(edges.types))
    ports = edges.receptor + np.int16(1)
    columns = {}
    for name, values in (("delay", edges.delay), ("receptor_type", ports)):
        of_type = joined(name, {}, types, rows)
        if of_type is None or not np.array_equal(of_type.astype(values.dtype), values):
            columns[name] = values
    return columns


def _write_synapse_models(edges: EdgePopulation, syn_weight: NDArray, folder: Path) -> pd.DataFrame:
    """Write the synaptic model files; return the types table without what they hold."""
    types = edges.types
    inside = [str(name) for name in types if str(name).startswith(SYNAPSE_PARAMETER)]
    if "dynamics_params" in types:
        for name, rows in types.groupby("dynamics_params", sort=True):
            row = rows.iloc[0]
            values = {key.removeprefix(SYNAPSE_PARAMETER): row[key] for key in inside}
            present = {key: value for key, value in values.items() if not is_absent(value)}
            write_synaptic_model(folder, str(name), present)
    types = types.drop(columns=inside)
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
