"""How much of its past input can be read from the present state of a network (Jaeger 2001).

MC = sum over k = 1, 2, ... of r^2(y_k(t), u(t - k)), y_k a linear readout of the state at t, tested on times
it did not learn from. Any state explains a little of any short signal by chance, so the same of shuffled
signals, the floor, is taken off. A delay line of n has MC = n, and no linear network of n more (Jaeger 2001,
GMD report 152).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

Array = NDArray[np.float64]

_PENALTIES: Final = tuple(10.0**power for power in range(-5, 9))
#: Times of which half and more are left for the test; and as few of these as a correlation needs.
_TRAINED: Final = 0.6
HELD_OUT_MIN: Final = 100
_SHUFFLES: Final = 3


@dataclass(frozen=True)
class Capacity:
    """Memory of past input.

    Attributes:
        total: less the floor; NaN where there is none.
        floor: the same of shuffled signals, mean.
        by_delay: [delay] r^2, from a delay of 1.
        reason: why there is none; empty where there is one.
    """

    total: float
    floor: float
    by_delay: Array
    reason: str = ""


def memory_capacity(
    states: Array, signal: Array, *, max_delay: int, rng: np.random.Generator
) -> Capacity:
    """Memory capacity of recorded states.

    The readout is ridge regression on states whose means are taken off; its penalty is chosen for every
    delay by generalised cross-validation. It learns from the first 60 % of every sequence and is tested on
    the rest.

    Args:
        states: [sequence, time, unit] after the signal of that time came in.
        signal: [sequence, time].
        max_delay: longest delay, in times.
        rng: shuffles.
    """
    nothing = np.full(max_delay, np.nan)
    n_times = states.shape[1] - max_delay
    first_tested = round(_TRAINED * n_times) + max_delay  # a gap: no input is in both parts
    n_held_out = states.shape[0] * (n_times - first_tested)
    if n_held_out < HELD_OUT_MIN:
        reason = f"fewer than {HELD_OUT_MIN} held-out times"
        return Capacity(np.nan, np.nan, nothing, reason)
    trained = states[:, max_delay : max_delay + round(_TRAINED * n_times)]
    varies = np.ptp(trained.reshape(-1, states.shape[2]), axis=0) > 0
    if not varies.any():
        return Capacity(np.nan, np.nan, nothing, "no state varies")
    signals = [signal, *(_shuffled(signal, rng) for _ in range(_SHUFFLES))]
    target = np.concatenate([_delayed(each, max_delay) for each in signals], axis=-1)
    tested = states[:, max_delay + first_tested :][..., varies]
    trained = trained[..., varies]
    # One scale for all units: each on its own would make the loudest noise of those that rarely do anything.
    center, scale = trained.mean(axis=(0, 1)), trained.std(axis=(0, 1)).max()
    x, x_test = (
        ((part - center) / scale).reshape(-1, trained.shape[2]) for part in (trained, tested)
    )
    y = target[:, : trained.shape[1]].reshape(-1, target.shape[2])
    y_test = target[:, first_tested:].reshape(-1, target.shape[2])
    answer = RidgeCV(alphas=_PENALTIES, alpha_per_target=True).fit(x, y).predict(x_test)
    explained = _squared_correlation(answer, y_test).reshape(len(signals), max_delay)
    floor = float(explained[1:].sum(axis=1).mean())
    return Capacity(float(explained[0].sum()) - floor, floor, explained[0])


def _shuffled(signal: Array, rng: np.random.Generator) -> Array:
    return rng.permuted(signal, axis=1)


def _delayed(signal: Array, max_delay: int) -> Array:
    """[sequence, time - max_delay, delay] what came in 1, 2, ... times ago."""
    n = signal.shape[1] - max_delay
    past = [signal[:, max_delay - k : max_delay - k + n] for k in range(1, max_delay + 1)]
    return np.stack(past, axis=-1)


def _squared_correlation(a: Array, b: Array) -> Array:
    """[target] squared correlation along the first axis; 0 where an answer does not vary."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    norm = (a**2).sum(axis=0) * (b**2).sum(axis=0)
    return np.divide((a * b).sum(axis=0) ** 2, norm, out=np.zeros(a.shape[1]), where=norm > 0)
