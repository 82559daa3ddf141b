"""Which group a cell belongs to, at each level from a single cell to the whole network."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from v1builder.load.network import NodePopulation
from v1builder.schema.errors import ConfigError, NetworkError, Problem, unknown_name
from v1builder.schema.names import CELL_CLASSES

#: From the finest to the coarsest.
LEVELS: Final[tuple[str, ...]] = ("cell", "cell_model", "population", "class", "ei", "global")


@dataclass(frozen=True)
class Groups:
    """A partition of cells.

    Attributes:
        of_cell: [n_cells] group of each cell.
        labels: [n_groups] name of each group; every group has at least one cell.
    """

    of_cell: NDArray[np.int64]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """[n_groups] number of cells in each group."""
        return np.bincount(self.of_cell, minlength=len(self))


def check_level(level: str, where: object) -> None:
    """Raise ConfigError, naming the nearest level, unless `level` is one of `LEVELS`."""
    if level not in LEVELS:
        raise ConfigError([unknown_name("level", level, LEVELS, where)])


def group_cells(nodes: NodePopulation, level: str) -> Groups:
    """The groups of one level.

    "cell_model" is the node type (a cell model of a population, so that it nests in "population"),
    "population" the attribute `pop_name`, "class" its entry in `CELL_CLASSES`, "ei" the attribute
    `ei`. Groups are in alphabetical order, node types in numerical order.

    Raises:
        ConfigError: `level` is unknown.
        NetworkError: the cells lack the attribute the level needs, or their names have no class.
    """
    check_level(level, "group_cells")
    n = len(nodes)
    if level == "global":
        return Groups(np.zeros(n, np.int64), ("global",) if n else ())
    if level == "cell":
        return Groups(np.arange(n), tuple(str(node) for node in nodes.node_id))
    if level == "cell_model":
        return _partition(nodes.node_type_id)
    if level == "population":
        return _partition(_names(nodes, "pop_name", level))
    if level == "class":
        return _partition(_classes(nodes))
    return _partition(_signs(nodes))


def _partition(keys: NDArray) -> Groups:
    labels, of_cell = np.unique(keys, return_inverse=True)
    return Groups(of_cell.astype(np.int64), tuple(str(label) for label in labels))


def _names(nodes: NodePopulation, attribute: str, level: str) -> NDArray[np.str_]:
    if attribute not in nodes.attributes:
        raise NetworkError.of(
            f"the cells cannot be grouped by {level}: they have no attribute '{attribute}'",
            f"node population {nodes.name}",
            ", ".join(sorted(nodes.attributes)),
            f"add a column '{attribute}' to the node types table, or choose another level",
        )
    return np.asarray(nodes.attributes[attribute]).astype(str)


def _classes(nodes: NodePopulation) -> NDArray[np.str_]:
    populations, of_cell = np.unique(_names(nodes, "pop_name", "class"), return_inverse=True)
    unknown = [name for name in populations if name not in CELL_CLASSES]
    if unknown:
        raise NetworkError.of(
            "the cells cannot be grouped by class: the table of classes lacks their population",
            f"node population {nodes.name}, pop_name",
            ", ".join(unknown),
            f"use level population or ei; known populations: {', '.join(CELL_CLASSES)}",
        )
    return np.array([CELL_CLASSES[name] for name in populations])[of_cell]


def _signs(nodes: NodePopulation) -> NDArray[np.str_]:
    signs = _names(nodes, "ei", "ei")
    other = sorted(set(signs) - {"e", "i"})
    if other:
        problem = Problem(
            "the cells cannot be grouped by ei: the attribute 'ei' must be e or i",
            f"node population {nodes.name}, ei",
            ", ".join(repr(value) for value in other),
            "correct the node types table",
        )
        raise NetworkError([problem])
    return signs
