"""Writing files so that nothing half-written ever carries its final name."""

import errno
import glob
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from v1builder.schema.errors import StorageError
from v1builder.schema.exchange import exchange
from v1builder.schema.locks import locked

#: Errors in writing that are nobody's fault but the place's.
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

_TEMPORARY: Final = re.compile(r"\.(?P<name>.+)\.tmp-(?P<host>.+)-(?P<process>\d+)-[0-9a-f]{8}")


def storage_error(error: OSError, path: Path) -> StorageError:
    """What a person can do about an error of the file system in writing `path`."""
    fixes = {
        errno.ENOSPC: "free some disk space or choose another folder, then run the command again",
        errno.EDQUOT: "free some of your quota or choose another folder, then run the command again",
        errno.EFBIG: "choose a folder whose file system takes larger files",
        errno.EACCES: "choose a folder you may write to",
        errno.EPERM: "choose a folder you may write to",
        errno.EROFS: "choose a folder that is not read-only",
        errno.ENOTDIR: "a part of the path is a file; choose another folder",
        errno.ENAMETOOLONG: "choose a shorter name",
        errno.ELOOP: "the path is a link to itself; choose another",
    }
    fix = fixes.get(error.errno or 0, "check the path and the file system")
    return StorageError.of("cannot write the output", path, error.strerror or error, fix)


def _destination(path: Path | str) -> Path:
    """Where an output goes: a link is followed, so that it stays one.

    Raises:
        StorageError: it would replace the working directory, or something that is no file or folder.
    """
    path = Path(path)
    try:
        if path.is_symlink() or path.name in ("", ".."):
            path = Path(os.path.realpath(path))
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise StorageError.of(
                "the output is neither a file nor a folder", path, fix="choose another --out"
            )
        if path.is_dir() and Path.cwd().is_relative_to(path.resolve()):
            raise StorageError.of(
                "the output is the working directory, or holds it",
                path,
                fix="name a folder in it, such as --out network",
            )
    except OSError as error:
        raise storage_error(error, path) from error
    return path


def _temporary_sibling(path: Path) -> Path:
    """A new name beside `path`, which says what process it belongs to."""
    return path.with_name(
        f".{path.name}.tmp-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    )


def _is_abandoned(temporary: Path) -> bool:
    """Whether a temporary belongs to a process of this machine that has ended."""
    named = _TEMPORARY.fullmatch(temporary.name)
    if named is None or named["host"] != socket.gethostname():
        return False
    try:
        os.kill(int(named["process"]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # it is another user's
        return False
    return False


def _remove(path: Path) -> None:
    """Remove a file or a folder, as far as the file system lets us."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _temporaries_of(path: Path) -> list[Path]:
    return list(path.parent.glob(f".{glob.escape(path.name)}.tmp-*"))


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`.

    On any error, Ctrl-C included, the temporary file is removed and `path` stays as it was. What a killed
    process left of the same file is removed. A link is followed.

    Raises:
        StorageError: the file system refused (no space, no permission ...).
    """
    path = _destination(path)
    temporary = _temporary_sibling(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in _temporaries_of(path):
            if _is_abandoned(left):
                _remove(left)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        with suppress(OSError):  # where the folder cannot exist, neither can the file
            temporary.unlink(missing_ok=True)


def check_free(path: Path | str, *, overwrite: bool = False) -> None:
    """Raise StorageError unless a folder may be written to `path`: asked before long work, too."""
    path = Path(path)
    try:
        in_the_way = path.exists() and (not path.is_dir() or any(path.iterdir()))
    except OSError as error:
        raise storage_error(error, path) from error
    if in_the_way and not overwrite:
        raise StorageError.of(
            "the output already exists",
            path,
            "a non-empty folder" if path.is_dir() else "a file",
            "choose another --out, or pass --overwrite to replace it",
        )


@contextmanager
def atomic_folder(path: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it is renamed to `path`.

    Meanwhile no other process can write to `path`. What was there before changes places with the new folder
    in one step where the system can do that, so that there is always a whole one. A link is followed.

    Args:
        path: the final folder. It must not exist, or be empty, unless `overwrite`.
        overwrite: replace an existing folder once the new one is complete.

    Raises:
        StorageError: `path` is in the way, another process writes it, or the file system refused.
    """
    path = _destination(path)
    check_free(path, overwrite=overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.lock"), path):
            _recover(path)
            check_free(path, overwrite=overwrite)
            temporary = _temporary_sibling(path)
            try:
                temporary.mkdir()
                yield temporary
                _put(temporary, path, overwrite)
            finally:
                _remove(temporary)
    except OSError as error:
        raise storage_error(error, path) from error


def _retired(path: Path) -> Path:
    """The name of what was at `path`, between two renames."""
    return path.with_name(f".{path.name}.before")


def _recover(path: Path) -> None:
    """Make good what a killed process left of `path`; only who holds its lock may do it."""
    for left in _temporaries_of(path):
        _remove(left)
    retired = _retired(path)
    if retired.exists():
        if path.exists():
            _remove(retired)
        else:
            retired.rename(path)


def _put(temporary: Path, path: Path, overwrite: bool) -> None:
    """Give a complete folder its name."""
    if not overwrite or not path.exists():
        try:
            temporary.rename(path)  # not onto a folder that holds something
        except OSError:
            check_free(path)
            raise
    elif not exchange(temporary, path):
        retired = _retired(path)
        path.rename(retired)
        temporary.rename(path)
        _remove(retired)


def clear_temporaries(folder: Path) -> None:
    """Remove what killed processes left of files below a folder; only who alone writes there may do it."""
    for left in folder.rglob(".*.tmp-*"):
        if _TEMPORARY.fullmatch(left.name):
            _remove(left)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` to `path` atomically as indented JSON; NaN is refused, keys keep their order."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256_of(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's bytes.

    Raises:
        OSError: it cannot be read, or is no regular file: a pipe might be read forever.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_folder(folder: Path | str) -> dict[str, str]:
    """SHA-256 of every regular file below `folder`, by path relative to it, sorted."""
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
