"""Checkpoints and metrics that survive an interruption and continue bit for bit.

A checkpoint has a checksum of every part (CRC-32, of the zip format that torch writes) and holds the metrics
up to its step, so that a log that was damaged or lost comes back with the run.
"""

import json
import signal
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Final, Protocol

import torch
from torch import Tensor

from v1builder.schema.errors import ConfigError, StorageError
from v1builder.schema.files import atomic_file, write_text

CHECKPOINT: Final = "checkpoint.pt"
METRICS: Final = "metrics.jsonl"
_FIX: Final = "remove it and what was computed from it: the training then begins anew"


class _Remembered:
    """A file that keeps the error of a write, of which torch says no more than that there was one."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write all of it."""
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """What torch does at the end; closing the file does it, too."""


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` to folder/checkpoint.pt atomically.

    Raises:
        StorageError: the file system refused; what was there before stays.
    """
    with atomic_file(folder / CHECKPOINT) as temporary, temporary.open("wb") as file:
        remembered = _Remembered(file)
        try:
            torch.save(state, remembered)  # pyright: ignore[reportArgumentType]
        except RuntimeError:
            if remembered.error is not None:
                raise remembered.error from None
            raise


def load_checkpoint(
    folder: Path, expected: dict[str, Any], *, finished: int | None = None
) -> dict[str, Any] | None:
    """The checkpoint of `folder`, or None when there is none yet.

    Args:
        folder: a run.
        expected: values stored under "made_by" that must be equal for the run to go on.
        finished: steps after which it must have been written, when only the end of the training will do.

    Raises:
        StorageError: the file cannot be read, is damaged, or has numbers that are not finite.
        ConfigError: it was made by other settings.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    state = _read(path)
    step = state.get("step")
    if not isinstance(step, int) or step < 0 or not isinstance(state.get("made_by"), dict):
        raise StorageError.of("the checkpoint is damaged", path, f"step {step}", _FIX)
    if finished is not None and step != finished:
        got = f"step {step} of {finished}"
        raise StorageError.of("the checkpoint is not of the end of the training", path, got, _FIX)
    differing = [key for key, value in expected.items() if state["made_by"].get(key) != value]
    if differing:
        raise ConfigError.of(
            "the run was made by other settings",
            path,
            ", ".join(
                f"{key}: {state['made_by'].get(key)!r} -> {expected[key]!r}" for key in differing
            ),
            "restore the settings, or train into another --out",
        )
    wrong = next(_not_finite(state), None)
    if wrong is not None:
        raise StorageError.of("the checkpoint has numbers that are not finite", path, wrong, _FIX)
    return state


def _read(path: Path) -> dict[str, Any]:
    """What a file holds, its checksums compared."""
    try:
        if not path.is_file():  # a pipe would be read forever
            raise StorageError.of("the checkpoint is not a file", path, "", _FIX)
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()
        if damaged is not None:
            raise StorageError.of("the checkpoint is damaged", path, f"checksum of {damaged}", _FIX)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except StorageError:
        raise
    except PermissionError as error:
        fix = "give yourself the right to read it"
        raise StorageError.of("the checkpoint cannot be read", path, error, fix) from None
    except Exception as error:
        raise StorageError.of("the checkpoint cannot be read", path, error, _FIX) from error
    if not isinstance(state, dict):
        raise StorageError.of("the checkpoint is damaged", path, type(state).__name__, _FIX)
    return state


def _not_finite(value: Any, name: str = "") -> Iterator[str]:
    """Names of the numbers that are not finite, such as classifier.network.weight."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            yield name
    elif isinstance(value, dict | list | tuple):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            yield from _not_finite(part, f"{name}.{key}" if name else str(key))


class _Restorable(Protocol):
    """A module, or an optimizer."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take over what `state_dict` gave."""


def restore(into: _Restorable, saved: Any, folder: Path) -> None:
    """Put what a checkpoint of `folder` holds into a module or an optimizer.

    Raises:
        StorageError: it does not fit, such as that of another network.
    """
    path = folder / CHECKPOINT
    try:
        into.load_state_dict(saved)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        got = str(error).splitlines()[0] if str(error) else repr(error)
        raise StorageError.of("the checkpoint does not fit the network", path, got, _FIX) from None


def check_optimizer(optimizer: torch.optim.Optimizer, step: int, folder: Path) -> None:
    """Raise StorageError unless the state of Adam is one that `step` steps can leave."""
    problem = None
    if step > 0 and not optimizer.state:
        problem = "nothing remembered of the steps before"
    for parameter, state in optimizer.state.items():
        moments = [state.get(name) for name in ("exp_avg", "exp_avg_sq")]
        if not all(isinstance(m, Tensor) and m.shape == parameter.shape for m in moments):
            problem = "moments of another shape"
        elif bool((state["exp_avg_sq"] < 0).any()):
            problem = "a negative mean square"
        elif not 1 <= float(state.get("step", -1)) <= step:
            problem = f"{float(state.get('step', -1)):g} steps of {step}"
    if problem is not None:
        path = folder / CHECKPOINT
        raise StorageError.of("the checkpoint has no valid state of Adam", path, problem, _FIX)


class MetricsLog:
    """One JSON object per line in folder/metrics.jsonl."""

    def __init__(self, folder: Path, *, text: str = "", writes: bool = True):
        """Open the log.

        Args:
            folder: of the run.
            text: lines that it begins with, those of a checkpoint; what the file had is forgotten.
            writes: False in a process that leaves the writing to another.
        """
        self.path = folder / METRICS
        self._lines = [(json.loads(line)["step"], line) for line in text.splitlines(keepends=True)]
        self._writes = writes
        if writes:
            write_text(self.path, text)

    def before(self, step: int) -> str:
        """The lines of the steps before this one."""
        return "".join(line for of, line in self._lines if of < step)

    def write(self, record: dict[str, Any]) -> None:
        """Append one record."""
        if not self._writes:
            return
        self._lines.append((record["step"], json.dumps(record) + "\n"))
        with self.path.open("a", encoding="utf-8") as file:
            file.write(self._lines[-1][1])


def read_metrics(folder: Path | str) -> list[dict[str, Any]]:
    """All complete records of a run; a last line cut short by a crash is left out.

    Raises:
        StorageError: another line is damaged.
    """
    path = Path(folder) / METRICS
    if not path.exists():
        return []
    fix = "train again with --resume: the checkpoint has the lines before its step"
    try:
        if not path.is_file():
            raise StorageError.of("the log of a run is not a file", path, "", fix)
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise StorageError.of("the log of a run is damaged", path, error, fix) from None
    records = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise StorageError.of(
                "the log of a run is damaged", f"{path}, line {number}", error, fix
            ) from None
        if not isinstance(record, dict) or not {"step", "split"} <= record.keys():
            raise StorageError.of(
                "the log of a run is damaged", f"{path}, line {number}", line[:80], fix
            )
        records.append(record)
    return records


@contextmanager
def stop_after_step() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C (or SIGTERM) into a flag, so that the running step can finish.

    A second Ctrl-C interrupts at once. Outside the main thread signals are left alone.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(_signal: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    previous = {
        number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
