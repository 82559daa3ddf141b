"""Records: JSON objects that one command writes and another reads, with a checksum of what they hold."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from v1builder.schema.errors import StorageError, V1BuilderError
from v1builder.schema.files import write_json

#: Key of the checksum: SHA-256 of the other keys, as they are written.
_SEAL: Final = "sha256"
#: More than any record of ours; a larger file is another one.
_LARGEST_BYTES: Final = 1 << 30


def read_json(
    path: Path | str, *, fix: str, error: type[V1BuilderError] = StorageError
) -> dict[str, Any]:
    """The JSON object in a file that one of our commands wrote.

    Args:
        path: of the file.
        fix: what a person should do where it is missing or damaged.
        error: to raise then.

    Raises:
        V1BuilderError: the file is missing, is no regular file, cannot be read, or holds no JSON object.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise error.of("a file is missing", path, "no such file", fix)
        if not path.is_file():  # a pipe would be read forever
            raise error.of("this is not a file", path, "a folder, pipe or device", fix)
        if path.stat().st_size > _LARGEST_BYTES:
            raise error.of("a file is too large", path, f"{path.stat().st_size} bytes", fix)
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as refused:
        got = refused.strerror or refused
        raise error.of("a file cannot be read", path, got, "check its permissions") from None
    except (ValueError, RecursionError) as damaged:
        raise error.of("a file is damaged", path, damaged, fix) from None
    if not isinstance(value, dict):
        raise error.of("a file is damaged", path, f"{type(value).__name__}, no object", fix)
    return value


def write_record(path: Path | str, value: dict[str, Any]) -> None:
    """Write a JSON object with a checksum of what it holds."""
    write_json(path, {**value, _SEAL: _checksum(value)})


def read_record(
    path: Path | str,
    *,
    fix: str,
    keys: Iterable[str] = (),
    error: type[V1BuilderError] = StorageError,
) -> dict[str, Any]:
    """What `write_record` wrote.

    Args:
        path: of the file.
        fix: what a person should do where it is missing or damaged.
        keys: that it must have.
        error: to raise then.

    Raises:
        V1BuilderError: as `read_json`, or it is not what was written.
    """
    value = read_json(path, fix=fix, error=error)
    # Records of earlier versions have no checksum.
    found = value.pop(_SEAL, None)
    if found is not None and found != _checksum(value):
        raise error.of("a file is not as it was written", path, "another checksum", fix)
    missing = [key for key in keys if key not in value]
    if missing:
        raise error.of("a file is damaged", path, f"without {', '.join(missing)}", fix)
    return value


def _checksum(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, allow_nan=False).encode()).hexdigest()
