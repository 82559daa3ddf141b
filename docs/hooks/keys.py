"""Tables of the keys of TOML files, made of the settings models that read those files."""

import inspect
import json
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from v1builder.schema.config import Settings

#: A line of the section Attributes of a docstring that begins a new entry: one name, or several.
_ENTRY = re.compile(r"    (?P<names>\w+(?:, \w+)*): (?P<text>.*)")
_PLAIN = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
_BOUNDS = {Gt: ("above", "gt"), Ge: ("from", "ge"), Lt: ("below", "lt"), Le: ("up to", "le")}


class UndocumentedKeyError(ValueError):
    """A key of which its model does not say what it means."""


def attributes(kind: type) -> dict[str, str]:
    """What the docstrings of a class and of those it inherits from say of each attribute."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        _, _, section = inspect.cleandoc(each.__doc__ or "").partition("\nAttributes:\n")
        names: list[str] = []
        for line in section.splitlines():
            if line and not line.startswith("    "):
                break  # the next section
            if entry := _ENTRY.fullmatch(line):
                names = entry["names"].split(", ")
                found |= dict.fromkeys(names, entry["text"])
            else:
                found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
    return found


def summary(kind: type) -> str:
    """First paragraph of a docstring."""
    return " ".join(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].split())


def more(kind: type) -> str:
    """Further paragraphs of a docstring, up to its sections."""
    text = inspect.cleandoc(kind.__doc__ or "")
    body = re.split(r"\n\n(?:Attributes|Args|Example|Raises)\b[^\n]*:\n", f"{text}\n")[0]
    return body.partition("\n\n")[2].strip()


def table_of(annotation: Any) -> type[Settings] | None:
    """The model of a key that holds one table, whose keys then stand for themselves."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    return None


def in_words(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """A type as a person who writes TOML thinks of it."""
    bounds = [
        f"{word} {getattr(each, name):g}"
        for each in metadata
        for kind, (word, name) in _BOUNDS.items()
        if isinstance(each, kind)
    ]
    if any(isinstance(each, MinLen) for each in metadata):
        bounds.append("not empty")
    return ", ".join([_in_words(annotation), *bounds])


def _in_words(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if annotation is Any:
        return "anything"
    if table_of(annotation):
        return "table"
    if origin is Annotated:
        return in_words(parts[0], tuple(_flat(parts[1:])))
    if origin is Literal:
        return " or ".join(f"`{as_toml(part)}`" for part in parts)
    if origin in (Union, types.UnionType):
        if all(table_of(part) for part in parts):
            return "table"
        return " or ".join(in_words(part) for part in parts if part is not type(None))
    if origin in (tuple, list) and (len(parts) == 1 or parts[-1] is Ellipsis):
        return f"list of: {in_words(parts[0])}"
    if origin is tuple:
        return f"list of {len(parts)}: {in_words(parts[0])}"
    if origin is dict:
        return f"table by name of: {in_words(parts[1])}"
    raise TypeError(f"no words for {annotation}")


def _flat(metadata: tuple[Any, ...]) -> Iterator[Any]:
    for each in metadata:
        yield from each.metadata if isinstance(each, FieldInfo) else [each]


def as_toml(value: Any) -> str:
    """A default as it would be written."""
    if isinstance(value, dict):
        items = ", ".join(f"{key} = {as_toml(each)}" for key, each in value.items())
        return f"{{ {items} }}" if items else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(as_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined or value == ():
        return ""
    return f"`{as_toml(value)}`"


def cell(text: str) -> str:
    """A text in a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def key_table(kind: type[Settings], but: tuple[str, ...] = ()) -> str:
    """Keys of a model, one a line; those that are tables of their own are left to their own heading.

    Args:
        kind: of settings.
        but: keys that are explained elsewhere.

    Raises:
        UndocumentedKeyError: a key without a meaning.
    """
    said = attributes(kind)
    rows = []
    for name, field in kind.model_fields.items():
        if name in but or table_of(field.annotation):
            continue
        if not said.get(name):
            raise UndocumentedKeyError(
                f"{kind.__module__}.{kind.__qualname__}: '{name}' is not among its Attributes"
            )
        words = in_words(field.annotation, tuple(field.metadata))
        rows.append(f"| `{name}` | {cell(words)} | {cell(_default(field))} | {cell(said[name])} |")
    if not rows:
        return ""
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows]) + "\n"
