"""Exact integration of a leaky membrane over one step: integrals that stay smooth where rates are equal.

Source: Rotter & Diesmann 1999, Biol. Cybern. 81:381.
"""

import math

import torch
from torch import Tensor

_SERIES_TERMS = 18  # 1/(18! * 20) < 1e-17: exact in float64 for |x| < 1


def integral_exp(x: Tensor) -> Tensor:
    """Integral of e^(x u) over u in [0, 1], (e^x - 1)/x, accurate with its derivatives at x = 0."""
    series = torch.zeros_like(x)
    for k in reversed(range(_SERIES_TERMS)):
        series = series * x + 1 / math.factorial(k + 1)
    small = x.abs() < 1
    safe = torch.where(small, torch.ones_like(x), x)
    return torch.where(small, series, torch.expm1(safe) / safe)


def integral_u_exp(x: Tensor) -> Tensor:
    """Integral of u e^(x u) over u in [0, 1], accurate with its derivatives at x = 0."""
    series = torch.zeros_like(x)
    for k in reversed(range(_SERIES_TERMS)):
        series = series * x + 1 / (math.factorial(k) * (k + 2))
    small = x.abs() < 1
    safe = torch.where(small, torch.ones_like(x), x)
    return torch.where(small, series, (torch.exp(safe) * (safe - 1) + 1) / safe**2)


def membrane_response(tau: Tensor, C_m: Tensor, tau_m: Tensor, dt: float) -> tuple[Tensor, Tensor]:
    """P31 and P32 of one alpha component, each [n, r]: what y1 and y2 add to the voltage in a step."""
    # The convolution of e^(-s/tau) and s e^(-s/tau) with the membrane. x -> 0 as tau -> tau_m,
    # where both integrals stay smooth (NEST switches to the limit below |x| = 1e-7).
    x = dt / tau_m[:, None] - dt / tau
    decay = torch.exp(-dt / tau_m)[:, None]
    P32 = dt / C_m[:, None] * decay * integral_exp(x)
    P31 = dt**2 / C_m[:, None] * decay * integral_u_exp(x)
    return P31, P32
