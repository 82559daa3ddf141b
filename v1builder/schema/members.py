"""Rooms: packages of which every module is a member that registers itself when it is imported."""

import importlib
import pkgutil


def import_members(package: str, but: str) -> None:
    """Import every module of a package, so that all members of the room are known.

    Adding a member is then adding a file; nothing else names it.

    Args:
        package: its full name.
        but: full name of the module that asks, which is being imported already.
    """
    path = importlib.import_module(package).__path__
    for module in pkgutil.iter_modules(path, f"{package}."):
        if module.name != but:
            importlib.import_module(module.name)
