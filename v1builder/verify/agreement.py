"""What an agreement with other software is, and the register of all cases.

A case is a function that runs ours and a reference on the same input and measures how far apart they
are. It takes an empty folder for its files and returns a `Measured`; the register adds what is
compared with what, times it, and says "not run" where the reference software is not installed.

    @case("GLIF3 cells, noise", reference="NEST", compared="spikes of 645 cells, 1 s", needs="nest")
    def glif3_noise(folder: Path) -> Measured:
        ...
        return Measured(result="12 345 of 12 345 spikes at the same step", value=1.0, limit=1.0,
                        at_least=True)
"""

import importlib.util
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from v1builder.schema.errors import ConfigError

#: Reference software by the name a case needs it under, and the distribution that has its version.
SOFTWARE: Final[dict[str, str]] = {
    "nest": "nest-simulator",
    "bmtk": "bmtk",
    "libsonata": "libsonata",
}
#: References whose output is stored in the project, with the script that made it.
STORED: Final = ("allensdk traces",)


@dataclass(frozen=True)
class Measured:
    """What a case found.

    Attributes:
        result: for people, for example "12 345 of 12 345 spikes at the same step".
        value: the number that decides.
        limit: what it must not exceed, or with `at_least` not fall below.
        at_least: whether larger is better.
    """

    result: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def passed(self) -> bool:
        """Whether the value is within its limit; NaN never is."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True)
class Agreement:
    """One row of the table.

    Attributes:
        case: name.
        topic: module the case is in: the part of the work it checks.
        reference: software or definition it is compared with.
        compared: what is compared.
        result: for people; "not run: ..." where the reference software is missing.
        value, limit: see `Measured`; None when not run or not a finite number.
        passed: None when not run.
        seconds: time taken.
    """

    case: str
    topic: str
    reference: str
    compared: str
    result: str
    value: float | None
    limit: float | None
    passed: bool | None
    seconds: float


@dataclass(frozen=True)
class Case:
    """A registered case; calling it with an empty folder runs it."""

    name: str
    topic: str
    reference: str
    compared: str
    needs: tuple[str, ...]
    slow: bool
    measure: Callable[[Path], Measured]

    def missing(self) -> list[str]:
        """Software it needs that is not installed."""
        return [name for name in self.needs if name in SOFTWARE and not _installed(name)]

    def __call__(self, folder: Path) -> Agreement:
        """Run the case in `folder`, which must exist and be empty."""
        missing = self.missing()
        if missing:
            packages = ", ".join(SOFTWARE[name] for name in missing)
            return self._agreement(f"not run: needs {packages}", None, None, None, 0.0)
        start = time.perf_counter()
        found = self.measure(folder)
        seconds = time.perf_counter() - start
        value = float(found.value) if math.isfinite(found.value) else None  # JSON has no NaN
        limit = float(found.limit)
        return self._agreement(found.result, value, limit, bool(found.passed), seconds)

    def _agreement(
        self,
        result: str,
        value: float | None,
        limit: float | None,
        passed: bool | None,
        seconds: float,
    ) -> Agreement:
        row = (self.name, self.topic, self.reference, self.compared)
        return Agreement(*row, result, value, limit, passed, seconds)

    def failed(self, error: Exception) -> Agreement:
        """The row of a case that raised."""
        last_words = " ".join(str(error).split())[-300:]
        result = f"error: {type(error).__name__}: {last_words}"
        return self._agreement(result, None, None, False, 0.0)


#: Every case, in the order in which they were registered.
CASES: dict[str, Case] = {}


def case(
    name: str,
    *,
    reference: str,
    compared: str,
    needs: str | tuple[str, ...] = (),
    slow: bool = False,
) -> Callable[[Callable[[Path], Measured]], Callable[[Path], Measured]]:
    """Register a function as a case.

    Args:
        name: unique name of the case, for people and for `--select`.
        reference: software or definition it is compared with.
        compared: what is compared.
        needs: software, of `SOFTWARE` or `STORED`.
        slow: takes more than a few seconds.

    Raises:
        ConfigError: the name is taken, or the needed software is not known.
    """
    needed = (needs,) if isinstance(needs, str) else needs
    unknown = [item for item in needed if item not in SOFTWARE and item not in STORED]
    if name in CASES or unknown:
        what = "software is not known" if unknown else "a case of this name exists"
        raise ConfigError.of(what, f"case '{name}'", ", ".join(unknown), ", ".join(SOFTWARE))

    def register(measure: Callable[[Path], Measured]) -> Callable[[Path], Measured]:
        function = measure.func if isinstance(measure, partial) else measure
        topic = function.__module__.rpartition(".")[2]
        CASES[name] = Case(name, topic, reference, compared, needed, slow, measure)
        return measure

    return register


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
