"""The register: every measure of this package by its name."""

import importlib
import pkgutil
from typing import Final

from v1builder import measures
from v1builder.measures.measure import Measure, registered
from v1builder.schema.errors import ConfigError, unknown_name

for _module in pkgutil.iter_modules(measures.__path__, f"{measures.__name__}."):
    if _module.name != __name__:
        importlib.import_module(_module.name)

#: Every measure by name, in alphabetical order.
MEASURES: Final[dict[str, type[Measure]]] = {
    kind.name: kind for kind in sorted(registered(), key=lambda kind: kind.name)
}


def measure_named(name: str) -> type[Measure]:
    """The measure of that name.

    Raises:
        ConfigError: there is none; the nearest is named.
    """
    if name not in MEASURES:
        raise ConfigError([unknown_name("measure", name, MEASURES, "measures")])
    return MEASURES[name]
