"""What the CUDA backend gives the driver: the order of its edges and inputs, its two passes, its device."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Final

import torch
from torch import Tensor

from v1builder.model.backends.cuda.launch import INTERPRETED, InputSpikes
from v1builder.model.backends.cuda.passes import CudaBackward, CudaForward
from v1builder.model.backends.kernels import BackwardPass, ForwardPass, Kernels
from v1builder.model.backends.plan import EdgePlan, Ring, SortedEdges
from v1builder.model.rollout import Projection
from v1builder.schema.errors import ConfigError

_INT32: Final = 2**31


class CudaKernels(Kernels):
    """Kernels compiled by Triton."""

    name: ClassVar[str] = "triton"
    index: ClassVar[torch.dtype] = torch.int32
    forward: ClassVar[type[ForwardPass]] = CudaForward
    backward: ClassVar[type[BackwardPass]] = CudaBackward

    def check(self, tensors: Sequence[Tensor]) -> None:
        """Refuse other devices and types than one CUDA device and float32 or float64."""
        kinds = sorted({f"{tensor.dtype} on {tensor.device}" for tensor in tensors})
        devices = ("cuda", "cpu") if INTERPRETED else ("cuda",)
        dtypes = (torch.float32, torch.float64)
        known = tensors[0].device.type in devices and tensors[0].dtype in dtypes
        if len(kinds) > 1 or not known:
            raise ConfigError.of(
                "the triton backend computes in float32 or in float64 on a CUDA device",
                "backend 'triton'",
                ", ".join(kinds),
                "move model and inputs to the GPU in one of these dtypes, or use backend 'reference', or "
                "'fused' on the CPU",
            )

    @contextmanager
    def running(self, like: Tensor) -> Iterator[None]:
        """Kernels start on torch's current device, which need not be that of the tensors.

        Autocast leaves the kernels alone, but not every operation of torch around them.
        """
        with torch.autocast(like.device.type, enabled=False):
            if not like.is_cuda:
                yield
                return
            with torch.cuda.device(like.device):
                yield

    def sort_edges(
        self,
        projections: Sequence[Projection],
        numbers: Sequence[Tensor],
        n_sources: int,
        ring: Ring,
    ) -> SortedEdges:
        """By (source, slot) as one number; while it sorts, about 32 bytes per edge."""
        n_cells = ring.n_cells
        n_positions = ring.n_slots * ring.n_receptors * n_cells

        def key(p: Projection, number: Tensor) -> Tensor:
            device = number.device
            slot = (
                p.delay_steps.to(device).long().mul_(ring.n_receptors).add_(p.receptor.to(device))
            )
            slot.mul_(n_cells).add_(p.target_index.to(device))
            return slot.add_((number * n_positions)[p.source_index.to(device)])

        n_edges = [len(p.receptor) for p in projections]
        device = numbers[0].device if numbers else torch.device("cpu")
        keys = torch.empty(sum(n_edges), dtype=torch.int64, device=device)
        for p, number, part in zip(projections, numbers, keys.split(n_edges or [0]), strict=False):
            part.copy_(key(p, number))
        keys, order = torch.sort(keys, stable=True)
        sources = torch.arange(n_sources + 1, device=device)
        return SortedEdges(
            order=order.to(torch.int32 if len(order) < _INT32 else torch.int64),
            slot=(keys % n_positions).to(torch.int32),
            row=torch.searchsorted(keys, sources * n_positions),
            n_blocks=1,
            block_size=n_cells,
        )

    def pack_ports(self, values: Tensor) -> Tensor:
        """[k, b, n, r] to [b, k, r, n]."""
        return values.detach().permute(1, 0, 3, 2).clone(memory_format=torch.contiguous_format)

    def unpack_ports(self, packed: Tensor, n_cells: int) -> Tensor:
        """The inverse."""
        del n_cells  # there is no padding
        return packed.permute(1, 0, 3, 2)

    def list_spikes(
        self, inputs: Mapping[str, Tensor], plan: EdgePlan, like: Tensor, n_steps: int
    ) -> InputSpikes:
        """The inputs [b, t, n_source] side by side, and their non-zero entries by (step, sample, source).

        Whole numbers stay uint8. Waits for the device once, for the number of spikes.
        """
        parts = [inputs[name].detach() for name in plan.first_source]
        whole = not any(part.is_floating_point() for part in parts)
        dtype = torch.uint8 if whole else like.dtype
        parts = [part.to(device=like.device, dtype=dtype) for part in parts]
        empty = torch.empty(len(like), n_steps, 0, dtype=dtype, device=like.device)
        dense = (parts[0] if len(parts) == 1 else torch.cat([empty, *parts], 2)).contiguous()
        step, sample, unit = dense.transpose(0, 1).nonzero(as_tuple=True)
        bounds = torch.arange(n_steps + 1, device=like.device)
        n_cells = plan.n_units - dense.shape[2]
        return InputSpikes(
            dense,
            torch.searchsorted(step.contiguous(), bounds),
            (unit + n_cells).to(torch.int32),
            sample.to(torch.int32),
            dense[sample, step, unit].to(like.dtype),
        )
