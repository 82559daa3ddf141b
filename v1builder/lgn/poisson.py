"""Spike counts of Poisson processes on a time grid."""

import torch
from torch import Tensor


def poisson_spikes(rates: Tensor, dt: float, generator: torch.Generator) -> Tensor:
    """Events of independent inhomogeneous Poisson processes per bin, rates constant within a bin.

    Bins hold counts, not flags, so the mean is rate * dt whatever the bin: with flags a 250 Hz
    source would lose 12 % of its spikes at 1 ms.

    The total number of events is drawn first; given it, events fall independently on bins in
    proportion to their rate. That is exact, and draws one number per spike, not one per bin.

    Args:
        rates: [..., step, unit] Hz, not negative.
        dt: ms per bin.
        generator: source of randomness, on the device of `rates`.

    Returns:
        [..., step, unit] uint8.
    """
    if rates.numel() == 0:
        return torch.zeros_like(rates, dtype=torch.uint8)
    cumulative = rates.flatten().double().cumsum(0)  # dtype= in cumsum is several times slower
    total = cumulative[-1]
    n_events = int(torch.poisson(total * (dt / 1000), generator=generator))
    position = torch.rand(n_events, dtype=torch.float64, device=rates.device, generator=generator)
    bins = torch.searchsorted(cumulative, position * total, right=True).clamp_(
        max=rates.numel() - 1
    )
    counts = torch.zeros(rates.numel(), dtype=torch.uint8, device=rates.device)
    counts.scatter_add_(0, bins, torch.ones_like(bins, dtype=torch.uint8))
    return counts.view(rates.shape)


def poisson_background(
    n_units: int, n_steps: int, rate: float, dt: float, generator: torch.Generator
) -> Tensor:
    """Spike counts [step, unit], uint8, of background units with a constant rate in Hz."""
    rates = torch.full((n_steps, n_units), rate, device=generator.device)
    return poisson_spikes(rates, dt, generator)
