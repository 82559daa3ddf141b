"""Checkpoints and metrics that survive an interruption and continue bit for bit."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from v1builder.schema.errors import ConfigError, StorageError
from v1builder.schema.files import atomic_file, write_text

CHECKPOINT = "checkpoint.pt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` to folder/checkpoint.pt atomically."""
    with atomic_file(folder / CHECKPOINT) as temporary:
        torch.save(state, temporary)


def load_checkpoint(folder: Path, expected: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint of `folder`, or None when there is none yet.

    Args:
        folder: a run.
        expected: values stored under "made_by" that must be equal for the run to go on.

    Raises:
        StorageError: the file cannot be read.
        ConfigError: it was made by other settings.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise StorageError.of(
            "the checkpoint cannot be read", path, error, "delete the run folder and train again"
        ) from error
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
    return state


class MetricsLog:
    """One JSON object per line in folder/metrics.jsonl."""

    def __init__(self, folder: Path, *, keep_before: int, writes: bool = True):
        """Open the log, keeping the records of steps before `keep_before`.

        Args:
            folder: of the run.
            keep_before: first step whose records are written again.
            writes: False in a process that leaves the writing to another.
        """
        self.path = folder / "metrics.jsonl"
        self.writes = writes
        if not writes:
            return
        kept = [line for line in read_metrics(folder) if line["step"] < keep_before]
        write_text(self.path, "".join(json.dumps(record) + "\n" for record in kept))

    def write(self, record: dict[str, Any]) -> None:
        """Append one record."""
        if not self.writes:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def read_metrics(folder: Path | str) -> list[dict[str, Any]]:
    """All complete records of a run; a last line cut short by a crash is left out."""
    path = Path(folder) / "metrics.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


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
