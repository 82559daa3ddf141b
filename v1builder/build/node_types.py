"""The table of V1 cell models as SONATA node types, and their component files.

A node type's id is the specimen id of its cell model, as in the published model. A model that
another population borrows gets the id number_of_population * 1e9 + specimen id, so that ids stay
unique and the specimen stays readable.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder import sonata
from v1builder.build.weights import Receptors
from v1builder.schema.errors import DataError, Problem, raise_if_any
from v1builder.schema.names import GLIF_TEMPLATE, PSC_ALPHA, SYNAPSE_CLASSES
from v1builder.schema.parameters import GLIF_UNITS
from v1builder.sonata.point_neuron import CellModel, cell_model_parameters

#: Borrowed models are numbered from here: above every specimen, and within 32 bits, because other
#: trainers hold node_type_id in so many.
_BORROWED_FIRST = 2_000_000_000
_PER_CURRENT = ("asc_amps", "asc_decay", "asc_r")
_PER_CELL = tuple(p for p in GLIF_UNITS if p not in _PER_CURRENT)


def build_models(cell_models: pd.DataFrame, populations: pd.DataFrame) -> pd.DataFrame:
    """Order the cell models by population and add what the builder needs to know of each.

    Args:
        cell_models: one row per (population, cell model).
        populations: the populations table.

    Returns:
        [m] rows: the columns of `cell_models` and node_type_id, population_index, synapse_class,
        ei, location, neuropixels_class.

    Raises:
        DataError: a population is unknown, a parameter is missing, or a model occurs twice.
    """
    row_of = {name: row for row, name in enumerate(populations["population"])}
    numbers = [f"{p}_{k}" for p in _PER_CURRENT for k in (0, 1)]
    numbers += [*_PER_CELL, "bkg_weight"]
    problems = [
        Problem("a cell model is of an unknown population", "table cell_models", name)
        for name in sorted(set(cell_models["population"]) - set(row_of))
    ]
    problems += [
        Problem(
            "a cell model lacks a value", f"table cell_models, column {name}", f"{missing} rows"
        )
        for name in numbers
        if (missing := int((~np.isfinite(cell_models[name].to_numpy(dtype=np.float64))).sum()))
    ]
    problems += [
        Problem(
            "a cell model occurs twice in a population", "table cell_models", f"specimen {specimen}"
        )
        for specimen in cell_models.loc[
            cell_models.duplicated(["population", "specimen_id"]), "specimen_id"
        ]
    ]
    raise_if_any(problems, DataError)
    row = np.array([row_of[name] for name in cell_models["population"]])
    models = cell_models.assign(population_index=row)
    models = models.sort_values("population_index", kind="stable").reset_index(drop=True)
    for name in ("synapse_class", "ei", "location", "neuropixels_class"):
        models[name] = populations[name].to_numpy()[models["population_index"]]
    models["borrowed_from"] = models["borrowed_from"].fillna("")
    specimen = models["specimen_id"].astype(np.int64)
    own = models["borrowed_from"] == ""
    taken_before = ~own | specimen.where(own).duplicated()
    models["node_type_id"] = specimen.where(~taken_before, _BORROWED_FIRST + np.arange(len(models)))
    return models


def parameters_file(node_type_id: int) -> str:
    """Name of the component file of a node type."""
    return f"{node_type_id}_glif_lif_asc_config.json"


def synapse_files(pre_class: str, post_class: str, n_draws: int = 1) -> list[str]:
    """Names of the component files of a pair of synapse classes, one per draw."""
    pair = f"{pre_class}_to_{post_class}"
    return [f"{pair}_{draw}.json" for draw in range(n_draws)] if n_draws > 1 else [f"{pair}.json"]


def v1_node_types(models: pd.DataFrame) -> pd.DataFrame:
    """The node types table of V1, indexed by node_type_id."""
    return pd.DataFrame(
        {
            "node_type_id": models["node_type_id"],
            "model_type": "point_neuron",
            "model_template": GLIF_TEMPLATE,
            "dynamics_params": [parameters_file(key) for key in models["node_type_id"]],
            "pop_name": models["population"],
            "ei": models["ei"],
            "location": models["location"],
            "model_name": models["specimen_id"],
            "borrowed_from": models["borrowed_from"],
            "synapse_class": models["synapse_class"],
            "neuropixels_class": models["neuropixels_class"],
            "bkg_weight_source": models["bkg_weight_source"],
        }
    ).set_index("node_type_id")


def write_components(
    folder: Path,
    models: pd.DataFrame,
    ports: Receptors,
    plasticity: Mapping[tuple[str, str], Sequence[Mapping[str, float]]] | None = None,
) -> None:
    """Write the parameters of every cell model and of every synapse model.

    Args:
        folder: of the network.
        models: cell models.
        ports: of `models`.
        plasticity: what synapse models have besides their port, by pair of synapse classes and draw.
    """
    for row, model in enumerate(models.to_dict("records")):
        membrane: dict[str, NDArray[np.float64]] = {
            name: np.array([model[f"{name}_0"], model[f"{name}_1"]], dtype=np.float64)
            for name in _PER_CURRENT
        }
        membrane |= {name: np.asarray(model[name], dtype=np.float64) for name in _PER_CELL}
        receptors = {
            "tau_syn_fast": ports.tau_fast[row],
            "tau_syn_slow": ports.tau_slow[row],
            "amp_slow": ports.amp_slow[row],
            "psc_shape": np.full(ports.tau_fast[row].shape, PSC_ALPHA),
        }
        parameters = cell_model_parameters(CellModel(membrane, receptors))
        sonata.write_cell_model(folder, parameters_file(model["node_type_id"]), parameters)
    for post in sorted(set(models["synapse_class"])):
        for port, pre in enumerate(SYNAPSE_CLASSES, start=1):
            draws = (plasticity or {}).get((pre, post), [{}])
            for file, own in zip(synapse_files(pre, post, len(draws)), draws, strict=True):
                sonata.write_synaptic_model(folder, file, {"receptor_type": port, **own})
