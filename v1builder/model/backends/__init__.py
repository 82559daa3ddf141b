"""Interchangeable ways to compute a rollout. `reference` specifies; the others agree with it.

| name | computes | needs |
|---|---|---|
| reference | everything, in plain torch, on any device | nothing |
| fused | GLIF and GLIFR cells and their synapses, in compiled kernels on the CPU | numba |
| triton | the same, in compiled kernels on a CUDA device | triton |

A backend is a file or folder with a subclass of `contract.Backend`, here or in another package, which
registers itself.
It is asked for by name. One that cannot run is an error, never replaced in silence; "auto" is the one choice
left to the program: of the backends that can run where the tensors are and can compute the model, the one of
highest priority. What leads to a slower one is logged once, and told by `computed_by`.
"""

import logging
from importlib import metadata
from importlib.util import find_spec
from typing import Any, Final

import torch

from v1builder.model.backends.contract import Backend
from v1builder.model.rollout import Coefficients, Rollout
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.schema.members import import_members, named

__all__ = [
    "AUTO",
    "BACKENDS",
    "Backend",
    "check_supported",
    "computed_by",
    "get_backend",
    "why_not",
]

#: The name that leaves the choice to the program.
AUTO: Final = "auto"

#: How much longer a step of plain torch takes: 20 to 40 times on two cores, 16 000 cells, batch 1 and 8.
_SLOWER: Final = "some 20 to 40 times slower than compiled kernels"

_log = logging.getLogger(__name__)
_said: set[str] = set()


class Auto(Backend):
    """Whatever is fastest for a model; no backend of its own, so it has no name."""

    def __call__(self, propagators: Coefficients, *args: Any, **kwargs: Any) -> Rollout:
        """Run the steps with the backend of highest priority that can."""
        name, reason = _choose(propagators, kwargs.get("plasticity") is not None)
        if reason is not None and reason not in _said:
            _said.add(reason)
            _log.warning("the %s backend computes this model, %s: %s", name, _SLOWER, reason)
        return BACKENDS[name](propagators, *args, **kwargs)


def get_backend(name: str = AUTO) -> Backend:
    """The backend of that name.

    Raises:
        ConfigError: the name is unknown, or the backend cannot run here.
    """
    if name == AUTO:
        return Auto()
    if name not in BACKENDS:
        raise ConfigError([unknown_name("backend", name, [AUTO, *BACKENDS], "backend")])
    reason = why_not(BACKENDS[name])
    if reason is not None:
        raise ConfigError.of(
            f"the {name} backend cannot run here",
            "backend",
            reason,
            "use backend 'reference' or 'auto', or install what is missing",
        )
    return BACKENDS[name]


def check_supported(propagators: Coefficients, backend: str, plastic: bool) -> None:
    """Raise what the backend of that name cannot compute of this model.

    Raises:
        ConfigError: there is something that it cannot compute.
    """
    BACKENDS[backend].require(propagators, plastic)


def computed_by(name: str, propagators: Coefficients, plastic: bool) -> dict[str, str]:
    """What computes a model, as a record: backend, device, versions; and why none that is faster does.

    Args:
        name: of a backend, or "auto".
        propagators: of the model, where they are.
        plastic: whether it has sites of short-term plasticity.
    """
    device = propagators.device
    backend, reason = (name, None) if name != AUTO else _choose(propagators, plastic)
    record = {"backend": backend, "device": str(device)}
    if device.type == "cuda":
        record["device"] = torch.cuda.get_device_name(device)
        record["cuda"] = str(torch.version.cuda)
    package, _ = BACKENDS[backend].needs
    if package:
        record[package] = metadata.version(package)
    if reason is not None:
        record["not_faster_because"] = reason
    return record


def why_not(backend: Backend) -> str | None:
    """What keeps a backend from running here, or None."""
    package, extra = backend.needs
    if package and find_spec(package) is None:
        hint = f", which the extra v1builder[{extra}] installs" if extra else ""
        return f"the module {package} is missing{hint}"
    return backend.why_not()


def _choose(propagators: Coefficients, plastic: bool) -> tuple[str, str | None]:
    """The backend that "auto" takes for this model; and why it is none of another device or priority."""
    device = propagators.device.type
    able = [one for one in _BY_PRIORITY if one.devices is None or device in one.devices]
    reasons = [] if able[0].devices else [f"tensors on {device}"]
    for backend in able:
        reason = why_not(backend) or backend.cannot(propagators, plastic)
        if reason is None:
            return backend.name, "; ".join(reasons) or None
        reasons.append(reason)
    raise ConfigError.of("no backend can compute this model", "backend 'auto'", "; ".join(reasons))


import_members(__name__, but=__name__)

#: Every backend by name.
BACKENDS: Final[dict[str, Backend]] = {
    name: kind()  # pyright: ignore[reportAbstractUsage]  (named ones are whole)
    for name, kind in named(Backend, lambda kind: kind.name, "backend").items()
}
_BY_PRIORITY: Final = sorted(
    (backend for backend in BACKENDS.values() if backend.priority is not None),
    key=lambda backend: backend.priority or 0,
    reverse=True,
)
