"""Delays that are learned: an edge of a delay between two steps is two edges, of the steps on either side.

A backend only knows delays of whole steps. So an edge whose delay d (in steps) is learned stands there once
for every step k that it may come to, with the part max(0, 1 - |d - k|) of its weight: what it sends arrives
at the two steps around d, linearly interpolated (Hammouamri et al. 2024, "Learning delays in spiking neural
networks using dilated convolutions with learnable spacings", ICLR, has wider kernels). The derivative with
respect to d is the difference of what both steps are worth to the loss; at a whole d, where the slopes of
both sides differ, it is their mean.

d starts at the rounded delay, so nothing changes until it is learned, and stays within a window around it,
and at one step at least. Costs: 2 window/dt + 1 times the edges.
"""

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from v1builder.model.parameters import of_members


class LearnedDelays(nn.Module):
    """Delays of the edges of one population.

    Attributes:
        start: [e] steps before anything is learned.
        raw: [groups] learned; the delay is start + reach tanh(raw) for all edges of a group.
        reach: steps.
    """

    start: Tensor
    group_of: Tensor | None

    def __init__(
        self,
        steps: NDArray,
        group_of: NDArray | None,
        reach: int,
        dtype: torch.dtype,
    ):
        """Start at whole delays.

        Args:
            steps: [e] whole, 1 or more.
            group_of: [e] edges of a group move together; None: each by itself.
            reach: steps that a delay may move up or down.
            dtype: of the coordinate.
        """
        super().__init__()
        self.reach = reach
        n_groups = len(steps) if group_of is None else int(group_of.max(initial=-1)) + 1
        self.raw = nn.Parameter(torch.zeros(n_groups, dtype=dtype))
        self.register_buffer("start", torch.as_tensor(steps, dtype=dtype), persistent=False)
        index = None if group_of is None else torch.as_tensor(group_of, dtype=torch.int64)
        self.register_buffer("group_of", index, persistent=False)

    def forward(self) -> Tensor:
        """[e] steps, 1 or more."""
        raw = self.raw if self.group_of is None else of_members(self.raw, self.group_of)
        free = self.start + self.reach * raw.tanh()
        # A delay that is held at one step keeps its gradient, or it could not leave again.
        return free + (free.clamp(min=1) - free).detach()

    def _copies(self) -> Tensor:
        """[2 reach + 1, e] steps of all copies of every edge; those below one are never reached."""
        offset = torch.arange(-self.reach, self.reach + 1, device=self.start.device)
        return self.start + offset[:, None]

    def of_copies(self) -> Tensor:
        """[2 reach + 1, e] int64, delays of the copies as a backend takes them."""
        return self._copies().clamp(min=1).long()

    def shares(self) -> Tensor:
        """[2 reach + 1, e] part of its weight that each copy of an edge has; differentiable."""
        delay = self()
        late = delay - self._copies()
        with torch.no_grad():
            share = (1 - late.abs()).clamp(min=0)
            slope = -late.sign() * ((late.abs() < 1) + 0.5 * (late.abs() == 1))
        return share + slope * (delay - delay.detach())
