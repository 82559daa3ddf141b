"""How the work of a rollout is cut into programs, what the Triton kernels take besides, and their start.

Letters as in `backends.layout`. All tensors are on the device of the state.
"""

from typing import Any, Final, NamedTuple, Self

import torch
import triton
from torch import Tensor

from v1builder.model.backends.cuda import forward
from v1builder.model.backends.layout import Sizes

#: Whether the kernels run in Triton's interpreter (TRITON_INTERPRET=1 when they were imported).
INTERPRETED: Final = not isinstance(forward.cells, triton.runtime.JITFunction)

#: Samples that one walk along the edges serves; more need another.
MOST_SAMPLES: Final = 32

#: Of the kernels that update cells: a thread per cell, and no contraction (see `cuda.forward`).
CELLS_OPTIONS: Final[dict[str, Any]] = {"num_warps": 4, "enable_fp_fusion": False}


class Tiles(NamedTuple):
    """How the work is cut into programs; powers of two.

    Attributes:
        cells: per program, as many as it has threads.
        rows, edges, samples: of the tile of one program that walks along edges; together at most
            about 4 elements per thread.
        programs: that share out the list of spikes of a step.
    """

    cells: int
    rows: int
    edges: int
    samples: int
    programs: int

    @classmethod
    def of(cls, n_batch: int) -> Self:
        """For a GPU; or few and large, where Triton's interpreter takes a millisecond per operation."""
        samples = min(_power_of_two(n_batch), MOST_SAMPLES)
        if INTERPRETED:
            return cls(cells=1024, rows=256, edges=32, samples=samples, programs=1)
        return cls(cells=128, rows=1, edges=512 // samples, samples=samples, programs=1024)


class InputSpikes(NamedTuple):
    """What the inputs emit: densely, and listed by step; those of step t are start[t] and following."""

    dense: Tensor  # [b, t, input unit] uint8, or the model's dtype
    start: Tensor  # [t + 1] int64
    source: Tensor  # int32
    sample: Tensor  # int32
    value: Tensor


class Events(NamedTuple):
    """What cells and sites emitted in a step, in no fixed order; the buffers serve one step at a time."""

    n_listed: Tensor  # int32, one per step
    source: Tensor  # int32
    sample: Tensor  # int32
    value: Tensor

    @classmethod
    def room(cls, size: Sizes, n_lists: int, like: Tensor) -> Self:
        """For everything to emit at once."""
        most = size.n_batch * (size.n_cells + size.n_sites)
        source, sample = like.new_empty(2, most, dtype=torch.int32).unbind(0)
        return cls(like.new_zeros(n_lists, dtype=torch.int32), source, sample, like.new_empty(most))


class Steps(NamedTuple):
    """A tensor [b or 1, t or 1, n]: its values, and how far apart samples and steps lie (0: repeated)."""

    value: Tensor
    by_sample: int
    by_step: int

    @classmethod
    def of(cls, tensor: Tensor) -> Self:
        """Of a contiguous one."""
        n_samples, n_steps, n = tensor.shape
        return cls(tensor, n_steps * n if n_samples > 1 else 0, n if n_steps > 1 else 0)


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
    """Start a kernel; an empty grid has nothing to do."""
    if all(grid):
        kernel[grid](*arguments, **options)


def _power_of_two(n: int) -> int:
    """The smallest that is at least n."""
    return 1 << max(n - 1, 0).bit_length()
