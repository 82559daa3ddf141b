"""Interchangeable ways to compute a rollout. `reference` specifies; the others agree with it.

A backend is asked for by name. One that cannot run is an error, never replaced in silence; "auto"
is the one choice left to the program: the fused backend where it can run (numba installed, tensors
on the CPU, a model it can compute), else the reference. What it took and why is logged once.
"""

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Literal, get_args

from v1builder.model.rollout import Backend, Propagators, Rollout
from v1builder.schema.errors import ConfigError, unknown_name

BackendName = Literal["auto", "reference", "fused"]
BACKEND_NAMES: tuple[BackendName, ...] = get_args(BackendName)

#: Why the fused backend does not compute GLIFR.
GRADED: Final = "GLIFR cells send a graded signal in every step"

_log = logging.getLogger(__name__)
_said: set[str] = set()


def get_backend(name: BackendName | str = "auto") -> Backend:
    """The backend of that name, imported when first asked for.

    Raises:
        ConfigError: the name is unknown, or the backend cannot run here.
    """
    if name not in BACKEND_NAMES:
        raise ConfigError([unknown_name("backend", name, BACKEND_NAMES, "backend")])
    if name == "auto":
        return _auto if _why_not_fused() is None else get_backend("reference")
    if name == "fused":
        reason = _why_not_fused()
        if reason is not None:
            raise ConfigError.of(
                "the fused backend cannot run here",
                "backend",
                reason,
                "use backend 'reference', or install what is missing",
            )
    return import_module(f"v1builder.model.backends.{name}").rollout


def _auto(propagators: Propagators, *args: Any, **kwargs: Any) -> Rollout:
    """The fused backend for what it can compute, the reference for the rest."""
    reason = import_module("v1builder.model.backends.fused").why_unsupported(propagators)
    if propagators.P33.device.type != "cpu":
        reason = f"tensors on {propagators.P33.device.type}"
    if reason is not None and reason not in _said:
        _said.add(reason)
        _log.warning("the reference backend computes this model, slower than fused: %s", reason)
    chosen = get_backend("fused" if reason is None else "reference")
    return chosen(propagators, *args, **kwargs)


def _why_not_fused() -> str | None:
    """What keeps the fused backend from running, or None."""
    for module in ("numba", "v1builder.model.backends.fused"):
        if find_spec(module) is None:
            return f"the module {module} is missing"
    return None
