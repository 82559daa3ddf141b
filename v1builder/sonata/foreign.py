"""Files that others wrote: looked at before they are read, JSON and tables of text read strictly.

A path may name anything: a folder, a device, a pipe that nobody writes to, or more than memory holds. JSON
may be nested beyond what Python can walk, and name a key twice, of which readers take the last.
"""

import csv
import io
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from v1builder.schema.errors import NetworkError

#: Largest file of text: node sets may list millions of ids.
_LARGEST_TEXT: Final = 1 << 29
#: Deepest nesting of a JSON file.
_DEEPEST: Final = 60


def require_file(path: Path, fix: str = "build the network again or correct the path") -> int:
    """The size (bytes) of a regular file.

    Raises:
        NetworkError: it is missing, may not be read, or is no regular file.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        what = "the path is not one" if isinstance(error, ValueError) else "a file is missing"
        if isinstance(error, PermissionError):
            what, fix = "permission denied", "ask for the permission to read it"
        raise NetworkError.of(what, path, getattr(error, "strerror", None) or error, fix) from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device, a pipe or a socket"
        raise NetworkError.of("this is not a file", path, kind, fix)
    return found.st_size


def read_text(path: Path, fix: str = "build the network again or correct the path") -> str:
    """The contents of a UTF-8 file.

    Raises:
        NetworkError: as `require_file`; or it is not UTF-8, or too large.
    """
    size = require_file(path, fix)
    if size > _LARGEST_TEXT:
        raise NetworkError.of("the file is too large", path, f"{size} bytes", "correct the path")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise NetworkError.of("the file is not UTF-8 text", path, error, "correct it") from None
    except OSError as error:
        what = "permission denied" if isinstance(error, PermissionError) else "cannot be read"
        raise NetworkError.of(what, path, error.strerror or error, fix) from None


def read_json(path: Path | str) -> dict[str, Any]:
    """Read a JSON file that holds one dictionary.

    Raises:
        NetworkError: the file is missing, is not JSON or not a dictionary, is nested too deeply, or has a key
            twice.
    """
    path = Path(path)
    text = read_text(path)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise NetworkError.of("a key occurs twice", path, twice, "remove one of the two")
        return found

    try:
        value = json.loads(text, object_pairs_hook=once)
        depth = _depth(value)
    except RecursionError:
        value, depth = None, _DEEPEST + 1
    except ValueError as error:
        raise NetworkError.of(
            "the file is not valid JSON", path, error, "correct the file"
        ) from None
    if depth > _DEEPEST:
        raise NetworkError.of("the file is nested too deeply", path, fix="correct the file")
    if not isinstance(value, dict):
        raise NetworkError.of(
            "the file does not hold a JSON dictionary",
            path,
            type(value).__name__,
            "correct the file",
        )
    return value


def _depth(value: Any) -> int:
    """How deeply lists and dictionaries lie in one another; no recursion, which has an end."""
    level, depth = [value], 0
    while level:
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        level, depth = inner, depth + 1
    return depth


def read_rows(path: Path, separator: str = " ") -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of text, every row as long as the header.

    Columns are separated by one or several spaces, or by one comma. In older tables an absent value stands
    between two single spaces; a table whose rows fit only so is read so.

    Raises:
        NetworkError: the file is missing or empty, a column has two values or a row is of another length.
    """
    text = read_text(path)

    def rows(collapse: bool) -> list[list[str]]:
        lines = io.StringIO(text, newline="")
        found = csv.reader(lines, delimiter=separator, skipinitialspace=collapse, strict=True)
        spaces = collapse and separator == " "  # one at the end of a line separates nothing
        kept = (row[:-1] if spaces and row and row[-1] == "" else row for row in found)
        return [row for row in kept if row]

    try:
        table = rows(collapse=True)
        if any(len(row) != len(table[0]) for row in table):
            single = rows(collapse=False)
            table = single if all(len(row) == len(single[0]) for row in single) else table
    except csv.Error as error:
        raise NetworkError.of("the file is not a table of text", path, error) from None
    if not table:
        raise NetworkError.of("the table is empty", path, fix="write the file again")
    header, *body = table
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise NetworkError.of("a column occurs twice", path, twice[0], "remove one of the two")
    for number, row in enumerate(body):
        if len(row) != len(header):
            raise NetworkError.of(
                "a row has not one value per column",
                f"{path}, row {number + 1}",
                f"{len(row)} values for {len(header)} columns",
                "write NULL for an absent value, and quotes around a text with spaces",
            )
    return header, body


def parsed(text: str, kind: Callable[[str], Any]) -> Any:
    """A text as a number, as files write it; ValueError for what only Python takes for one ("1_000")."""
    if "_" in text:
        raise ValueError(text)
    return kind(text)
