"""Every protocol by its name."""

from typing import Final

from v1builder.protocols.protocol import Protocol
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.schema.members import import_members, kinds_of

import_members("v1builder.protocols", but=__name__)

#: Every protocol by name, in alphabetical order.
PROTOCOLS: Final[dict[str, type[Protocol]]] = dict(
    sorted((kind.name, kind) for kind in kinds_of(Protocol) if kind.name)
)


def protocol_named(name: str) -> type[Protocol]:
    """The protocol of that name.

    Raises:
        ConfigError: there is none; the nearest is named.
    """
    if name not in PROTOCOLS:
        raise ConfigError([unknown_name("protocol", name, PROTOCOLS, "protocols")])
    return PROTOCOLS[name]
