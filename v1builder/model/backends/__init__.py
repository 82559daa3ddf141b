"""Interchangeable ways to compute a rollout. `reference` specifies; the others agree with it.

A backend is asked for by name. One that cannot run is an error, never replaced in silence; "auto"
is the one choice left to the program: the fused backend where it can run (numba installed, tensors
on the CPU), else the reference.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, get_args

from v1builder.model.rollout import Backend, Propagators, Rollout
from v1builder.schema.errors import ConfigError, unknown_name

BackendName = Literal["auto", "reference", "fused"]
BACKEND_NAMES: tuple[BackendName, ...] = get_args(BackendName)


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
    """The fused backend for tensors on the CPU, the reference for others."""
    on_cpu = propagators.P33.device.type == "cpu"
    return get_backend("fused" if on_cpu else "reference")(propagators, *args, **kwargs)


def _why_not_fused() -> str | None:
    """What keeps the fused backend from running, or None."""
    for module in ("numba", "v1builder.model.backends.fused"):
        if find_spec(module) is None:
            return f"the module {module} is missing"
    return None
