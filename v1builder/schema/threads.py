"""Threads of the libraries that compute, governed in one place.

How many there are is the user's: torch's number (`torch.set_num_threads`, OMP_NUM_THREADS), which numba's
kernels follow within what numba was started with (`model.backends.cpu`). Dense products of numpy and scipy
have threads of their own and no part in a step.

How they wait is set here. torch and numba each bring an OpenMP runtime (libgomp), and a thread that waits for
the others in it keeps its core for some milliseconds before it sleeps. Where another process has work for
that core, a step that meets at a barrier every 50 us then takes many times as long as a fair share allows.
Threads that sleep at once wake too late for a step of a small network (a factor of 2), so they keep the core
for some microseconds.
"""

import os
from collections.abc import MutableMapping
from typing import Final

#: Turns of the loop in which a thread of libgomp waits, some nanoseconds each.
_TURNS: Final = "1000"
#: With either of them the user has said how threads wait.
_SAID: Final = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let OpenMP's threads wait for microseconds, unless the user has said how they wait.

    A runtime reads this when it is loaded: torch's with torch, numba's with the first kernel. So a torch that
    was imported before stays as it is. No number of threads changes.
    """
    if not any(name in environment for name in _SAID):
        environment["GOMP_SPINCOUNT"] = _TURNS
