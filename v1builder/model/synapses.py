"""Synaptic currents of NEST's point neurons, exact over a step: double-alpha, alpha and exponential.

The current of one port is a sum over the spikes that arrived there, of weight w (pA) t ms ago,

    double alpha    w [ (t/tau_fast) e^(1 - t/tau_fast) + amp_slow (t/tau_slow) e^(1 - t/tau_slow) ]
    exponential     w e^(-t/tau_fast)

(alpha is amp_slow = 0; w is the peak of the fast part), which is kept as two numbers per port and part,

    dy1/dt = -y1/tau,   dy2/dt = y1 - y2/tau,   I = y2;   a spike adds w e/tau to y1 (w to y2: exponential)

Source: Rotter & Diesmann 1999, Biol. Cybern. 81:381; the behaviour of NEST 3.10.
"""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from v1builder.model.rollout import Coefficients, State
from v1builder.schema.names import PSC_ALPHA, PSC_EXPONENTIAL


@dataclass(frozen=True)
class SynapticState(State):
    """State of cells with such currents.

    Attributes:
        y1_fast, y1_slow: [b, n, r] pA/ms.
        y2_fast, y2_slow: [b, n, r] pA.
    """

    y1_fast: Tensor
    y2_fast: Tensor
    y1_slow: Tensor
    y2_slow: Tensor


@dataclass(frozen=True, kw_only=True)
class SynapticCoefficients(Coefficients):
    """Coefficients of cells with such currents; y2_init_fast is None when no current is exponential."""

    P11_fast: Tensor  # [n, r] exp(-dt/tau_fast)
    P21_fast: Tensor  # [n, r] dt*P11 (ms)
    y1_init_fast: Tensor  # [n, r] e/tau_fast (1/ms)
    P11_slow: Tensor  # [n, r]
    P21_slow: Tensor  # [n, r]
    y1_init_slow: Tensor  # [n, r] amp_slow*e/tau_slow (1/ms)
    y2_init_fast: Tensor | None = None  # [n, r]


_S = TypeVar("_S", bound=SynapticState)


def silent(state: State) -> dict[str, Tensor]:
    """The fields of a `SynapticState` before the first spike, for the samples, cells and ports of `state`."""
    names = ("y1_fast", "y2_fast", "y1_slow", "y2_slow")
    return {name: torch.zeros_like(state.pending[0]) for name in names}


def synaptic_coefficients(
    tau_fast: Tensor,
    tau_slow: Tensor,
    amp_slow: Tensor,
    psc_shape: Tensor | None,
    dt: float,
) -> dict[str, Tensor | None]:
    """The fields of `SynapticCoefficients`, differentiable.

    Args:
        tau_fast: [n, r] ms.
        tau_slow: [n, r] ms.
        amp_slow: [n, r].
        psc_shape: [n, r] code of schema.names.PSC_*, or None when all are alpha.
        dt: ms.
    """
    P11_fast, P11_slow = torch.exp(-dt / tau_fast), torch.exp(-dt / tau_slow)
    y1_init_fast, y2_init_fast = torch.full_like(tau_fast, math.e) / tau_fast, None
    if psc_shape is not None:
        zero = torch.zeros_like(y1_init_fast)
        if (psc_shape == PSC_EXPONENTIAL).any():
            y2_init_fast = (psc_shape == PSC_EXPONENTIAL).to(zero.dtype)
        y1_init_fast = torch.where(psc_shape == PSC_ALPHA, y1_init_fast, zero)
    return {
        "P11_fast": P11_fast,
        "P21_fast": dt * P11_fast,
        "y1_init_fast": y1_init_fast,
        "P11_slow": P11_slow,
        "P21_slow": dt * P11_slow,
        "y1_init_slow": amp_slow * math.e / tau_slow,
        "y2_init_fast": y2_init_fast,
    }


def synapses_after(state: _S, arriving: Tensor, coefficients: SynapticCoefficients) -> _S:
    """`state` with the synaptic currents after the step, in which `arriving` [b, n, r] pA arrived."""
    p = coefficients
    y2_fast = p.P21_fast * state.y1_fast + p.P11_fast * state.y2_fast
    if p.y2_init_fast is not None:
        y2_fast = y2_fast + p.y2_init_fast * arriving
    return replace(
        state,
        y2_fast=y2_fast,
        y1_fast=p.P11_fast * state.y1_fast + p.y1_init_fast * arriving,
        y2_slow=p.P21_slow * state.y1_slow + p.P11_slow * state.y2_slow,
        y1_slow=p.P11_slow * state.y1_slow + p.y1_init_slow * arriving,
    )
