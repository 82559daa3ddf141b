"""circuit_config.json: which files make a network."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from v1builder.schema.errors import NetworkError, Problem, unknown_name
from v1builder.schema.files import write_json
from v1builder.sonata.components import read_json

CIRCUIT_CONFIG = "circuit_config.json"


@dataclass(frozen=True)
class PopulationFile:
    """A population, the HDF5 file it is in and its types table.

    Attributes:
        population: its name, or "" when the configuration does not say (then: all in the file).
        file: HDF5 file; relative to the folder when writing, absolute when read.
        types_file: CSV file, or None.
        type: what kind of population it is: nodes "point_neuron" or "virtual"; edges "chemical".
    """

    population: str
    file: Path
    types_file: Path | None
    type: str = ""


def write_circuit_config(
    folder: Path | str, nodes: Iterable[PopulationFile], edges: Iterable[PopulationFile]
) -> Path:
    """Write `folder`/circuit_config.json.

    The base directory is "." (relative to the configuration, as SONATA says), because libsonata does
    not know BMTK's ${configdir}.

    Raises:
        StorageError: the file system refused.
    """

    def entry(part: PopulationFile, kind: str) -> dict[str, Any]:
        types = None if part.types_file is None else f"$BASE_DIR/{part.types_file.as_posix()}"
        return {
            f"{kind}s_file": f"$BASE_DIR/{part.file.as_posix()}",
            f"{kind}_types_file": types,
            "populations": {part.population: {"type": part.type}},
        }

    path = Path(folder) / CIRCUIT_CONFIG
    write_json(
        path,
        {
            "manifest": {"$BASE_DIR": ".", "$COMPONENTS_DIR": "$BASE_DIR/components"},
            "components": {
                "point_neuron_models_dir": "$COMPONENTS_DIR/cell_models",
                "synaptic_models_dir": "$COMPONENTS_DIR/synaptic_models",
            },
            "networks": {
                "nodes": [entry(part, "node") for part in nodes],
                "edges": [entry(part, "edge") for part in edges],
            },
        },
    )
    return path
