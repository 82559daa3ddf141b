"""Work on blocks of targets in threads, results in order."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

#: Targets per block: enough work to hide the cost of a block, few enough edges to hold several.
_BLOCK = 1024


def in_order(
    work: Callable[[int, int], Result], n_targets: int, threads: int
) -> Iterator[tuple[int, Result]]:
    """Run `work(first, last)` on consecutive blocks of targets.

    At most 2 x `threads` results wait at a time, so memory does not grow with the network.

    Yields:
        (last, result) of every block, in the order of the targets.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[int, Future[Result]]] = deque()
        try:
            for first in range(0, n_targets, _BLOCK):
                last = min(first + _BLOCK, n_targets)
                waiting.append((last, pool.submit(work, first, last)))
                if len(waiting) > 2 * threads:
                    last, future = waiting.popleft()
                    yield last, future.result()
            while waiting:
                last, future = waiting.popleft()
                yield last, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
