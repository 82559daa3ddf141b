"""Every measure by its name."""

from typing import Final

from v1builder.measures.measure import Measure
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.schema.members import import_members, named

import_members("v1builder.measures", but=__name__)

#: Every measure by name, in alphabetical order.
MEASURES: Final[dict[str, type[Measure]]] = named(Measure, lambda kind: kind.name, "measure")


def measure_named(name: str) -> type[Measure]:
    """The measure of that name.

    Raises:
        ConfigError: there is none; the nearest is named.
    """
    if name not in MEASURES:
        raise ConfigError([unknown_name("measure", name, MEASURES, "measures")])
    return MEASURES[name]
