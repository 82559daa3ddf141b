"""What made an output: versions, inputs, seeds. Data, not log lines."""

import platform
import sys
from importlib import metadata
from typing import Any

_PACKAGES = ("v1builder", "numpy", "pandas", "scipy", "h5py", "numba", "torch", "lightning-fabric")


def software_versions() -> dict[str, str]:
    """Versions of Python, the machine and the packages that shape a result, where installed."""
    versions = {
        "python": platform.python_version(),
        "machine": f"{sys.platform} {platform.machine()}",
    }
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def provenance(stage: str, **details: Any) -> dict[str, Any]:
    """The record a stage leaves in its output folder.

    Holds no clock time: the same inputs must give the same bytes.
    """
    return {"stage": stage, "versions": software_versions(), **details}
