"""What reads a network whose activity is the answer itself: nothing is learned of it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from v1builder.readout import Readout


class CellCounts(Readout):
    """The number of spikes of every cell in every window."""

    def __init__(self, windows: Sequence[slice]):
        super().__init__()
        self.windows = tuple(windows)

    def forward(self, spikes: Tensor) -> Tensor:
        """[trial, window, cell] of spikes [trial, step, cell], without gradient."""
        counts = [spikes.detach()[:, window].sum(dim=1) for window in self.windows]
        return torch.stack(counts, dim=1)
