"""From the nodes of a network to the sources of its inputs."""

from typing import Final

import numpy as np
import torch

from v1builder.inputs.source import Source
from v1builder.load.network import Network, NodePopulation
from v1builder.schema.errors import NetworkError, Problem, raise_if_any
from v1builder.schema.members import import_members, kinds_of

import_members("v1builder.inputs", but=__name__)

#: Every kind of source. Nodes that are of several are of the one that sees.
KINDS: Final[tuple[type[Source], ...]] = tuple(
    sorted(kinds_of(Source), key=lambda kind: (not kind.sees, kind.kind))
)


def input_sources(
    network: Network, *, dt: float, dtype: torch.dtype = torch.float32
) -> dict[str, Source]:
    """A source for every population that projects to the simulated cells, and for currents into these.

    Args:
        network: whose nodes say what they are.
        dt: ms per step.
        dtype: of rates.

    Returns:
        By population; those that see come first, each kind by name. That is the order in which spikes are
        drawn, whatever the order of the files.

    Raises:
        NetworkError: listing the populations whose nodes do not say how they fire, or say it wrongly.
    """
    projecting: dict[str, list[np.ndarray]] = {}
    for edges in network.edges.values():
        if edges.source != network.simulated:
            projecting.setdefault(edges.source, []).append(np.unique(edges.source_index))
    kinds = {name: _kind(network.nodes[name]) for name in sorted(projecting)}
    raise_if_any(
        [_unserved(network.nodes[name]) for name, kind in kinds.items() if kind is None],
        NetworkError,
    )
    if (injecting := _kind(network.cells, injects=True)) is not None:
        kinds[network.simulated] = injecting
        projecting[network.simulated] = [np.arange(network.n_cells)]
    return {
        name: found.of(
            network.nodes[name],
            np.unique(np.concatenate(projecting[name])).astype(np.int64),
            dt=dt,
            dtype=dtype,
        )
        for kind in KINDS
        for name, found in kinds.items()
        if found is kind
    }


def _kind(nodes: NodePopulation, *, injects: bool = False) -> type[Source] | None:
    return next((kind for kind in KINDS if kind.injects == injects and kind.serves(nodes)), None)


def _unserved(nodes: NodePopulation) -> Problem:
    return Problem(
        "the nodes of an input do not say how they fire",
        f"node population '{nodes.name}'",
        f"columns {', '.join(sorted(nodes.attributes))}",
        "give them one of: " + "; ".join(kind.needs for kind in KINDS if not kind.injects),
    )
