"""The types of an edge population, as every reader needs them: with what their synaptic models say."""

from pathlib import Path
from typing import Any

import pandas as pd

from v1builder.schema.errors import NetworkError
from v1builder.sonata.circuit import PopulationFile
from v1builder.sonata.edges import edge_type_ids
from v1builder.sonata.join import is_absent, with_synapse_models
from v1builder.sonata.types import read_types


def edge_types(part: PopulationFile, population: str, synaptic_models: Path | None) -> pd.DataFrame:
    """The types table, indexed by id; without a table (the guide allows it) types that say nothing.

    Args:
        part: files of the population.
        population: its name.
        synaptic_models: folder of the synaptic model files, or None.

    Raises:
        NetworkError: a file is missing or not what it should be.
    """
    if part.types_file is None:
        ids = edge_type_ids(part.file, population)
        return pd.DataFrame(index=pd.Index(ids, name="edge_type_id"))
    types = read_types(part.types_file, "edge_type_id", population)
    named = types["dynamics_params"].to_list() if "dynamics_params" in types else []
    named = [name for name in named if not is_absent(name)]
    if named:
        if synaptic_models is None:
            raise NetworkError.of(
                "the configuration names no folder of synaptic models",
                f"{part.types_file}, column dynamics_params",
                fix="add components.synaptic_models_dir",
            )
        _check_names(named, part.types_file)
    return with_synapse_models(types, synaptic_models)


def _check_names(names: list[Any], file: Path) -> None:
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise NetworkError.of(
            "the name of a synaptic model file is not a text",
            f"{file}, column dynamics_params",
            wrong[0],
            "name a JSON file",
        )
