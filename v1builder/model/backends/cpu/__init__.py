"""The backend "fused": kernels compiled by numba, on the CPU. Parts of it are imported when it is called."""

from typing import ClassVar

from v1builder.model.backends.contract import Compiled
from v1builder.model.backends.kernels import Kernels


class Fused(Compiled):
    """Kernels compiled by numba."""

    name: ClassVar[str] = "fused"
    needs: ClassVar[tuple[str, str]] = ("numba", "")
    devices: ClassVar[tuple[str, ...] | None] = ("cpu",)
    priority: ClassVar[int | None] = 10

    def kernels(self) -> Kernels:
        """Imports numba; the first rollout compiles."""
        from v1builder.schema.numba_cache import use_writable_cache

        use_writable_cache()
        from v1builder.model.backends.cpu.kernels import CpuKernels

        return CpuKernels()
