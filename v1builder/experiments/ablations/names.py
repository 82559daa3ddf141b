"""From the text of an experiment file to an ablation."""

import dataclasses
import re
from typing import Final

from v1builder.experiments.ablations.base import Ablation, Composition, registered
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.schema.members import import_members

import_members("v1builder.experiments.ablations", but=__name__)

#: Every ablation by the word that names it.
ABLATIONS: Final[dict[str, type[Ablation]]] = {kind.word: kind for kind in registered()}

_CALL: Final = re.compile(r"\s*(?P<word>\w+)\s*(?:\((?P<arguments>[^()|]*)\))?\s*")


def parse_ablation(text: str) -> Ablation:
    """The ablation named by `text`, for example "dose(0.5, population)" or "no_asc | mean(ei)".

    Raises:
        ConfigError: unknown word, level or aspect (the nearest is named), or wrong arguments.
    """
    steps = tuple(_parse_one(part, text) for part in text.split("|"))
    return steps[0] if len(steps) == 1 else Composition(steps)


def usage(kind: type[Ablation]) -> str:
    """How the ablation is written, for example "dose(alpha, level)"."""
    names = [field.name for field in dataclasses.fields(kind)]
    return f"{kind.word}({', '.join(names)})" if names else kind.word


def _parse_one(part: str, text: str) -> Ablation:
    where = f"ablation '{text}'"
    match = _CALL.fullmatch(part)
    if match is None:
        raise ConfigError.of(
            "cannot read the ablation",
            where,
            part,
            "write word or word(argument, ...), several joined by |",
        )
    word = match["word"]
    if word not in ABLATIONS:
        raise ConfigError([unknown_name("ablation", word, ABLATIONS, where)])
    kind = ABLATIONS[word]
    arguments = (
        [a.strip() for a in (match["arguments"] or "").split(",")] if match["arguments"] else []
    )
    fields = dataclasses.fields(kind)
    if len(arguments) != len(fields):
        raise ConfigError.of(
            f"ablation {word} takes {len(fields)} arguments", where, part, f"write {usage(kind)}"
        )
    values = [_value(a, f, where) for a, f in zip(arguments, fields, strict=True)]
    return kind(*values)


def _value(argument: str, field: "dataclasses.Field[object]", where: str) -> object:
    if field.type is not float:
        return argument
    try:
        return float(argument)
    except ValueError:
        raise ConfigError.of(
            f"{field.name} must be a number", where, argument, "write 0.5"
        ) from None


def catalogue() -> str:
    """Every ablation with the first sentence of what it says of itself, as a table for people."""
    rows = []
    for _, kind in sorted(ABLATIONS.items()):
        said = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
        rows.append(f"| `{usage(kind)}` | {said} |")
    return "\n".join(["| ablation | what it does |", "|---|---|", *rows]) + "\n"
