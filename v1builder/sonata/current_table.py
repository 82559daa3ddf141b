"""Tables of injected currents, as BMTK reads them: an amplitude (pA) lasts until the next time (ms)."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from v1builder.schema.errors import NetworkError
from v1builder.sonata.foreign import parsed, read_rows

Array = NDArray[np.float64]

#: Columns of times and amplitudes unless a file says otherwise.
COLUMNS: Final = ("timestamps", "amplitudes")


def read_current(
    path: Path, columns: tuple[str, str] = COLUMNS, separator: str = " "
) -> tuple[Array, Array]:
    """Times (ms) and amplitudes (pA) of a table.

    Raises:
        NetworkError: a column is missing, a value is no finite number, or times do not ascend.
    """
    header, rows = read_rows(path, separator)
    found = []
    for key, name in zip(("timestamps_column", "amplitudes_column"), columns, strict=True):
        if name not in header:
            raise NetworkError.of(
                "a column is missing", path, ", ".join(header), f"name it as '{key}'"
            )
        try:
            found.append(np.array([parsed(row[header.index(name)], float) for row in rows]))
        except ValueError as error:
            raise NetworkError.of(
                "a value is not a number", f"{path}, column {name}", error
            ) from None
    times, amplitudes = found
    check_current(times, amplitudes, path)
    return times, amplitudes


def check_current(times: Array, amplitudes: Array, path: Path) -> None:
    """Refuse what is no course of a current.

    Raises:
        NetworkError: naming what is wrong.
    """
    if len(times) == 0:
        raise NetworkError.of("there is no current in the file", path, fix="correct the file")
    if not (np.isfinite(times).all() and np.isfinite(amplitudes).all()):
        raise NetworkError.of("a time or an amplitude is not finite", path, fix="correct the file")
    if np.any(np.diff(times) <= 0):
        raise NetworkError.of("times do not ascend", path, fix="sort the rows, each time once")


def held_current(times: Array, amplitudes: Array, n_steps: int, dt: float) -> Array:
    """[n_steps] pA, what holds at the onset of each step; nothing before the first time."""
    # 1e-9 steps absorb the rounding of a product such as 3 * 0.1.
    onset = np.arange(n_steps) * dt
    latest = np.searchsorted(times, onset + 1e-9 * dt, side="right") - 1
    return np.where(latest >= 0, amplitudes[latest.clip(min=0)], 0.0)
