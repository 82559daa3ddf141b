"""Rooms: packages of which every module is a member that registers itself when it is imported.

A member is a new file in the package, or a module of anybody's own package that names it as an entry point
of the room:

    [project.entry-points."v1builder.tasks"]
    my_task = "my_package.my_task"
"""

import importlib
import pkgutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import TypeVar

from v1builder.schema.errors import ConfigError

KindT = TypeVar("KindT")


def kinds_of(kind: type[KindT]) -> Iterator[type[KindT]]:
    """All subclasses of a class, also those of its subclasses."""
    for subclass in kind.__subclasses__():
        yield subclass
        yield from kinds_of(subclass)


def import_members(package: str, but: str) -> None:
    """Import every module of a room and those that other packages add, so that all members are known.

    Args:
        package: full name of the room.
        but: full name of the module that asks, which is being imported already.

    Raises:
        ConfigError: a module that another package adds cannot be imported.
    """
    path = importlib.import_module(package).__path__
    for module in pkgutil.iter_modules(path, f"{package}."):
        if module.name != but:
            importlib.import_module(module.name)
    for added in entry_points(group=package):
        try:
            added.load()
        except Exception as error:
            raise ConfigError.of(
                "a module that another package adds cannot be imported",
                f"entry point {added.name} of {package}",
                f"{added.value}: {error!r}",
                "mend or remove the package",
            ) from error
