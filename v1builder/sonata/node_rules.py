"""What nodes must be, once: the validator notes every problem, a reader refuses at the first."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.schema.errors import Problem
from v1builder.sonata.circuit import PopulationFile
from v1builder.sonata.join import type_rows

_MEANING = {
    "model_type": "add the column model_type (point_neuron or virtual) to the node types",
}


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
