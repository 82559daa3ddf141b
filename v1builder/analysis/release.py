"""What short-term plasticity makes of a rate: closed forms of the synapse of `model.plasticity`.

Efficacies are release over release from rest, u x / U, so that a static synapse has 1. Regular spikes of
interval T repeat the state exactly,

    u = U / (1 - (1 - U) e^(-T/tau_fac)),    x = (1 - e^(-T/tau_rec)) / (1 - (1 - u) e^(-T/tau_rec)).

Poisson spikes of rate r move the means by

    dv/dt = -v / tau_fac + U (1 - v) r,     u = v + U (1 - v),     dx/dt = (1 - x) / tau_rec - u x r

(exact for u; the correlation of u and x is neglected), whose linear response to a modulated rate is the
filter that the synapse is. Tsodyks, Pawelzik & Markram 1998, Neural Comput. 10:821; Merkel & Lindner 2010,
Phys. Rev. E 81:041921.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Release(NamedTuple):
    """A synapse with short-term plasticity.

    Attributes:
        U: release from rest.
        tau_rec, tau_fac: ms; tau_fac is 0 for none.
    """

    U: float
    tau_rec: float
    tau_fac: float


def regular_efficacy(synapse: Release, rate: ArrayLike) -> Array:
    """Efficacy u x / U of regular spikes after many of them.

    Args:
        synapse: of the spikes.
        rate: [...] Hz, positive.
    """
    interval = 1000 / np.asarray(rate, float)
    U, tau_rec, tau_fac = synapse
    kept = np.exp(-interval / tau_fac) if tau_fac > 0 else np.zeros_like(interval)
    u = U / (1 - (1 - U) * kept)
    left = np.exp(-interval / tau_rec)
    return u * (1 - left) / (1 - (1 - u) * left) / U


def _steady(synapse: Release, rate: Array) -> tuple[Array, Array, Array]:
    """The means v before a spike, u and x at a spike, of Poisson spikes; rate in 1/ms."""
    U, tau_rec, tau_fac = synapse
    v = U * rate * tau_fac / (1 + U * rate * tau_fac)
    u = v + U * (1 - v)
    return v, u, 1 / (1 + u * rate * tau_rec)


def poisson_efficacy(synapse: Release, rate: ArrayLike) -> Array:
    """Efficacy u x / U of Poisson spikes after many of them; `rate` [...] Hz, not negative."""
    _, u, x = _steady(synapse, np.asarray(rate, float) / 1000)
    return u * x / synapse.U


def release_filter(synapse: Release, rate: float, frequencies: ArrayLike) -> NDArray[np.complex128]:
    """Response of what is released to a small modulation of the rate of Poisson spikes.

    A synapse passes on efficacy times rate; this is the derivative of that by the rate, at a frequency. At
    high frequencies it is the efficacy, at low ones the slope of efficacy times rate: a depressing synapse
    passes on changes, a facilitating one what lasts.

    Args:
        synapse: of the spikes.
        rate: Hz, around which the rate is modulated.
        frequencies: [f] Hz.

    Returns:
        [f] dimensionless; 1 for a static synapse.
    """
    U, tau_rec, tau_fac = synapse
    r = rate / 1000
    v, u, x = _steady(synapse, np.asarray(r))
    i_omega = 2j * np.pi * np.asarray(frequencies, float) / 1000
    # Linear in the modulation: v moves u by 1 - U, and both move x.
    dv = U * (1 - v) / (i_omega + 1 / tau_fac + U * r) if tau_fac > 0 else 0 * i_omega
    du = (1 - U) * dv
    dx = -(u * x + r * x * du) / (i_omega + 1 / tau_rec + u * r)
    return (u * x + r * (u * dx + x * du)) / U
