"""Orientation and direction selectivity, in the two definitions in use.

For rates r(theta) at evenly spaced directions theta on the full circle:

    osi_vector    = |sum r e^(2 i theta)| / sum r       1 - circular variance over orientations
    dsi_vector    = |sum r e^(i theta)| / sum r         the same over directions
    osi_pref_orth = (R_pref - R_orth) / (R_pref + R_orth)
    dsi_pref_null = (R_pref - R_null) / (R_pref + R_null)

R_pref is the largest rate, R_orth the mean of the two at +-90 degrees from it, R_null the one at 180. The
two definitions differ by factors (a cosine-tuned cell r = 1 + cos 2(theta - theta_0) has osi_vector 0.5 and
osi_pref_orth 1), so a number without its name means nothing. A cell without spikes has no index: NaN.
"""

import numpy as np
from numpy.typing import NDArray

from v1builder.schema.errors import ConfigError

Array = NDArray[np.float64]


def osi_vector(rates: Array, directions: Array) -> Array:
    """|sum r e^(2 i theta)| / sum r.

    Args:
        rates: [n_directions, n_cells] Hz, none negative.
        directions: [n_directions] degrees, in increasing order, evenly spaced over the full circle; at
            least 3, and not 4: e^(2 i theta) does not tell 45 from 135 degrees there.

    Returns:
        [n_cells] between 0 and 1; NaN where a cell is silent.

    Raises:
        ConfigError: the directions or the rates are not as described.
    """
    return _resultant(rates, directions, 2)


def dsi_vector(rates: Array, directions: Array) -> Array:
    """|sum r e^(i theta)| / sum r; as `osi_vector`, with at least 3 directions."""
    return _resultant(rates, directions, 1)


def osi_pref_orth(rates: Array, directions: Array) -> Array:
    """(R_pref - R_orth) / (R_pref + R_orth); as `osi_vector`, with a multiple of 4 directions."""
    return _contrast(rates, directions, (90.0, 270.0))


def dsi_pref_null(rates: Array, directions: Array) -> Array:
    """(R_pref - R_null) / (R_pref + R_null); as `osi_vector`, with an even number of directions."""
    return _contrast(rates, directions, (180.0,))


def preferred_direction(rates: Array, directions: Array) -> Array:
    """[n_cells] degrees, direction of the largest rate (the first of equals); NaN where silent."""
    _check(rates, directions, 1)
    return np.where(rates.sum(axis=0) > 0, directions[rates.argmax(axis=0)], np.nan)


def _resultant(rates: Array, directions: Array, harmonic: int) -> Array:
    _check(rates, directions, 3)
    if harmonic == 2 and len(directions) == 4:
        raise _unfit("4 directions", "measure 3, 8 or more directions")
    wave = np.exp(1j * harmonic * np.deg2rad(directions))
    return _ratio(np.abs(wave @ rates), rates.sum(axis=0))


def _contrast(rates: Array, directions: Array, offsets: tuple[float, ...]) -> Array:
    _check(rates, directions, 2)
    n = len(directions)
    shifts = [offset * n / 360 for offset in offsets]
    if any(shift != int(shift) for shift in shifts):
        fix = f"measure directions that include those at {offsets[0]:g} degrees from each other"
        raise _unfit(f"{n} directions", fix)
    best = rates.argmax(axis=0)
    cells = np.arange(rates.shape[1])
    preferred = rates[best, cells]
    other = np.mean([rates[(best + int(shift)) % n, cells] for shift in shifts], axis=0)
    return _ratio(preferred - other, preferred + other)


def _ratio(numerator: Array, denominator: Array) -> Array:
    missing = np.full(denominator.shape, np.nan)
    return np.divide(numerator, denominator, out=missing, where=denominator > 0)


def _check(rates: Array, directions: Array, at_least: int) -> None:
    n = len(directions)
    even = n >= at_least and np.allclose(np.diff(directions), 360 / n, rtol=0, atol=1e-6)
    if not even:
        fix = f"give at least {at_least} directions spaced by 360 / n degrees, in increasing order"
        raise _unfit(np.array2string(np.asarray(directions), threshold=12), fix)
    if rates.ndim != 2 or len(rates) != n or not np.isfinite(rates).all() or (rates < 0).any():
        fix = f"give finite rates [{n} directions, n_cells], Hz, none negative"
        raise _unfit(f"rates of shape {rates.shape}", fix)


def _unfit(got: str, fix: str) -> ConfigError:
    return ConfigError.of("the tuning index is not defined for these data", "tuning", got, fix)
