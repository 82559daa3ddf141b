"""Where numba keeps what it has compiled, and until when."""

import contextlib
import hashlib
import os
import stat
import tempfile
from functools import cache
from pathlib import Path

import numba
from numba.core.caching import FunctionCache

from v1builder.schema.errors import StorageError


@cache
def use_writable_cache() -> None:
    """See to it that functions compiled with `cache=True` can be kept; called before they are defined.

    numba keeps them beside their source or in the home. In a read-only installation without a home, as in
    many containers, it refuses to define them; then they are kept in a folder for temporary files, which
    nobody else can write: what lies there is run.

    Raises:
        StorageError: nothing can be written anywhere.
    """
    try:
        FunctionCache(_example)
    except RuntimeError:
        folder = str(_temporary_folder())
        numba.config.CACHE_DIR = folder  # pyright: ignore[reportAttributeAccessIssue]
        os.environ["NUMBA_CACHE_DIR"] = folder  # for processes that this one starts


def forget_stale(folder: Path, *patterns: str) -> None:
    """Remove compiled functions of other sources from a folder's __pycache__.

    numba compares a compiled function with its own file alone. Where another file that it calls, or takes
    types from, has changed, it would run what was compiled before, or fail to read it.

    Args:
        folder: of sources with compiled functions.
        patterns: of the names of those sources, and of what they take types from.
    """
    sources = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    found = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    compiled = folder / "__pycache__"
    stamp = compiled / "kernels.sha256"
    if stamp.exists() and stamp.read_text() == found:
        return
    # Where nothing can be written numba keeps nothing here either.
    with contextlib.suppress(OSError):
        for path in compiled.glob("*.nb[ic]"):
            path.unlink(missing_ok=True)
        compiled.mkdir(exist_ok=True)
        stamp.write_text(found)


def _example() -> None:
    """A function beside which numba tries to keep something."""


def _temporary_folder() -> Path:
    user = getattr(os, "getuid", int)()
    try:
        folder = Path(tempfile.gettempdir()) / f"v1builder-numba-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        own = stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077
        return folder if own else Path(tempfile.mkdtemp(prefix="v1builder-numba-"))
    except OSError as error:
        raise StorageError.of(
            "there is no place to keep compiled functions",
            "the installation, the home and the folder for temporary files",
            error,
            "set NUMBA_CACHE_DIR to a folder that you may write to",
        ) from None
