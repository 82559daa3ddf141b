"""What nodes must be, once: the validator notes every problem, a reader refuses at the first."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.schema.errors import Problem, unknown_name
from v1builder.sonata.circuit import PopulationFile
from v1builder.sonata.join import type_rows
from v1builder.sonata.types import read_types

_MEANING = {
    "model_type": "add the column model_type (point_neuron or virtual) to the node types",
}


#: What BMTK's BioNet and the SONATA guide do to morphologies; point neurons have none.
MORPHOLOGY_PROCESSING: Final = (
    "aibs_perisomatic",
    "aibs_allactive",
    "aibs_perisomatic_directed",
    "aibs_allactive_directed",
    "fullaxon",
    "axon_bbpv5",
    "axon_bbpv6",
    "axon_bbpv6nomylin",
)
#: Kinds of cells that have compartments.
_WITH_COMPARTMENTS: Final = ("biophysical", "single_compartment")


def node_types(part: PopulationFile, population: str, ids: NDArray[np.int64]) -> pd.DataFrame:
    """The types table of a population, indexed by id; without a table (the guide allows it) without columns.

    Raises:
        NetworkError: the file is missing or not what it should be.
    """
    if part.types_file is None:
        return pd.DataFrame(index=pd.Index(np.unique(ids), name="node_type_id"))
    return read_types(part.types_file, "node_type_id", population)


def second(name: str, where: str, kind: str) -> Problem:
    """Two populations of one name; `kind` is "node" or "edge"."""
    return Problem(f"two {kind} populations have one name", f"{where}, {name}", fix="rename one")


def processing_names(column: NDArray[Any]) -> list[str]:
    """The values of a column model_processing, absent ones left out."""
    names = np.unique(column.astype(str))
    return [str(name) for name in names if name not in ("", "nan", "None")]


def node_problems(
    ids: NDArray[np.int64], attributes: Mapping[str, NDArray[Any]], where: str
) -> list[Problem]:
    """What nodes are that are not supported, or cannot be.

    Args:
        ids: [n] node ids.
        attributes: [n] with the columns of their types, model_type among them.
        where: for messages.
    """
    problems = []
    if len(np.unique(ids)) != len(ids):
        problems.append(Problem("a node id occurs twice", where, fix="give every node its id"))
    kinds = [str(kind) for kind in np.unique(attributes["model_type"].astype(str))]
    absent = [kind for kind in kinds if kind in ("", "nan", "None")]
    if absent:
        fix = "write point_neuron or virtual"
        problems.append(Problem("a node has no model_type", where, fix=fix))
    problems += [
        Problem(
            f"cells of model_type '{kind}' are not supported",
            where,
            kind,
            "only point neurons can be simulated; BMTK's BioNet simulates cells with compartments",
        )
        for kind in kinds
        if kind in _WITH_COMPARTMENTS
    ]
    simulated = attributes["model_type"] != "virtual"
    processing = attributes.get("model_processing")
    if processing is not None:
        here = f"{where}, column model_processing"
        problems += [
            unknown_name("model processing", name, MORPHOLOGY_PROCESSING, here)
            for name in processing_names(np.asarray(processing)[simulated])
            if name.partition(":")[0] not in MORPHOLOGY_PROCESSING
        ]
    return problems


def known_types(
    ids: NDArray[Any], types: pd.DataFrame, part: PopulationFile
) -> tuple[NDArray[np.int64], list[Problem]]:
    """Row of the types table of every node, and what is wrong when it lacks one."""
    rows = type_rows(ids, types)
    unknown = np.unique(ids[rows < 0])
    if not len(unknown):
        return rows, []
    return rows, [
        Problem(
            "a node has a type that the types table lacks",
            f"{part.file}, types {part.types_file}",
            f"node_type_id {', '.join(map(str, unknown[:5]))}",
            "add the type to the table or correct the nodes",
        )
    ]


def no_column(column: str, where: str, present: Iterable[str]) -> Problem:
    """Nodes without something that neither they nor their types say."""
    return Problem(
        f"the nodes have no '{column}'",
        where,
        ", ".join(map(str, present)),
        _MEANING.get(column, f"add the column '{column}' to the node types"),
    )


def population_problems(
    simulated: Iterable[str], mixed: Iterable[str], path: Path
) -> list[Problem]:
    """What a network's populations must be.

    Args:
        simulated: names of those that are not virtual.
        mixed: names of those with virtual and other nodes.
        path: of the configuration.
    """
    problems = []
    if not list(simulated):
        problems.append(
            Problem(
                "a network needs a simulated node population",
                str(path),
                "simulated: none",
                "give a population the model_type point_neuron",
            )
        )
    return problems + [
        Problem(
            "a node population mixes virtual and simulated nodes",
            f"{path}, node population {name}",
            fix="give the virtual nodes a population of their own",
        )
        for name in mixed
    ]
