"""Spike counts of Poisson processes on a time grid."""

import torch
from torch import Tensor


def poisson_spikes(rates: Tensor, dt: float, generator: torch.Generator) -> Tensor:
    """Events of inhomogeneous Poisson processes per bin, rates constant within a bin.

    Bins hold counts, not flags, so the mean is rate * dt whatever the bin: with flags a 250 Hz source
    would lose 12 % of its spikes at 1 ms.

    Args:
        rates: [..., step, unit] Hz.
        dt: ms per bin.
        generator: source of randomness, on the device of `rates`.

    Returns:
        [..., step, unit] uint8.
    """
    expected = rates * (dt / 1000)
    return torch.poisson(expected, generator=generator).to(torch.uint8)


def poisson_background(
    n_units: int, n_steps: int, rate: float, dt: float, generator: torch.Generator
) -> Tensor:
    """Spike counts [step, unit], uint8, of background units with a constant rate in Hz."""
    return poisson_spikes(torch.full((n_steps, n_units), rate), dt, generator)
