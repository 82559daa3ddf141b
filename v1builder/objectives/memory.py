"""Exponential means over model time, and ranks within populations: what objectives on distributions share."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Memory:
    """An exponential mean over windows of model time.

    Attributes:
        total: [cell] Hz, weighted sum of rates.
        weight: sum of the weights.
        noise: sum of squared weights by the seconds of their window, 1/s: rates of Poisson cells have the
            variance of a count over weight^2 / noise seconds.
    """

    total: Tensor
    weight: float = 0.0
    noise: float = 0.0

    @classmethod
    def empty(cls, n_cells: int) -> Self:
        """Nothing seen."""
        return cls(torch.zeros(n_cells, dtype=torch.float64))

    @property
    def mean(self) -> Tensor:
        """[cell] Hz."""
        return self.total / self.weight

    @property
    def seconds(self) -> float:
        """Over so many a count would have the variance of the mean."""
        return self.weight**2 / self.noise if self.noise else 0.0

    def joined(self, rate: Tensor, seconds: float, tau: float) -> Self:
        """With one more window: [..., cell] Hz and its length; `tau` s is the time constant."""
        kept = math.exp(-seconds / tau)
        return type(self)(
            self.total * kept + rate * (1 - kept),
            self.weight * kept + (1 - kept),
            self.noise * kept**2 + (1 - kept) ** 2 / seconds,
        )


def ranked(rate: Tensor, population: Tensor, generator: torch.Generator) -> Tensor:
    """[..., cell] positions of cells, population by population, by rate; equal rates in random order.

    Args:
        rate: [..., cell] Hz, on the CPU.
        population: [cell] index.
        generator: of the order of equal rates.
    """
    shuffled = torch.randperm(len(population), generator=generator)
    by_rate = shuffled[rate[..., shuffled].argsort(dim=-1, stable=True)]
    by_population = population[by_rate].argsort(dim=-1, stable=True)
    return by_rate.gather(-1, by_population)
