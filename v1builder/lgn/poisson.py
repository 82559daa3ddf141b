"""Poisson processes on a time grid."""

import torch
from torch import Tensor


def poisson_events(rates: Tensor, dt: float, generator: torch.Generator) -> Tensor:
    """Bins in which independent inhomogeneous Poisson processes have their events.

    The total number of events is drawn first; given it, events fall independently on bins in
    proportion to their rate. That is exact, and draws one number per event, not one per bin.

    Args:
        rates: [..., step, unit] Hz, not negative, constant within a bin.
        dt: ms per bin.
        generator: source of randomness, on the device of `rates`.

    Returns:
        [event] int64 positions in the flattened rates, in no order; a bin may occur more than once.
    """
    if rates.numel() == 0:
        return torch.empty(0, dtype=torch.int64, device=rates.device)
    cumulative = rates.flatten().cumsum(0, dtype=torch.float64)
    total = cumulative[-1]
    n_events = int(torch.poisson(total * (dt / 1000), generator=generator))
    position = torch.rand(n_events, dtype=torch.float64, device=rates.device, generator=generator)
    bins = torch.searchsorted(cumulative, position * total, right=True)
    return bins.clamp_(max=rates.numel() - 1)


def poisson_spikes(rates: Tensor, dt: float, generator: torch.Generator) -> Tensor:
    """Number of events of independent inhomogeneous Poisson processes in each bin.

    Bins hold counts, not flags, so the mean is rate * dt whatever the bin: with flags a 250 Hz
    source would lose 12 % of its spikes at 1 ms.

    Args:
        rates: [..., step, unit] Hz, not negative, constant within a bin.
        dt: ms per bin.
        generator: source of randomness, on the device of `rates`.

    Returns:
        [..., step, unit] uint8.
    """
    counts = torch.zeros(rates.shape, dtype=torch.uint8, device=rates.device)
    add_events(counts, poisson_events(rates, dt, generator))
    return counts


def add_events(counts: Tensor, bins: Tensor) -> None:
    """Add one to `counts` (contiguous, uint8) at each flat position in `bins`."""
    counts.view(-1).scatter_add_(0, bins, torch.ones_like(bins, dtype=torch.uint8))


def poisson_background(
    shape: tuple[int, ...], rate: float, dt: float, generator: torch.Generator
) -> Tensor:
    """Counts of `shape` [..., step, unit], uint8, of units with one constant rate in Hz."""
    return poisson_spikes(torch.full(shape, rate, device=generator.device), dt, generator)
