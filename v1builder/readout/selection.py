"""Which cells a readout reads."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.load.groups import group_cells
from v1builder.load.network import Network
from v1builder.load.selection import some_cells
from v1builder.schema.errors import ConfigError, NetworkError, raise_if_any, unknown_name

LAYER_5_EXCITATORY: Final[tuple[str, ...]] = ("e5IT", "e5ET", "e5NP")


def readable_cells(
    network: Network,
    populations: Sequence[str],
    radius_um: float | None,
    node_set: str | Mapping[str, Any] | None = None,
) -> NDArray[np.intp]:
    """Positions of the cells of some populations within `radius_um` of the column's axis.

    Args:
        network: cells with pop_name.
        populations: names, or patterns such as "e5*".
        radius_um: None for cells from everywhere.
        node_set: SONATA node set of the cells, in place of populations.

    Raises:
        ConfigError: a name or pattern is that of no population, or the node set is not valid.
        NetworkError: cells lack pop_name, or x or z for a radius.
    """
    inside = np.zeros(network.n_cells, dtype=bool)
    if node_set is None:
        inside = _of_populations(network, populations)
    else:
        chosen = dict(node_set) if isinstance(node_set, Mapping) else node_set
        inside[some_cells(network, chosen, "readout.cells")] = True
    if radius_um is not None:
        attributes = network.cells.attributes
        missing = [name for name in ("x", "z") if name not in attributes]
        if missing:
            raise NetworkError.of(
                "cells lack the positions by which the readout finds its pools",
                f"nodes of '{network.simulated}'",
                f"no {', '.join(missing)}",
                'give every cell x and z, or set readout.radius_um = "all"',
            )
        inside &= np.hypot(attributes["x"], attributes["z"]) <= radius_um
    return np.flatnonzero(inside)


def _of_populations(network: Network, populations: Sequence[str]) -> NDArray[np.bool_]:
    groups = group_cells(network.cells, "population")
    chosen = {
        pattern: [name for name in groups.labels if fnmatchcase(name, pattern)]
        for pattern in populations
    }
    # Small columns lack some of the default populations.
    if not any(chosen.values()) or (
        tuple(populations) != LAYER_5_EXCITATORY and not all(chosen.values())
    ):
        where = f"readout.populations, nodes of '{network.simulated}'"
        unknown = [pattern for pattern, names in chosen.items() if not names]
        raise_if_any(
            [unknown_name("population", name, groups.labels, where) for name in unknown],
            ConfigError,
        )
    wanted = {name for names in chosen.values() for name in names}
    return np.isin(np.array(groups.labels)[groups.of_cell], list(wanted))
