"""The calibrated network's folder: the one it came from with other background weights, nothing else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from v1builder.calibrate.spontaneous import background_edges
from v1builder.load import Network
from v1builder.schema.errors import NetworkError
from v1builder.schema.files import write_json
from v1builder.sonata.circuit import PopulationFile, read_circuit
from v1builder.sonata.types import read_types, write_types

Array = NDArray[np.float64]


def with_background(network: Network, per_cell: Array) -> Network:
    """The network with other background weights, [n_cells] pA per synapse."""
    name = background_edges(network)
    edges = network.edges[name]
    changed = replace(edges, weight=per_cell[edges.target_index] * edges.nsyns)
    return replace(network, edges=network.edges | {name: changed})


def background_file(folder: Path, network: Network) -> PopulationFile:
    """The file with the background weights, checked to be one that can be changed.

    Raises:
        NetworkError: it is not within the folder, or the edges do not have a weight each.
    """
    name = background_edges(network)
    parts = read_circuit(folder).edges
    part = next((p for p in parts if p.population == name), None) or next(
        p for p in parts if not p.population
    )
    fix = "load it and write it with load.save_network, then calibrate that folder"
    inside = [p for p in (part.file, part.types_file) if p is not None]
    if not all(path.is_relative_to(folder.resolve()) for path in inside):
        raise NetworkError.of(
            "the network's files are not within its folder",
            folder,
            ", ".join(map(str, inside)),
            fix,
        )
    with h5py.File(part.file) as file:
        group: Any = file[f"edges/{name}"]
        n = len(group["source_node_id"])
        groups = [key for key, value in group.items() if isinstance(value, h5py.Group)]
        single = [key for key in groups if key.isdigit()] == ["0"]
        if not (single and "syn_weight" in group["0"] and group["0/syn_weight"].shape == (n,)):
            raise NetworkError.of(
                "the background edges do not have a weight each", part.file, ", ".join(groups), fix
            )
    return part


def copy_with_background(folder: Path, out: Path, network: Network) -> None:
    """Copy a network folder; the background weights are those of `network`.

    Args:
        folder: where `network` was loaded from.
        out: existing folder to fill.
        network: of `with_background`.

    Raises:
        NetworkError: as `background_file`.
        StorageError: raised by the caller's `atomic_folder` for what the file system refuses.
    """
    part = background_file(folder, network)
    shutil.copytree(folder, out, dirs_exist_ok=True)
    edges = network.edges[background_edges(network)]
    per_synapse = edges.weight / np.where(edges.nsyns == 0, 1, edges.nsyns)
    with h5py.File(out / part.file.relative_to(folder.resolve()), "r+") as file:
        weight: Any = file[f"edges/{edges.name}/0/syn_weight"]
        weight[...] = per_synapse.astype(weight.dtype)
    if part.types_file is None:
        return
    types = read_types(part.types_file, "edge_type_id")
    if "syn_weight" in types:
        # Other trainers read the background's weight here.
        for type_id in types.index:
            values = np.unique(per_synapse[edges.edge_type_id == type_id])
            if len(values):
                types.loc[type_id, "syn_weight"] = values[0] if len(values) == 1 else np.nan
        write_types(out / part.types_file.relative_to(folder.resolve()), types)


def add_provenance(out: Path, record: dict[str, Any]) -> None:
    """Say in provenance.json that the network was calibrated; what was there before stays."""
    path = out / "provenance.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_json(path, before | {"calibration": record})
