"""What the CPU backend gives the driver: tiles, the order of its edges, its two passes, its threads."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numba
import torch
from torch import Tensor

from v1builder.model.backends.cpu import edges
from v1builder.model.backends.cpu.passes import CpuBackward, CpuForward
from v1builder.model.backends.cpu.tiles import WIDTH, from_tiles, to_tiles
from v1builder.model.backends.kernels import BackwardPass, ForwardPass, Kernels
from v1builder.model.backends.plan import EdgePlan, Ring, SortedEdges
from v1builder.model.rollout import Projection
from v1builder.schema.errors import ConfigError


class CpuKernels(Kernels):
    """Kernels compiled by numba."""

    name: ClassVar[str] = "fused"
    tile: ClassVar[int] = WIDTH
    index: ClassVar[torch.dtype] = torch.int64
    forward: ClassVar[type[ForwardPass]] = CpuForward
    backward: ClassVar[type[BackwardPass]] = CpuBackward

    def check(self, tensors: Sequence[Tensor]) -> None:
        """Refuse other devices and types than the CPU and float32 or float64."""
        kinds = sorted({f"{tensor.dtype} on {tensor.device.type}" for tensor in tensors})
        if kinds not in (["torch.float32 on cpu"], ["torch.float64 on cpu"]):
            raise ConfigError.of(
                "the fused backend computes in float32 or in float64 on the CPU",
                "backend 'fused'",
                ", ".join(kinds),
                "move model and inputs to the CPU in one of these dtypes, or use backend 'reference'",
            )

    @contextmanager
    def running(self, like: Tensor) -> Iterator[None]:
        """As many compiled threads as torch uses, within what numba was started with."""
        del like
        wanted = torch.get_num_threads()
        before = numba.get_num_threads()
        if (
            torch.get_num_threads() != wanted
        ):  # numba's threads, when they start, are OpenMP's default
            torch.set_num_threads(wanted)
        most: int = numba.config.NUMBA_NUM_THREADS  # pyright: ignore[reportAttributeAccessIssue]
        numba.set_num_threads(min(wanted, most))
        try:
            yield
        finally:
            numba.set_num_threads(before)

    def sort_edges(
        self,
        projections: Sequence[Projection],
        numbers: Sequence[Tensor],
        n_sources: int,
        ring: Ring,
    ) -> SortedEdges:
        """In blocks of targets."""
        return edges.sort_edges(projections, [one.numpy() for one in numbers], n_sources, ring)

    def gather(self, values: Tensor, order: Tensor) -> Tensor:
        """values[order]."""
        return edges.gather(values, order)

    def scatter(self, values: Tensor, order: Tensor) -> Tensor:
        """The inverse of `gather`."""
        return edges.scatter(values, order)

    def pack_ports(self, values: Tensor) -> Tensor:
        """[k, b, n, r] in tiles."""
        return to_tiles(values, -(-values.shape[2] // WIDTH) * WIDTH)

    def unpack_ports(self, packed: Tensor, n_cells: int) -> Tensor:
        """The inverse."""
        return from_tiles(packed, n_cells)

    def list_spikes(
        self, inputs: Mapping[str, Tensor], plan: EdgePlan, like: Tensor, n_steps: int
    ) -> Any:
        """By sample and step."""
        return edges.list_spikes(inputs, plan, like, n_steps)
