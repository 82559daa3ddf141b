"""The page of a comparison while it runs: what finished seeds gave, without tests.

Tests are made once, when all seeds are in. Who tests after every seed and stops where it suits finds
differences that are not there far more often than in 5 % of cases.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from v1builder.report import write_report
from v1builder.report.page import UNFINISHED
from v1builder.schema.records import write_record

#: Of the time of a run, at most so much goes into pages.
_SHARE: Final = 0.05
#: What only the whole may say. Of the family the name of the outcome stays.
_TESTS: Final = ("sentence", "verdicts", "co_primary", "power", "dose", "mixed")
_OF_A_TEST: Final = ("verdict", "equivalent", "d_z")


class Pages:
    """Writes RUN/unfinished.json and the page of a run, as often as there is time for it."""

    def __init__(self, out: Path):
        self.out = out
        self._took = 0.0
        self._last = float("-inf")

    def refresh(self, found: Callable[[], dict[str, Any]], *, done: int, seeds: int) -> None:
        """Write the page, unless the last one was written just now.

        Args:
            found: makes the comparison of what there is.
            done: seeds of which all conditions are finished.
            seeds: of the experiment.
        """
        started = time.monotonic()
        if started - self._last < self._took / _SHARE:
            return
        write_record(self.out / UNFINISHED, untested(found(), done=done, seeds=seeds))
        write_report(self.out)
        self._last = time.monotonic()
        self._took = self._last - started

    def finish(self) -> None:
        """Write the page of the whole, from comparison.json."""
        (self.out / UNFINISHED).unlink(missing_ok=True)
        write_report(self.out)


def untested(comparison: dict[str, Any], *, done: int, seeds: int) -> dict[str, Any]:
    """A comparison of some of its seeds, without tests, and how many of them are finished."""
    kept = {name: value for name, value in comparison.items() if name not in _TESTS}
    outcome = comparison["family"]["primary"]["outcome"]
    differences = [
        {k: v for k, v in row.items() if not k.startswith("p_") and k not in _OF_A_TEST}
        for row in comparison["differences"]
    ]
    return {
        **kept,
        "family": {"primary": {"outcome": outcome}},
        "differences": differences,
        "unfinished": {"done": done, "seeds": seeds},
    }
