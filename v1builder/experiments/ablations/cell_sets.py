"""Node sets in the text of an ablation: a name, or what an experiment file says in [readout] cells.

    cells=core      cells={ei = "e", layer = 4}      cells=["core", "rim"]      cells=[0, 1, 2]

Conditions and lists are written as TOML has them, see `sonata.node_sets` for what they mean.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

from v1builder.schema.errors import ConfigError

_NAME: Final = re.compile(r"[\w.+-]+")
_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_OPENING: Final = "([{"
_CLOSING: Final = ")]}"


def read_cells(text: str, where: object) -> Any:
    """The node set that `text` names or describes.

    Raises:
        ConfigError: it is neither a name nor TOML.
    """
    text = text.strip()
    if _NAME.fullmatch(text):
        return text
    try:
        found = tomllib.loads(f"cells = {text}")
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
    else:
        if list(found) == ["cells"] and isinstance(found["cells"], str | list | dict):
            return found["cells"]
        reason = "not a node set"
    raise ConfigError.of(
        f"cannot read the node set: {reason}",
        where,
        text,
        'write the name of a node set, or conditions such as {ei = "e", layer = 4}',
    )


def written(cells: Any) -> str:
    """The text of a node set: `read_cells(written(s)) == s`."""
    return cells if isinstance(cells, str) and _NAME.fullmatch(cells) else _toml(cells)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{_key(str(key))} = {_toml(own)}" for key, own in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _key(text: str) -> str:
    return text if _KEY.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def parts_of(text: str, mark: str) -> list[str]:
    """The text cut at every `mark` that is neither in brackets nor in quotes."""
    parts, start, depth, quote = [], 0, 0, ""
    for at, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in _OPENING:
            depth += 1
        elif sign in _CLOSING:
            depth -= 1
        elif sign == mark and depth <= 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]
