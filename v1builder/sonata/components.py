"""Component files: JSON dictionaries of the parameters of a cell model or a synapse model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from v1builder.schema.files import write_json

CELL_MODELS = "components/cell_models"
SYNAPTIC_MODELS = "components/synaptic_models"


def write_cell_model(folder: Path | str, name: str, parameters: Mapping[str, Any]) -> Path:
    """Write `parameters` (NEST names) to components/cell_models/`name` of a network folder.

    Numpy arrays and numbers become JSON lists and numbers.

    Raises:
        StorageError: the file system refused.
    """
    return _write(Path(folder) / CELL_MODELS / name, parameters)


def write_synaptic_model(folder: Path | str, name: str, parameters: Mapping[str, Any]) -> Path:
    """Write `parameters` to components/synaptic_models/`name` of a network folder.

    Raises:
        StorageError: the file system refused.
    """
    return _write(Path(folder) / SYNAPTIC_MODELS / name, parameters)


def _write(path: Path, parameters: Mapping[str, Any]) -> Path:
    plain = {
        key: value.tolist() if hasattr(value, "tolist") else value
        for key, value in parameters.items()
    }
    write_json(path, plain)
    return path
