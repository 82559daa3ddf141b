"""The backend "triton": compiled kernels on a CUDA device, see `_gpu_rollout`."""

from functools import cache
from importlib import metadata
from typing import Any, ClassVar, Final

import torch

from v1builder.model.backends.contract import Compiled
from v1builder.model.rollout import Rollout

#: Of Triton, the oldest version that the kernels were written for.
_OLDEST: Final = (3, 7)


class Triton(Compiled):
    """Kernels compiled by Triton."""

    name: ClassVar[str] = "triton"
    needs: ClassVar[tuple[str, str]] = ("triton", "gpu")
    devices: ClassVar[tuple[str, ...] | None] = ("cuda",)
    priority: ClassVar[int | None] = 10

    def why_not(self) -> str | None:
        """An old version, or no device; Triton's interpreter runs the kernels without one, for tests."""
        version = _triton_version()
        if tuple(map(int, version.split(".")[:2])) < _OLDEST:
            oldest = ".".join(map(str, _OLDEST))
            return f"triton {version} is installed, and the kernels need {oldest} or newer"
        if torch.cuda.is_available():
            return None
        from v1builder.model.backends import _gpu_rollout

        return None if _gpu_rollout.INTERPRETED else "torch finds no CUDA device"

    def __call__(self, *args: Any, **kwargs: Any) -> Rollout:
        """Run the steps; the first call imports Triton."""
        from v1builder.model.backends import _gpu_rollout

        return _gpu_rollout.rollout(*args, **kwargs)


@cache
def _triton_version() -> str:
    return metadata.version("triton")
