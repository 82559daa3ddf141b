"""The backend "fused": kernels compiled by numba, on the CPU. Parts of it are imported when it is called."""

from typing import Any, ClassVar

from v1builder.model.backends.contract import Compiled
from v1builder.model.backends.kernels import Kernels
from v1builder.model.rollout import Coefficients, Rollout


class Fused(Compiled):
    """Kernels compiled by numba."""

    name: ClassVar[str] = "fused"
    needs: ClassVar[tuple[str, str]] = ("numba", "")
    devices: ClassVar[tuple[str, ...] | None] = ("cpu",)
    priority: ClassVar[int | None] = 10

    def cannot(self, propagators: Coefficients, plastic: bool = False) -> str | None:
        """GLIFR has kernels of its own, without short-term plasticity."""
        if not _is_glifr(propagators):
            return super().cannot(propagators, plastic)
        return "GLIFR cells with short-term plasticity" if plastic else None

    def __call__(self, propagators: Coefficients, *args: Any, **kwargs: Any) -> Rollout:
        """Run the steps."""
        if not _is_glifr(propagators):
            return super().__call__(propagators, *args, **kwargs)
        self.require(propagators, kwargs.get("plasticity") is not None)
        kernels = self.kernels()
        from v1builder.model.backends.cpu import smooth

        return smooth.rollout(kernels, propagators, *args, **kwargs)  # pyright: ignore[reportArgumentType]

    def kernels(self) -> Kernels:
        """Imports numba; the first rollout compiles."""
        from v1builder.schema.numba_cache import use_writable_cache

        use_writable_cache()
        from v1builder.model.backends.cpu.kernels import CpuKernels

        return CpuKernels()


def _is_glifr(propagators: Coefficients) -> bool:
    from v1builder.model.neurons.glifr import SmoothPropagators

    return isinstance(propagators, SmoothPropagators)
