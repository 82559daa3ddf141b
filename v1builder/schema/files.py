"""Writing files so that nothing half-written ever carries its final name."""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from v1builder.schema.errors import StorageError


def _storage_error(error: OSError, path: Path) -> StorageError:
    fixes = {
        errno.ENOSPC: "free some disk space or choose another folder, then run the command again",
        errno.EACCES: "choose a folder you may write to",
        errno.EPERM: "choose a folder you may write to",
        errno.EROFS: "choose a folder that is not read-only",
        errno.ENOTDIR: "a part of the path is a file; choose another folder",
    }
    fix = fixes.get(error.errno or 0, "check the path and the file system")
    return StorageError.of("cannot write the output", path, error.strerror or error, fix)


def _temporary_sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`.

    On any error, Ctrl-C included, the temporary file is removed and `path` stays as it was.

    Raises:
        StorageError: the file system refused (no space, no permission ...).
    """
    path = Path(path)
    temporary = _temporary_sibling(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _storage_error(error, path) from error
    finally:
        with suppress(OSError):  # where the folder cannot exist, neither can the file
            temporary.unlink(missing_ok=True)


def check_free(path: Path | str, *, overwrite: bool = False) -> None:
    """Raise StorageError unless a folder may be written to `path`: asked before long work, too."""
    path = Path(path)
    if path.exists() and not overwrite and (not path.is_dir() or any(path.iterdir())):
        raise StorageError.of(
            "the output already exists",
            path,
            "a non-empty folder" if path.is_dir() else "a file",
            "choose another --out, or pass --overwrite to replace it",
        )


@contextmanager
def atomic_folder(path: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it is renamed to `path`.

    Args:
        path: the final folder. It must not exist, or be empty, unless `overwrite`.
        overwrite: replace an existing folder once the new one is complete.

    Raises:
        StorageError: `path` is in the way or the file system refused.
    """
    path = Path(path)
    check_free(path, overwrite=overwrite)
    temporary = _temporary_sibling(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.is_dir():
            retired = _temporary_sibling(path)
            path.rename(retired)
            temporary.rename(path)
            shutil.rmtree(retired)
        else:
            temporary.rename(path)
    except OSError as error:
        raise _storage_error(error, path) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` to `path` atomically as indented JSON; NaN is refused, keys keep their order."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256_of(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_folder(folder: Path | str) -> dict[str, str]:
    """SHA-256 of every regular file below `folder`, by path relative to it, sorted."""
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
