"""Two names of a file system change places in one step, which Python does not offer."""

import ctypes
import errno
import os
import sys
from pathlib import Path
from typing import Final

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_RENAME_SWAP: Final = 2
#: What a kernel or file system says that does not have it, such as NFS.
_NOT_THERE: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def exchange(one: Path, other: Path) -> bool:
    """Let two existing files or folders change places in one step.

    Returns:
        Whether it was done: not every system and file system can.

    Raises:
        OSError: it can, and refused.
    """
    a, b = os.fsencode(one), os.fsencode(other)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            failed = library.renamex_np(a, b, _RENAME_SWAP)
        else:
            failed = library.renameat2(_AT_FDCWD, a, _AT_FDCWD, b, _RENAME_EXCHANGE)
    except (AttributeError, OSError, TypeError):  # no such function; TypeError on Windows
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in _NOT_THERE:
        return False
    raise OSError(number, os.strerror(number), str(one))
