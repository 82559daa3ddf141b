"""Rooms: packages of which every module is a member that registers itself when it is imported.

A member is a new file in the package, or a module of anybody's own package that names it as an entry point
of the room:

    [project.entry-points."v1builder.tasks"]
    my_task = "my_package.my_task"
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import TypeVar

from v1builder.schema.errors import ConfigError

KindT = TypeVar("KindT")


def kinds_of(kind: type[KindT]) -> Iterator[type[KindT]]:
    """All subclasses of a class, also those of its subclasses, each once."""
    found: dict[type[KindT], None] = {}
    waiting = kind.__subclasses__()
    while waiting:
        subclass = waiting.pop(0)
        if subclass not in found:
            found[subclass] = None
            waiting += subclass.__subclasses__()
    yield from found


def named(
    kind: type[KindT], name_of: Callable[[type[KindT]], object], room: str
) -> dict[str, type[KindT]]:
    """The members of a room by name, in alphabetical order.

    Args:
        kind: class that members are subclasses of.
        name_of: name of a subclass; anything but a text with letters for one that is no member, such as what
            several members have in common.
        room: what members are, for messages.

    Raises:
        ConfigError: two members have one name.
    """
    found: dict[str, type[KindT]] = {}
    for member in kinds_of(kind):
        name = name_of(member)
        if not isinstance(name, str) or not name:
            continue
        if name in found:
            raise ConfigError.of(
                f"two members of a room have one name: {room} '{name}'",
                f"{found[name].__module__} and {member.__module__}",
                f"{found[name].__qualname__} and {member.__qualname__}",
                "give one of them another name",
            )
        found[name] = member
    return dict(sorted(found.items()))


def import_members(package: str, but: str) -> None:
    """Import every module of a room and those that other packages add, so that all members are known.

    Modules whose names begin with _ are parts of members, which import them when they need them.

    Args:
        package: full name of the room.
        but: full name of the module that asks, which is being imported already.

    Raises:
        ConfigError: a module that another package adds cannot be imported.
    """
    path = importlib.import_module(package).__path__
    for module in pkgutil.iter_modules(path, f"{package}."):
        part = module.name.removeprefix(f"{package}.").startswith("_")
        if module.name != but and not part:
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
