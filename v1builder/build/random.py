"""Random numbers that depend on (seed, purpose, cell) and on nothing else.

Every target cell draws from its own stream, so the edges of a cell are the same whichever thread
makes them and in whatever order. The generator is SplitMix64 (Steele, Lea & Flood 2014, OOPSLA),
each stream starting at a hashed state: among 2e5 cells of 1e5 draws each, the probability that any
two streams overlap is about 2e-4, and an overlap between two unrelated cells would do no harm.
"""

from enum import IntEnum
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray

from v1builder.schema.numba_cache import forget_stale, use_writable_cache

use_writable_cache()
# Both others import this file before they define anything that is compiled.
forget_stale(Path(__file__).parent, "random.py", "connectivity.py", "lgn_edges.py")

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TWO_TO_MINUS_53 = 2.0**-53


class Purpose(IntEnum):
    """What random numbers are for. Never reorder: the values are part of every network."""

    COUNTS = 0
    POSITIONS = 1
    TARGET_SIZES = 2
    RECURRENT = 3
    LGN_UNITS = 4
    LGN_EDGES = 5
    BACKGROUND = 6
    TUNING = 7
    BOUNDARY_CELLS = 8
    BOUNDARY_EDGES = 9
    BOUNDARY_RATES = 10
    PLASTICITY = 11


def generator(seed: int, purpose: Purpose) -> np.random.Generator:
    """A numpy generator for everything that is drawn for all cells at once."""
    return np.random.default_rng([seed, int(purpose)])


def stream_key(seed: int, purpose: Purpose) -> np.uint64:
    """The key that, with a cell's number, starts that cell's stream."""
    return np.random.SeedSequence([seed, int(purpose)]).generate_state(1, np.uint64)[0]


@numba.njit(cache=True)
def _mix(z: np.uint64) -> np.uint64:
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


def hashed(key: np.uint64, a: NDArray[np.integer], b: NDArray[np.integer]) -> NDArray[np.uint64]:
    """[e] a random number for every pair, whatever other pairs there are."""
    found = np.empty(len(a), np.uint64)
    _hash(key, a, b, found)
    return found


@numba.njit(cache=True)
def _hash(
    key: np.uint64, a: NDArray[np.integer], b: NDArray[np.integer], found: NDArray[np.uint64]
) -> None:
    for e in range(found.shape[0]):
        of_a = _mix(key + _mix(np.uint64(a[e]) * _GOLDEN + _GOLDEN))
        found[e] = _mix(of_a + np.uint64(b[e]) * _GOLDEN + _GOLDEN)


@numba.njit(cache=True)
def start_stream(state: NDArray[np.uint64], key: np.uint64, cell: int) -> None:
    """Set `state` ([1]) to the start of the stream of `cell`."""
    state[0] = _mix(key + _mix(np.uint64(cell) * _GOLDEN + _GOLDEN))


@numba.njit(cache=True)
def uniform(state: NDArray[np.uint64]) -> float:
    """U(0, 1), both ends excluded."""
    state[0] += _GOLDEN
    return (np.float64(_mix(state[0]) >> _S11) + 0.5) * _TWO_TO_MINUS_53


@numba.njit(cache=True)
def exponential(state: NDArray[np.uint64]) -> float:
    """Exponential with mean 1."""
    return -np.log(uniform(state))
