"""The peak of a postsynaptic potential (PSP) per unit of synaptic weight, in closed form.

The builder divides measured PSPs (mV) by it to get weights (pA); whoever changes the membrane of a cell needs
it to keep the PSPs. Membrane: C_m dV/dt = -g V + I, at rest, without after-spike currents.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Points of the first search for the peak, over this many times the sum of all time constants.
_SEARCH_POINTS: Final = 200
_SEARCH_SPAN: Final = 3.0
_BISECTIONS: Final = 60


def alpha_psp(t: ArrayLike, tau: ArrayLike, C_m: ArrayLike, g: ArrayLike) -> NDArray[np.float64]:
    """PSP of the current (t/tau) e^(1 - t/tau) pA in a passive membrane at rest.

    The solution of C_m dV/dt = -g V + I: with b = g/C_m - 1/tau,
    V(t) = e/(C_m tau) [ t e^(-t/tau)/b - (e^(-t/tau) - e^(-t g/C_m))/b^2 ].

    Args:
        t: ms.
        tau: ms.
        C_m: pF.
        g: nS.

    Returns:
        mV, of the broadcast shape.
    """
    t, tau, C_m, g = (np.asarray(value, dtype=np.float64) for value in (t, tau, C_m, g))
    b = g / C_m - 1 / tau
    x = b * t
    # (x - 1 + e^-x)/x^2 loses digits near x = 0; its series does not.
    small = np.abs(x) < 1e-2
    safe = np.where(small, 1.0, x)
    series = np.exp(-t / tau) * (0.5 - x / 6 + x**2 / 24 - x**3 / 120)
    closed = ((safe - 1) * np.exp(-t / tau) + np.exp(-t * g / C_m)) / safe**2
    return np.e / (C_m * tau) * t**2 * np.where(small, series, closed)


def unit_psp_peak(
    tau_fast: ArrayLike, tau_slow: ArrayLike, amp_slow: ArrayLike, C_m: ArrayLike, g: ArrayLike
) -> NDArray[np.float64]:
    """A: peak PSP of a weight of 1 pA.

    The peak is where I = g V; it is bracketed on a grid and then found by bisection.

    Args:
        tau_fast: ms.
        tau_slow: ms.
        amp_slow: relative amplitude of the slow component.
        C_m: pF.
        g: nS.

    Returns:
        mV/pA, of the broadcast shape.
    """
    parts = np.broadcast_arrays(tau_fast, tau_slow, amp_slow, C_m, g)
    fast, slow, amp, capacity, leak = (np.asarray(p, dtype=np.float64).ravel() for p in parts)

    def psp(t: NDArray[np.float64]) -> NDArray[np.float64]:
        return alpha_psp(t, fast, capacity, leak) + amp * alpha_psp(t, slow, capacity, leak)

    def drive(t: NDArray[np.float64]) -> NDArray[np.float64]:
        current = t / fast * np.exp(1 - t / fast) + amp * t / slow * np.exp(1 - t / slow)
        return current - leak * psp(t)

    span = _SEARCH_SPAN * (fast + slow + capacity / leak)
    step = span / _SEARCH_POINTS
    best, at = np.zeros_like(fast), np.zeros_like(fast)
    for k in range(1, _SEARCH_POINTS + 1):
        value = psp(k * step)
        at = np.where(value > best, k * step, at)
        best = np.maximum(best, value)
    low, high = at - step, at + step
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        rising = drive(middle) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    return psp((low + high) / 2).reshape(parts[0].shape)


def exponential_psp_peak(tau: ArrayLike, C_m: ArrayLike, g: ArrayLike) -> NDArray[np.float64]:
    """Peak PSP of an exponential current of 1 pA, e^(-t/tau).

    V(t) = tau tau_m/(C_m (tau_m - tau)) (e^(-t/tau_m) - e^(-t/tau)) has its peak
    tau/C_m r^(r/(1 - r)), r = tau/tau_m; tau/(e C_m) at r = 1.

    Args:
        tau: ms.
        C_m: pF.
        g: nS.

    Returns:
        mV/pA, of the broadcast shape.
    """
    tau, C_m, g = (np.asarray(value, dtype=np.float64) for value in (tau, C_m, g))
    ratio = tau * g / C_m
    near = np.abs(1 - ratio) < 1e-6
    safe = np.where(near, 0.5, ratio)
    # log(r) r/(1 - r) = -1 + (1 - r)/2 + ... near r = 1.
    exponent = np.where(near, -1 + (1 - ratio) / 2, np.log(safe) * safe / (1 - safe))
    return tau / C_m * np.exp(exponent)
