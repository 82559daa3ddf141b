"""Movies that are sums of a few frames with a time course each."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class FactoredMovie:
    """The movie sum_k course[t, k] * frames[k].

    A static image is one frame that is switched on and off; a drifting grating is a sine and a
    cosine frame. The spatial filters then see k frames instead of one per step.

    Attributes:
        frames: [frame, row, column].
        course: [step, frame].
    """

    frames: Tensor
    course: Tensor

    @classmethod
    def of_index(cls, frames: Tensor, index: Tensor) -> Self:
        """The movie that shows frames[index[t]] in step t, and gray where index[t] is negative."""
        course = torch.zeros(len(index), len(frames), dtype=frames.dtype, device=frames.device)
        shown = index >= 0
        course[shown, index[shown]] = 1
        return cls(frames, course)

    def dense(self) -> Tensor:
        """Every frame of the movie, [step, row, column]."""
        return torch.einsum("tk,khw->thw", self.course, self.frames)
