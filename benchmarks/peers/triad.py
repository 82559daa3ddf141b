"""Memory bandwidth: a[i] = b[i] + s c[i] on float32 arrays far larger than any cache."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import numba
import numpy as np
from protocol import Program, serve


@numba.njit(parallel=True, fastmath=True)
def triad(a, b, c, s):
    for i in numba.prange(len(a)):
        a[i] = b[i] + s * c[i]


def prepare(case: dict) -> Program:
    numba.set_num_threads(case["threads"])
    a, b, c = (np.full(32 << 20, x, np.float32) for x in (0.0, 1.0, 2.0))

    def once(_: int) -> tuple[float, float]:
        begin = time.perf_counter()
        triad(a, b, c, np.float32(3))
        return time.perf_counter() - begin, 0.0

    return Program(once, extra={"bytes": 3 * a.nbytes})


if __name__ == "__main__":
    serve(prepare)
