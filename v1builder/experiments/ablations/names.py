"""From the text of an experiment file to an ablation."""

import dataclasses
import re
from typing import Final

from v1builder.experiments.ablations.base import Ablation, Composition
from v1builder.experiments.ablations.cell_sets import parts_of, read_cells, written
from v1builder.experiments.ablations.restricted import Restricted
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.schema.members import import_members, named

import_members("v1builder.experiments.ablations", but=__name__)

#: Every ablation by the word that names it.
ABLATIONS: Final[dict[str, type[Ablation]]] = named(Ablation, lambda kind: kind.word, "ablation")

_CALL: Final = re.compile(r"\s*(?P<word>\w+)\s*(?:\((?P<arguments>.*)\))?\s*", re.DOTALL)
#: The last argument of any ablation: the cells that it is of.
_CELLS: Final = re.compile(r"\s*cells\s*=(?P<set>.*)", re.DOTALL)
_ARGUMENT: Final = re.compile(r"[^()|\[\]{}]*")


def parse_ablation(text: str) -> Ablation:
    """The ablation named by `text`, for example "dose(0.5, population)" or "no_asc | mean(ei)".

    A last argument `cells` restricts any ablation to a SONATA node set (`Restricted`): "no_asc(cells=core)",
    or conditions as TOML has them: 'mean(population, cells={ei = "e", layer = 4})'.

    Raises:
        ConfigError: unknown word, level or aspect (the nearest is named), or wrong arguments.
    """
    steps = tuple(_parse_one(part, text) for part in parts_of(text, "|"))
    return steps[0] if len(steps) == 1 else Composition(steps)


def usage(kind: type[Ablation]) -> str:
    """How the ablation is written, for example "dose(alpha, level)"."""
    names = [field.name for field in dataclasses.fields(kind)]
    return f"{kind.word}({', '.join(names)})" if names else kind.word


def _parse_one(part: str, text: str) -> Ablation:
    where = f"ablation '{text}'"
    match = _CALL.fullmatch(part)
    arguments = (
        parts_of(match["arguments"], ",") if match and (match["arguments"] or "").strip() else []
    )
    cells = _CELLS.fullmatch(arguments[-1]) if arguments else None
    arguments = [argument.strip() for argument in (arguments[:-1] if cells else arguments)]
    if match is None or not all(map(_ARGUMENT.fullmatch, arguments)):
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
    fields = dataclasses.fields(kind)
    if len(arguments) != len(fields):
        raise ConfigError.of(
            f"ablation {word} takes {len(fields)} arguments", where, part, f"write {usage(kind)}"
        )
    ablation = kind(*(_value(a, f, where) for a, f in zip(arguments, fields, strict=True)))
    return Restricted(ablation, written(read_cells(cells["set"], where))) if cells else ablation


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
