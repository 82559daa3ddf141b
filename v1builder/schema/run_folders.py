"""Folders of runs, which grow while they are made, in which an interrupted run goes on."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from v1builder.schema.errors import StorageError
from v1builder.schema.files import NO_ROOM, clear_temporaries, storage_error
from v1builder.schema.locks import locked

_LOCK: Final = ".lock"


def check_run_folder(
    out: Path | str, *, holds: Sequence[str], goes_on: bool, option: str = "--resume"
) -> None:
    """Raise StorageError unless a run may be written to `out`: asked before long work, too.

    Args:
        out: the folder.
        holds: names of files of which a run that was begun has at least one.
        goes_on: whether what such a run left is wanted; else the folder must hold nothing.
        option: of the command line, by which it is.
    """
    out = Path(out)
    try:
        if out.exists() and not out.is_dir():
            raise StorageError.of("the output already exists", out, "a file", "choose another")
        found = [path.name for path in out.iterdir() if path.name != _LOCK] if out.exists() else []
    except OSError as error:
        raise storage_error(error, out) from error
    # What a process leaves that was killed in its first write.
    left = [name for name in found if not (name.startswith(".") and ".tmp-" in name)]
    begun = any(name in holds for name in left)
    if not left or (goes_on and begun):
        return
    shown = ", ".join(sorted(left)[:3]) + (" ..." if len(left) > 3 else "")
    if begun:
        fix = f"pass {option} to go on with this run, or choose another --out"
        raise StorageError.of("the output already exists", out, f"a run: {shown}", fix)
    raise StorageError.of(
        "the output holds something else than such a run", out, shown, "choose another --out"
    )


@contextmanager
def run_folder(
    out: Path | str, *, holds: Sequence[str], goes_on: bool = True, option: str = "--resume"
) -> Iterator[Path]:
    """Make the folder of a run; no other process can write a run there meanwhile.

    A new folder in which nothing was made is removed again.

    Args:
        out: the folder.
        holds: as `check_run_folder`.
        goes_on: likewise.
        option: likewise.

    Raises:
        StorageError: as `check_run_folder`; another process is at work there; the file system refused.
    """
    out = Path(out)
    check_run_folder(out, holds=holds, goes_on=goes_on, option=option)
    with ExitStack() as stack:
        try:
            if not out.exists():
                out.mkdir(parents=True)
                stack.callback(_remove_if_empty, out)
            stack.enter_context(locked(out / _LOCK, out))
            check_run_folder(out, holds=holds, goes_on=goes_on, option=option)
            clear_temporaries(out)
        except OSError as error:
            raise storage_error(error, out) from error
        try:
            yield out
        except OSError as error:
            if error.errno in NO_ROOM:
                raise storage_error(error, out) from error
            raise


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
