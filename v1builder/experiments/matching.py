"""Rate matching: one bias current per population, so that an ablated network fires like the intact.

Averaging cell parameters moves the operating point, so a comparison at raw parameters measures
mostly that shift. Here every population gets one constant current, and the currents are iterated
until each population's rate, averaged over the conditions (spontaneous and evoked, say), is within
the tolerance. One current cannot fix two conditions separately, so their rates are reported apart.

Method. Populations excite and inhibit one another, so the currents are solved for together. With
y_i = log((rate_i + floor) / (target_i + floor)), the Jacobian dy/db starts as a diagonal guess and
is corrected by the measurements so far: first each population's own gain, then, for the coupling, a
multi-secant Broyden update with ridge (the smallest change that explains the measured changes).
Steps start from the best point so far and are limited by a trust radius that grows on success and
shrinks on failure. Points are ranked by sum log(1 + e_i^2), e_i being the error in units of the
allowed one, so that a population that cannot be matched does not keep the others from it.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from v1builder.load.groups import group_cells
from v1builder.load.network import Network
from v1builder.schema.errors import ConfigError, Problem, raise_if_any

Array = NDArray[np.float64]
#: From bias currents [n_pop] pA to rates [n_pop, n_conditions] Hz.
RatesAtBias = Callable[[Array], Array]

_GAIN: Final = 2.0  # assumed change of log rate per unit of `scale`, before anything is measured
_GAIN_RANGE: Final = (0.2, 50.0)
_RIDGE: Final = 1e-2  # of the multi-secant update; the secants have length 1
_MEMORY: Final = 12  # secants kept: the Jacobian changes on the way
_RADIUS_MAX: Final = 4.0  # largest change of one bias in one step, in units of `scale`
_RADIUS_MIN: Final = 1e-2


@dataclass(frozen=True)
class MatchResult:
    """What rate matching found. `converged` is measured at `bias`, never extrapolated.

    Attributes:
        bias: [n_pop] pA.
        rates: [n_pop, n_conditions] Hz measured at `bias`.
        target: [n_pop, n_conditions] Hz.
        converged: [n_pop] True where the rate averaged over conditions is within the tolerance.
        tolerance: relative tolerance.
        floor: Hz, absolute tolerance, one or [n_pop], as given.
        n_measurements: number of times the network was run.
    """

    bias: Array
    rates: Array
    target: Array
    converged: NDArray[np.bool_]
    tolerance: float
    floor: Array | float
    n_measurements: int

    @property
    def success(self) -> bool:
        """True when every population is matched."""
        return bool(self.converged.all())

    @property
    def error(self) -> Array:
        """[n_pop] Hz, mean rate over the conditions minus its target."""
        return self.rates.mean(axis=1) - self.target.mean(axis=1)

    @property
    def relative_error(self) -> Array:
        """[n_pop, n_conditions] (rate - target) / target; NaN where the target is 0."""
        missing = np.full(self.target.shape, np.nan)
        return np.divide(self.rates - self.target, self.target, out=missing, where=self.target > 0)


def match_rates(
    measure: RatesAtBias,
    target: Array,
    *,
    scale: Array | float,
    tolerance: float = 0.05,
    floor: Array | float = 0.05,
    max_measurements: int = 30,
    max_bias: float = 20.0,
) -> MatchResult:
    """Find the bias currents at which `measure` gives the target rates.

    Args:
        measure: bias [n_pop] pA -> rates [n_pop, n_conditions] Hz. It should use the same inputs
            and noise at every call; otherwise its scatter must be well below the tolerance.
        target: [n_pop, n_conditions] Hz, each at least 0.
        scale: pA, one or [n_pop]: a current that clearly matters to the population, for example
            a tenth of its rheobase. It sets the size of the steps.
        tolerance: a population is matched when its rate averaged over conditions differs from the
            target by at most `tolerance` times the target ...
        floor: ... or by at most this many Hz, one or [n_pop]. A rate near zero is counted from a
            handful of spikes, so a relative tolerance would never be met there. One spike of one
            cell, 1 / (number of cells x seconds of all trials and conditions), is the least sensible.
        max_measurements: stop after as many calls.
        max_bias: largest bias, in units of `scale`.

    Returns:
        The best point measured, whether or not it is good enough; see `MatchResult.converged`.

    Raises:
        ConfigError: an argument is out of range, or `measure` returned something other than finite
            rates in the shape of `target`.
    """
    target = np.asarray(target, np.float64)
    scale = np.broadcast_to(np.asarray(scale, np.float64), target.shape[:1])
    least = np.broadcast_to(np.asarray(floor, np.float64), target.shape[:1])
    _check(target, scale, tolerance, least, max_measurements)
    wanted = target.mean(axis=1)

    def run(x: Array) -> _Point:
        rates = np.asarray(measure(x * scale), np.float64)
        if rates.shape != target.shape or not np.isfinite(rates).all() or (rates < 0).any():
            raise ConfigError.of(
                "rate matching got something other than rates",
                "measure",
                f"an array of shape {rates.shape}",
                f"return finite rates of shape {target.shape}, in Hz",
            )
        mean = rates.mean(axis=1)
        y = np.log((mean + least) / (wanted + least))
        return _Point(x, rates, y, np.abs(mean - wanted) / np.maximum(tolerance * wanted, least))

    best = run(np.zeros(len(wanted)))
    points = [best]
    radius, failed = 1.0, False
    while not best.converged.all() and len(points) < max_measurements and radius > _RADIUS_MIN:
        step = _newton_step(points, best)
        # Every bias goes its own way as far as the radius lets it; after a failure the direction of
        # the whole step is kept, since only that is sure to lead downhill when it gets short.
        step = (
            step * min(1.0, radius / np.abs(step).max())
            if failed
            else np.clip(step, -radius, radius)
        )
        x = np.clip(best.x + step, -max_bias, max_bias)
        if np.array_equal(x, best.x):
            break  # the bounds forbid every change that would help
        point = run(x)
        points.append(point)
        failed = point.merit > best.merit  # equal: go on, a silent population hears more current
        if not failed:
            best = point
            radius = min(2 * radius, _RADIUS_MAX)
        else:
            radius = 0.5 * min(radius, np.abs(step).max())
    return MatchResult(
        best.x * scale, best.rates, target, best.converged, tolerance, floor, len(points)
    )


@dataclass(frozen=True)
class _Point:
    """One measurement: bias in units of `scale`, rates, log errors, errors / allowed errors."""

    x: Array
    rates: Array
    y: Array
    excess: Array

    @property
    def converged(self) -> NDArray[np.bool_]:
        return self.excess <= 1

    @property
    def merit(self) -> float:
        return float(np.log1p(self.excess**2).sum())


def _newton_step(points: list[_Point], best: _Point) -> Array:
    """The change of x that would bring y to zero, were y linear with the Jacobian known so far."""
    gain = np.full(len(best.y), _GAIN)
    others = [point for point in points if point is not best][-_MEMORY:]
    if not others:
        return -best.y / gain
    dx = np.array([point.x - best.x for point in others])
    dy = np.array([point.y - best.y for point in others])
    length = np.linalg.norm(dx, axis=1, keepdims=True)
    dx, dy = dx / length, dy / length
    moved = (dx**2).sum(axis=0) + _RIDGE
    gain = np.clip(((dx * dy).sum(axis=0) + _RIDGE * gain) / moved, *_GAIN_RANGE)
    unexplained = dy - dx * gain
    coupling = np.linalg.solve(dx @ dx.T + _RIDGE * np.eye(len(dx)), unexplained).T @ dx
    step = np.linalg.lstsq(np.diag(gain) + coupling, -best.y, rcond=1e-6)[0]
    return step if np.isfinite(step).all() and step.any() else -best.y / gain


def _check(
    target: Array, scale: Array, tolerance: float, floor: Array, max_measurements: int
) -> None:
    problems = []
    if target.ndim != 2 or not np.isfinite(target).all() or (target < 0).any():
        got = f"an array of shape {target.shape}"
        fix = "give finite rates [n_pop, n_conditions], Hz, none negative"
        problems.append(Problem("the target rates are not valid", "target", got, fix))
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        problems.append(Problem("the scale must be positive", "scale", str(scale), "give pA > 0"))
    for name, value in (("tolerance", tolerance), ("floor", floor)):
        if not np.all(np.asarray(value) > 0):
            problems.append(Problem(f"the {name} must be positive", name, str(value), "raise it"))
    if max_measurements < 1:
        got = str(max_measurements)
        problems.append(Problem("no measurement is allowed", "max_measurements", got, "raise it"))
    raise_if_any(problems, ConfigError)


def with_bias(network: Network, bias: Array) -> Network:
    """The network with `bias` ([n_pop] pA, populations in alphabetical order) added to every cell.

    What was added is appended to `provenance["bias_currents_pA"]`.
    """
    groups = group_cells(network.cells, "population")
    if np.shape(bias) != (len(groups),):
        raise ConfigError.of(
            "wrong number of bias currents",
            "with_bias",
            f"shape {np.shape(bias)}",
            f"give one for each of the {len(groups)} populations: {', '.join(groups.labels)}",
        )
    added = dict(zip(groups.labels, np.asarray(bias, np.float64).tolist(), strict=True))
    records = [*network.provenance.get("bias_currents_pA", []), added]
    return dataclasses.replace(
        network,
        bias_current=network.bias_current + np.asarray(bias)[groups.of_cell],
        provenance=network.provenance | {"bias_currents_pA": records},
    )
