"""Interchangeable ways to compute a rollout. `reference` specifies; the others agree with it.

| name | computes | needs |
|---|---|---|
| reference | everything, in plain torch, on any device | nothing |
| fused | GLIF cells with alpha synapses, in compiled kernels on the CPU | numba |
| triton | the same, in compiled kernels on a CUDA device | triton |

A backend is asked for by name. One that cannot run is an error, never replaced in silence; "auto"
is the one choice left to the program: triton for tensors on a CUDA device and fused for tensors on the
CPU where that backend can run and can compute the model, else the reference. Whatever leads to the
reference is logged once.
"""

import logging
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any, Final, Literal, get_args

import torch

from v1builder.model.rollout import Backend, Coefficients, Rollout
from v1builder.schema.errors import ConfigError, unknown_name

BackendName = Literal["auto", "reference", "fused", "triton"]
BACKEND_NAMES: tuple[BackendName, ...] = get_args(BackendName)

#: Module of each backend (one called `triton` would hide the package of that name from itself), and the
#: package it needs.
_MODULES: Final = {"reference": "reference", "fused": "fused", "triton": "gpu"}
_NEEDS: Final = {"fused": "numba", "triton": "triton"}
#: Of Triton, the oldest version that the kernels were written for.
_TRITON: Final = (3, 7)
#: By device, the backend that "auto" tries.
_FASTEST: Final = {"cpu": "fused", "cuda": "triton"}

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
        return _auto
    reason = _why_not(name)
    if reason is not None:
        raise ConfigError.of(
            f"the {name} backend cannot run here",
            "backend",
            reason,
            "use backend 'reference' or 'auto', or install what is missing",
        )
    return _module(name).rollout


def check_supported(propagators: Coefficients, backend: str) -> None:
    """Raise what `backend`, a compiled one, cannot compute of this model."""
    reason = propagators.uncompiled
    if reason is not None:
        raise ConfigError.of(
            f"the {backend} backend cannot compute this model",
            f"backend '{backend}'",
            reason,
            "use backend 'reference' or 'auto'",
        )


def _auto(propagators: Coefficients, *args: Any, **kwargs: Any) -> Rollout:
    """The fastest backend for what it can compute, the reference for the rest."""
    name, reason = _choose(propagators)
    if reason is not None and reason not in _said:
        _said.add(reason)
        _log.warning("the reference backend computes this model, slower than others: %s", reason)
    return get_backend(name)(propagators, *args, **kwargs)


def _choose(propagators: Coefficients) -> tuple[str, str | None]:
    """A backend for this model; and why it is the reference, where it is."""
    device = propagators.device.type
    name = _FASTEST.get(device)
    if name is None:
        return "reference", f"tensors on {device}"
    reason = _why_not(name)
    if reason is None:
        reason = propagators.uncompiled
    return (name, None) if reason is None else ("reference", reason)


def _why_not(name: str) -> str | None:
    """What keeps a backend from running here, or None."""
    module = _NEEDS.get(name)
    if module is not None and find_spec(module) is None:
        extra = ", which the extra v1builder[gpu] installs" if name == "triton" else ""
        return f"the module {module} is missing{extra}"
    return _why_not_triton() if name == "triton" else None


@cache
def _triton_version() -> str:
    return metadata.version("triton")


def _why_not_triton() -> str | None:
    version = _triton_version()
    if tuple(map(int, version.split(".")[:2])) < _TRITON:
        oldest = ".".join(map(str, _TRITON))
        return f"triton {version} is installed, and the kernels need {oldest} or newer"
    # Triton's interpreter runs the kernels without a GPU, for tests.
    if not torch.cuda.is_available() and not _module("triton").INTERPRETED:
        return "torch finds no CUDA device"
    return None


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{_MODULES[name]}")
