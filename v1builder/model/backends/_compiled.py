"""How the kernels of the fused backend are compiled."""

from collections.abc import Callable
from typing import Any

from numba import njit


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that only other compiled functions call, and that makes no array.

    `_nrt=False` leaves out numba's counting of references to the arrays whose slices it passes on. The
    counters are shared by all threads: with them a rollout of 1 000 cells took 1.2 times as long. The
    caller at the top keeps the arrays alive. Such a function cannot return an array.
    """
    return njit(cache=True, _nrt=False, **options)
