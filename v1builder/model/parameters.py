"""A parameter is values per group plus an index: one dial for sharing, heterogeneity and training.

`GroupedParameter` holds one value per group and spreads it over the cells. Which cells share a
group is a choice (`load.groups.LEVELS`), and so is whether the values are trained. Grouping averages: cells
that did differ and now share a group become their mean cell (`load.coordinates`), every cell counting
once. "cell_model" is the table of the network itself and changes nothing.

What is trained is not the value but an unbounded coordinate of it, so that no step of an optimiser
can leave the range in which the value means something:

| bounds | value from coordinate | used for |
|---|---|---|
| positive | exp(raw); 0 stays 0 | capacitances, conductances, time constants, rates, distances |
| interval (low, high) | low + (high - low) sigmoid(raw) | fractions |
| free | raw | signed currents and voltages |
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_EDGE_OF_INTERVAL = 1e-6  # a value on an open bound starts this fraction of the width inside


@dataclass(frozen=True)
class Bounds:
    """Where a value lives, and the map between it and an unbounded coordinate."""

    kind: Literal["positive", "interval", "free"]
    low: float = -float("inf")
    high: float = float("inf")

    def coordinate(self, value: Tensor) -> Tensor:
        """The unbounded coordinate of each value."""
        if self.kind == "positive":
            return torch.where(value > 0, value, 1).log()
        if self.kind == "interval":
            inside = (value - self.low) / (self.high - self.low)
            return torch.logit(inside.clamp(_EDGE_OF_INTERVAL, 1 - _EDGE_OF_INTERVAL))
        return value.clone()

    def value(self, coordinate: Tensor) -> Tensor:
        """The value at each coordinate."""
        if self.kind == "positive":
            return coordinate.exp()
        if self.kind == "interval":
            return self.low + (self.high - self.low) * torch.sigmoid(coordinate)
        return coordinate

    def problem(self, values: NDArray[np.float64], zero_allowed: bool) -> str:
        """What is wrong with `values`, or ""."""
        if not np.isfinite(values).all():
            return "must be finite"
        if self.kind == "positive" and (values < 0 if zero_allowed else values <= 0).any():
            return "must not be negative" if zero_allowed else "must be positive"
        if self.kind == "interval" and ((values < self.low) | (values > self.high)).any():
            return f"must lie between {self.low:g} and {self.high:g}"
        return ""


POSITIVE: Final = Bounds("positive", low=0)
FREE: Final = Bounds("free")


class GroupedParameter(nn.Module):
    """One value per group, spread over the cells.

    Attributes:
        bounds: range of the value.
        trainable: True when the values are learned.
        grouping: how the cells were grouped.
        labels: [n_groups] names of the groups.
        group_of: [n] group of each cell.
    """

    group_of: Tensor

    def __init__(
        self,
        values: NDArray[np.float64],
        group_of: NDArray[np.integer],
        bounds: Bounds = FREE,
        *,
        trainable: bool = False,
        dtype: torch.dtype = torch.float32,
        grouping: str = "cell_model",
        labels: tuple[str, ...] = (),
    ):
        super().__init__()
        self.bounds = bounds
        self.trainable = trainable
        self.grouping = grouping
        self.labels = labels
        self.register_buffer(
            "group_of", torch.tensor(group_of, dtype=torch.int64), persistent=False
        )
        exact = torch.tensor(values, dtype=torch.float64)
        if trainable:
            self.raw = nn.Parameter(bounds.coordinate(exact).to(dtype))
            exists = (exact != 0) if bounds.kind == "positive" else torch.ones_like(exact).bool()
            self.register_buffer("_exists", exists, persistent=False)
        else:
            self.register_buffer("_fixed", exact.to(dtype), persistent=False)

    def values(self) -> Tensor:
        """[n_groups, ...] value of each group."""
        if not self.trainable:
            return self._fixed  # pyright: ignore[reportReturnType]
        return torch.where(self._exists, self.bounds.value(self.raw), 0)  # pyright: ignore[reportArgumentType, reportCallIssue]

    def forward(self) -> Tensor:
        """[n, ...] value of each cell."""
        return of_members(self.values(), self.group_of)


def of_members(values: Tensor, group_of: Tensor) -> Tensor:
    """`values[group_of]`, whose gradient has the same bytes on any number of threads.

    That of an index is summed by all threads of a CPU as they come, in float32 from 2^15 members on; that of
    `index_select` on one dimension by one thread. On CUDA it is the other way round.
    """
    if values.is_cuda or not values.requires_grad:
        return values[group_of]
    if values.dim() == 1:
        return values.index_select(0, group_of)
    width = values.shape[1:].numel()
    columns = group_of[:, None] * width + torch.arange(width, device=group_of.device)
    return (
        values.reshape(-1).index_select(0, columns.flatten()).view(len(group_of), *values.shape[1:])
    )


def group_mean(
    per_cell: NDArray[np.float64], group_of: NDArray[np.int64], n_groups: int, log: bool
) -> NDArray[np.float64]:
    """Mean of each group over its cells, [n_groups, ...]; geometric when `log`."""
    flat = per_cell.reshape(len(per_cell), -1)
    flat = np.log(flat) if log else flat
    count = np.bincount(group_of, minlength=n_groups)
    columns = [np.bincount(group_of, column, n_groups) / count for column in flat.T]
    mean = np.stack(columns, axis=1).reshape(n_groups, *per_cell.shape[1:])
    return np.exp(mean) if log else mean
