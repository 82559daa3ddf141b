"""Every kind of stimulus by the name of its class."""

from collections.abc import Iterator
from typing import Final

from v1builder.schema.members import import_members
from v1builder.stimuli.stimulus import Stimulus

import_members("v1builder.stimuli", but=__name__)


def _members(kind: type[Stimulus]) -> Iterator[type[Stimulus]]:
    """All kinds of a kind, also those that are made from another."""
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _members(subclass)


STIMULI: Final[dict[str, type[Stimulus]]] = {
    kind.__name__: kind for kind in sorted(_members(Stimulus), key=lambda kind: kind.__name__)
}
