"""Many roots at once: the weight at which each of m independent rate functions meets its target.

Every cell model has a rate that rises with its background weight, and with recurrence off no model
feels another's weight, so one simulation moves all of them. A root is first bracketed by steps that
grow from the starting weight, then the bracket is cut: at the root of the straight line between its
ends in y = log((rate + floor) / (target + floor)), or in the middle when the line did not halve the
bracket in two cuts (a guarded false position: never much slower than bisection, and exact where the
measured rate is a staircase, as it is when the same spike trains are used in every measurement).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
#: weights [m] pA and which of the models are still wanted [m] -> rates [m] Hz (others: anything).
RatesAtWeights = Callable[[Array, Bools], Array]

MET: Final = "met"
LGN_EXCEEDS: Final = "rate without background exceeds the target"
BOUND: Final = "largest weight does not reach the target"
STEPS: Final = "rate jumps over the target"
RUNS: Final = "not met within the allowed simulations"

_FLOOR: Final = 0.1  # of the target: silence counts as log(1 / 11), not as minus infinity
_NARROW: Final = 1e-5  # relative width at which a bracket holds no other weight worth trying
_LEAST: Final = 0.05  # of the start: below, the bracket's lower end is 0


@dataclass(frozen=True)
class Roots:
    """What was found, for m models.

    Attributes:
        weight: [m] pA, the best weight measured.
        rate: [m] Hz measured at it.
        status: [m] `MET` or why not.
        n_runs: number of measurements.
    """

    weight: Array
    rate: Array
    status: NDArray[np.str_]
    n_runs: int


class _Brackets:
    """The state of the search: bracket, y at its ends (NaN: not measured), next weight."""

    def __init__(self, target: Array, start: Array, upper: Array, factor: float):
        n = len(target)
        self.target, self.start, self.upper = target, start, upper
        self.low, self.high = np.zeros(n), upper.copy()
        self.y_low, self.y_high = np.full(n, np.nan), np.full(n, np.nan)
        self.next = np.minimum(start, upper)
        self.factor = np.full(n, factor)
        self.slow = np.zeros(n, np.int64)
        self.best, self.best_rate = self.next.copy(), np.full(n, np.nan)
        self.status = np.full(n, "", dtype="<U64")

    def take(self, model: int, rate: float, tolerance: float) -> None:
        """Note the rate of a model at `next` and decide where to measure next."""
        x, target = self.next[model], self.target[model]
        y = np.log((rate + _FLOOR * target) / (target + _FLOOR * target))
        known = self.best_rate[model]
        if not abs(rate - target) >= abs(known - target):  # also when nothing is known yet
            self.best[model], self.best_rate[model] = x, rate
        if abs(rate - target) <= tolerance * target:
            self.status[model] = MET
            return
        width = self.high[model] - self.low[model]
        if y < 0:
            if x >= self.upper[model]:
                self.status[model] = BOUND
                return
            self.low[model], self.y_low[model] = x, y
        else:
            if x <= 0:
                self.best[model], self.best_rate[model] = 0.0, rate
                self.status[model] = LGN_EXCEEDS
                return
            self.high[model], self.y_high[model] = x, y
        self._advance(model, width)

    def _advance(self, model: int, width: float) -> None:
        low, high = self.low[model], self.high[model]
        y_low, y_high = self.y_low[model], self.y_high[model]
        if np.isnan(y_high):
            self.next[model] = min(low * self.factor[model], self.upper[model])
            self.factor[model] **= 2
        elif np.isnan(y_low):
            x = high / self.factor[model]
            self.factor[model] **= 2
            self.next[model] = x if x > _LEAST * self.start[model] else 0.0
        elif high - low <= _NARROW * high:
            self.status[model] = STEPS
        else:
            self.slow[model] = 0 if high - low <= 0.5 * width else self.slow[model] + 1
            at = -y_low / (y_high - y_low)
            if self.slow[model] >= 2:
                at, self.slow[model] = 0.5, 0
            self.next[model] = low + (high - low) * min(max(at, 0.02), 0.98)


def find_roots(
    measure: RatesAtWeights,
    target: Array,
    *,
    start: Array,
    upper: Array,
    factor: float = 2.0,
    tolerance: float = 0.01,
    max_runs: int = 40,
) -> Roots:
    """Find the weights at which `measure` gives the target rates.

    Args:
        measure: must rise with the weight, and use the same spike trains at every call.
        target: [m] Hz, positive.
        start: [m] pA, positive: where to begin.
        upper: [m] pA, largest weight.
        factor: above 1: first step of the bracketing, squared at every further one.
        tolerance: relative, of the rate.
        max_runs: stop after as many measurements.
    """
    search = _Brackets(target, start, upper, factor)
    n_runs = 0
    while n_runs < max_runs and (wanted := search.status == "").any():
        rates = measure(search.next.copy(), wanted)
        n_runs += 1
        for model in np.flatnonzero(wanted):
            search.take(int(model), float(rates[model]), tolerance)
    search.status[search.status == ""] = RUNS
    return Roots(search.best, search.best_rate, search.status, n_runs)
