"""The backend "fused": compiled kernels on the CPU, see `_fused_rollout`."""

from typing import Any, ClassVar

from v1builder.model.backends.contract import Compiled
from v1builder.model.rollout import Rollout


class Fused(Compiled):
    """Kernels compiled by numba."""

    name: ClassVar[str] = "fused"
    needs: ClassVar[tuple[str, str]] = ("numba", "")
    devices: ClassVar[tuple[str, ...] | None] = ("cpu",)
    priority: ClassVar[int | None] = 10

    def __call__(self, *args: Any, **kwargs: Any) -> Rollout:
        """Run the steps; the first call imports numba, and compiles."""
        from v1builder.schema.numba_cache import use_writable_cache

        use_writable_cache()
        from v1builder.model.backends import _fused_rollout

        return _fused_rollout.rollout(*args, **kwargs)
