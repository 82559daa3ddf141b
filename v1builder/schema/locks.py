"""One process at a time writes an output."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from v1builder.schema.errors import StorageError

#: Long enough for the lock of a process that has just ended, too short for a person to notice.
_PATIENCE_S: Final = 0.2


@contextmanager
def locked(lock: Path, output: object) -> Iterator[None]:
    """Keep every other process out of an output.

    The system frees the lock of a process that was killed; only its empty file stays, until the next one.

    Args:
        lock: file that stands for the output while it is written, in an existing folder.
        output: what is written, for the error.

    Raises:
        StorageError: another process writes it.
        OSError: the file system refused.
    """
    held = FileLock(lock, timeout=_PATIENCE_S)
    try:
        held.acquire()
    except Timeout:
        raise StorageError.of(
            "another process is writing this output",
            output,
            fix="wait until it has ended, or choose another --out",
        ) from None
    try:
        yield
    finally:
        # While the lock is held: who waits for it sees that the file lost its name, and makes a new one.
        with suppress(OSError):
            lock.unlink(missing_ok=True)
        held.release()
