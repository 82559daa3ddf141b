"""Poisson processes on a time grid: the one sampler of all inputs."""

import math
from typing import Final

import torch
from torch import Tensor

#: A Poisson variable of this mean exceeds 255 once in 10^36 bins.
MEAN_OF_UINT8: Final = 100.0


def poisson_events(rates: Tensor, dt: float, generator: torch.Generator, repeat: int = 1) -> Tensor:
    """Bins in which independent inhomogeneous Poisson processes have their events.

    The total number of events is drawn first; given it, events fall independently on bins in
    proportion to their rate. That is exact, and draws one number per event, not one per bin. Rates that
    stay the same need not be spread over time: `repeat` says how often they come, and the whole part of
    an event's number says which time it is.

    Args:
        rates: [..., unit] Hz, not negative, constant within a bin.
        dt: ms per bin.
        generator: source of randomness, on the device of `rates`.
        repeat: how often the rates follow one another.

    Returns:
        [event] int64 positions in the flattened [repeat, *rates], in no order; a bin may occur more
        than once.
    """
    if rates.numel() == 0 or repeat == 0:
        return torch.empty(0, dtype=torch.int64, device=rates.device)
    cumulative = rates.flatten().cumsum(0, dtype=torch.float64)
    once = cumulative[-1]
    n_events = int(torch.poisson(once * repeat * (dt / 1000), generator=generator))
    position = torch.rand(n_events, dtype=torch.float64, device=rates.device, generator=generator)
    position *= repeat
    time = position.floor()
    bins = torch.searchsorted(cumulative, (position - time).mul_(once), right=True)
    return bins.clamp_(max=rates.numel() - 1).add_(time.long(), alpha=rates.numel())


def poisson_spikes(
    rates: Tensor, dt: float, generator: torch.Generator, repeat: tuple[int, ...] = ()
) -> Tensor:
    """Number of events of independent inhomogeneous Poisson processes in each bin.

    Bins hold counts, not flags, so the mean is rate * dt whatever the bin: with flags a 250 Hz
    source would lose 12 % of its spikes at 1 ms. A unit may stand for a thousand cells; where one has more
    events in a bin than uint8 holds, counts are floating point.

    Args:
        rates: [..., unit] Hz, not negative, constant within a bin.
        dt: ms per bin.
        generator: source of randomness, on the device of `rates`.
        repeat: shape of the bins over which the rates stay the same, for example (trials, steps).

    Returns:
        [*repeat, ..., unit] uint8; float32 where more than `MEAN_OF_UINT8` are expected in a bin.
    """
    many = bool((rates * (dt / 1000) > MEAN_OF_UINT8).any())
    dtype = torch.float32 if many else torch.uint8
    counts = torch.zeros(*repeat, *rates.shape, dtype=dtype, device=rates.device)
    add_events(counts, poisson_events(rates, dt, generator, math.prod(repeat)))
    return counts


def modulated_poisson_spikes(
    rates: Tensor, factor: Tensor, dt: float, generator: torch.Generator
) -> Tensor:
    """Number of events of Poisson processes whose rates all go up and down together.

    An event's bin is drawn in proportion to the factor and its unit in proportion to the rate: nothing is
    computed for every unit in every bin.

    Args:
        rates: [unit] Hz, not negative.
        factor: [..., bin] of the rates, not negative.
        dt: ms per bin.
        generator: source of randomness, on the device of `rates`.

    Returns:
        [..., bin, unit] uint8; float32 where more than `MEAN_OF_UINT8` are expected in a bin.
    """
    many = bool((rates.max() * factor.max() * (dt / 1000) > MEAN_OF_UINT8).any())
    dtype = torch.float32 if many else torch.uint8
    counts = torch.zeros(*factor.shape, len(rates), dtype=dtype, device=rates.device)
    bins = poisson_events(factor * rates.sum(dtype=torch.float64), dt, generator)
    cumulative = rates.cumsum(0, dtype=torch.float64)
    position = torch.rand(len(bins), dtype=torch.float64, device=rates.device, generator=generator)
    unit = torch.searchsorted(cumulative, position.mul_(cumulative[-1]), right=True)
    add_events(counts, bins * len(rates) + unit.clamp_(max=len(rates) - 1))
    return counts


def add_events(counts: Tensor, bins: Tensor) -> None:
    """Add one to `counts` (contiguous) at each flat position in `bins`."""
    counts.view(-1).scatter_add_(0, bins, torch.ones_like(bins, dtype=counts.dtype))
