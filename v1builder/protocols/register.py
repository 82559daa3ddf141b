"""Every protocol by its name, and several of them on one network."""

from collections.abc import Callable, Sequence
from typing import Final

from v1builder.inputs import input_sources
from v1builder.load.network import Network
from v1builder.measures import MeasureRow
from v1builder.measures.groups import all_groups
from v1builder.model import V1Network
from v1builder.protocols.protocol import Draws, Preparation, Protocol
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.schema.members import import_members, named

import_members("v1builder.protocols", but=__name__)

#: Every protocol by name, in alphabetical order.
PROTOCOLS: Final[dict[str, type[Protocol]]] = named(Protocol, lambda kind: kind.name, "protocol")


def protocol_named(name: str) -> type[Protocol]:
    """The protocol of that name.

    Raises:
        ConfigError: there is none; the nearest is named.
    """
    if name not in PROTOCOLS:
        raise ConfigError([unknown_name("protocol", name, PROTOCOLS, "protocols")])
    return PROTOCOLS[name]


def run_protocols(
    names: Sequence[str],
    network: Network,
    model: V1Network,
    *,
    draw: Draws,
    levels: Sequence[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[MeasureRow]:
    """The rows of several protocols with their default settings.

    Args:
        names: of protocols.
        network: whose cells and edges the model has, and whose nodes say how the inputs fire.
        model: of the network, trained or not, on any device.
        draw: makes random streams.
        levels: of groups, see `measures.groups.all_groups`. Measures of the network alone are there whatever
            the levels.
        progress: called with (protocol, steps done, of all).

    Raises:
        ConfigError: a protocol or level is unknown.
        NetworkError: the nodes of an input do not say how they fire, or cells cannot be grouped.
    """
    kinds = [protocol_named(name) for name in dict.fromkeys(names)]
    sources = input_sources(network, dt=model.dt)
    groups = all_groups(network.cells, levels, network.node_sets)
    rows = []
    for kind in kinds:

        def shown(done: int, total: int, name: str = kind.name) -> None:
            if progress:
                progress(name, done, total)

        preparation = Preparation(network, model, sources, draw, groups, shown)
        rows += kind().run(preparation)
    return rows
