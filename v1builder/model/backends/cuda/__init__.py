"""The backend "triton": kernels compiled by Triton, on a CUDA device. Parts are imported when it is called.

A step is two kernels forward and two backward (with short-term plasticity three and four), the host never
waits for the device within a rollout, and nothing is allocated between steps.

What a step costs, in bytes moved in float32 (see `cuda.forward` for the letters): forward about
b n (40 R + 80) + n (40 R + 50), and 16 per spike and edge; backward as much again for each of both parts,
and 8 per edge of a cell with a surrogate slope, whose 4 to 32 per sample come from the second-level cache
while `arrival`, 4 (D+1) R n b, fits there. Kept until the backward pass: drive, 4 b t n.

The forward pass adds the spikes that arrive together with atomic operations, in no fixed order, so two runs
may differ in the last bit of a sum, and once in a long while in a spike. The backward pass adds nothing
atomically: given the forward pass, gradients have the same bytes, except those of the synapses'
coefficients, which need what arrived to be added again.
"""

from functools import cache
from importlib import metadata
from typing import ClassVar, Final

import torch

from v1builder.model.backends.contract import Compiled
from v1builder.model.backends.kernels import Kernels

#: Of Triton, the oldest version that the kernels have run with.
_OLDEST: Final = (3, 6)


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
        from v1builder.model.backends.cuda import launch

        return None if launch.INTERPRETED else "torch finds no CUDA device"

    def kernels(self) -> Kernels:
        """Imports Triton."""
        from v1builder.model.backends.cuda.kernels import CudaKernels

        return CudaKernels()


@cache
def _triton_version() -> str:
    return metadata.version("triton")
