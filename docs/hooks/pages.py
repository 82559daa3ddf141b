"""Pages of the reference, made of what the program reads: settings models, registers, the command line."""

import dataclasses
import inspect
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import typer
from keys import attributes, cell, in_words, key_table, more, summary, table_of

from v1builder.cli import app
from v1builder.experiments.ablations.names import ABLATIONS, usage
from v1builder.fetch.live import Pins
from v1builder.measures import MEASURES
from v1builder.model.neurons import NEURONS
from v1builder.objectives.register import OBJECTIVES
from v1builder.protocols import PROTOCOLS
from v1builder.readout.register import READOUTS
from v1builder.schema.config import Settings
from v1builder.schema.manifests import Pin, Reference, read_manifests
from v1builder.schema.recipe import BuildRecipe
from v1builder.tasks.register import TASKS
from v1builder.train.settings import Experiment

#: Keys of an experiment whose tables are rooms, by the page that lists their members.
_ROOMS = {
    "task": "tasks.md",
    "also": "tasks.md",
    "readout": "readouts.md",
    "objective": "objectives.md",
}
_MADE = "*This page is made from the settings models of the program, so it is complete.*\n"


def _sections(kind: type[Settings], name: str, level: int = 2) -> Iterator[str]:
    """A heading and a table of keys for a model, and for the tables in it."""
    for key, field in kind.model_fields.items():
        inner = table_of(field.annotation)
        if inner is None or key in _ROOMS:
            continue
        path = f"{name}.{key}" if name else key
        yield f"{'#' * level} `[{path}]`\n\n{summary(inner)}\n\n{key_table(inner)}"
        yield from _sections(inner, path, level + 1)


def experiment() -> str:
    """Keys of an experiment file."""
    rooms = "\n".join(
        f"- [{table}]({page}): {text}"
        for table, page, text in (
            ("`[task]`, `[[also]]`", "tasks.md", "what is shown and asked; `name` selects it"),
            ("`[readout]`", "readouts.md", "how answers are read from spikes; `kind` selects it"),
            ("`[[objective]]`", "objectives.md", "what training minimises besides the task"),
        )
    )
    return "\n".join(
        [
            "# Experiment files\n",
            _MADE,
            f"{summary(Experiment)}\n",
            "A key that does not exist is an error that names the nearest one. Three tables have a page of "
            f"their own, since which keys they have depends on what they select:\n\n{rooms}\n",
            "## Keys of the file\n",
            key_table(Experiment, but=tuple(_ROOMS)),
            *_sections(Experiment, ""),
        ]
    )


def recipe() -> str:
    """Keys of a recipe, and of a file of pins."""
    return "\n".join(
        [
            "# Recipes\n",
            _MADE,
            f"{summary(BuildRecipe)} For `v1builder build --recipe`.\n",
            *_sections(BuildRecipe, ""),
            "## Pins\n",
            f"{summary(Pins)} For `v1builder fetch --pins`.\n",
            key_table(Pins),
            f"Each is a table:\n\n{key_table(Pin)}",
        ]
    )


def _members(members: Mapping[str, type[Settings]], key: str) -> Iterator[str]:
    for name, kind in members.items():
        yield f"## `{name}` {{ #{name} }}\n\n{summary(kind)}\n"
        if said := more(kind):
            yield f"{said}\n"
        yield key_table(kind, but=(key,))


def tasks() -> str:
    """Keys of every task."""
    head = (
        "# Tasks\n\n"
        + _MADE
        + "\nKeys of `[task]` and of every `[[also]]`, by `name`. Times are in ms, angles "
    )
    head += "and sizes in degrees of the visual field. What they ask and why: [Visual tasks](../tasks.md).\n"
    return "\n".join([head, *_members(TASKS, "name")])


def readouts() -> str:
    """Keys of every readout."""
    head = (
        "# Readouts\n\n"
        + _MADE
        + "\nKeys of `[readout]`, by `kind`; without `kind` it is `pools`.\n"
    )
    return "\n".join([head, *_members(READOUTS, "kind")])


def objectives() -> str:
    """Keys of every objective."""
    head = "# Objectives\n\n" + _MADE + "\nKeys of an `[[objective]]` table, by `kind`. "
    head += "What they are for: [A column like the living one](../in_vivo.md).\n"
    return "\n".join([head, *_members(OBJECTIVES, "kind")])


def _arguments(kind: type) -> str:
    said = attributes(kind)
    rows = [
        f"- `{field.name}`: {said[field.name]}" if field.name in said else f"- `{field.name}`"
        for field in dataclasses.fields(kind)
    ]
    return "\n".join(rows) + "\n" if rows else ""


def ablations() -> str:
    """Every ablation with all it says of itself."""
    parts = [
        "# Ablations\n",
        "*This page is made from the register of the program, so it is complete.*\n",
        "Names in `[compare] ablations` and of `v1builder ablate`; `|` composes them, a last argument "
        "`cells=` restricts one to a node set. What is kept, and when a comparison counts: "
        "[Ablations](../ablations.md).\n",
    ]
    for word, kind in sorted(ABLATIONS.items()):
        parts.append(f"## `{usage(kind)}` {{ #{word} }}\n\n{summary(kind)}\n")
        parts += [f"{text}\n" for text in (more(kind), _arguments(kind)) if text]
    return "\n".join(parts)


def _of(kind: type) -> str:
    """All that a member says of itself: its class, then the file it is in."""
    module = inspect.getmodule(kind)
    said = [summary(kind), more(kind), inspect.getdoc(module)]
    return "\n\n".join(part for part in said if part) + "\n"


def measures() -> str:
    """Every measure and every protocol."""
    rows = [
        f"| [`{name}`](#{name}) | {kind.unit} | {', '.join(kind.needs)} | {cell(summary(kind))} |"
        for name, kind in MEASURES.items()
    ]
    details = [f"### `{name}` {{ #{name} }}\n\n{_of(kind)}" for name, kind in MEASURES.items()]
    parts = [
        "# Measures and protocols\n",
        "*This page is made from the registers of the program, so it is complete.*\n",
        "Names in `[measure] names` and of `v1builder measure --select`. How to read their tables: "
        "[Measuring](../measuring.md).\n",
        "## Measures\n",
        "\n".join(["| measure | unit | looks at | what it is |", "|---|---|---|---|", *rows, ""]),
        *details,
        "## Protocols\n",
        "A protocol is an experiment of its own on a network; its settings are those of the class in "
        "Python, with these defaults.\n",
    ]
    for name, kind in PROTOCOLS.items():
        given = ", ".join(f"`{each}` ({unit})" for each, unit in kind.gives.items())
        parts.append(f"### `{name}` {{ #{name} }}\n\n{_of(kind)}\n\nGives {given}.\n")
        said = attributes(kind)
        rows = [
            f"| `{each.name}` | `{each.default}` | {cell(said.get(each.name, ''))} |"
            for each in dataclasses.fields(kind)
        ]
        if rows:
            parts.append("\n".join(["| setting | default | meaning |", "|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def neurons() -> str:
    """Every neuron, for `[model] neuron`."""
    rows = [
        f"| `{name}` | {cell(kind.about)} | {cell(', '.join(f'`{each}`' for each in kind.templates))} |"
        for name, kind in NEURONS.items()
    ]
    head = "# Neurons\n\nValues of `[model] neuron`; `auto` takes what the cells' `model_template` says. "
    head += "Parameters and equations: [Neurons](../neurons.md).\n\n"
    return head + "\n".join(["| neuron | what it is | templates |", "|---|---|---|", *rows, ""])


def command_line() -> str:
    """Every command with all its arguments and options."""
    group: Any = typer.main.get_command(app)
    functions = [command.callback for command in app.registered_commands if command.callback]
    hints = {each.__name__.replace("_", "-"): get_type_hints(each) for each in functions}
    parts = [
        "# Command line\n",
        "*This page is made from the program's commands, so it is complete.*\n",
        f"{group.help}\n",
        "`v1builder COMMAND --help` says the same; `python -m v1builder` is `v1builder`. Exit code 0: done; "
        "1: an error, printed with how to mend it, or `verify` found a disagreement; 2: wrong usage.\n",
        _options("v1builder", group, {}),
    ]
    for name, command in group.commands.items():
        parts.append(_options(f"v1builder {name}", command, hints[name]))
    return "\n".join(parts)


def _options(name: str, command: Any, hints: Mapping[str, Any]) -> str:
    rows = []
    for parameter in command.params:
        if parameter.name == "help":
            continue
        optional = parameter.param_type_name == "option"
        label = ", ".join(parameter.opts) if optional else parameter.name.upper()
        flag = getattr(parameter, "is_flag", False)
        value = "" if flag else _value(hints[parameter.name])
        default = parameter.default
        shown = "required" if parameter.required else f"`{default}`" if default else ""
        rows.append(f"| `{label}` | {value} | {shown} | {cell(parameter.help or '')} |")
    text = f"## `{name}`\n\n{inspect.cleandoc(command.help or '')}\n"
    if rows:
        head = ["| argument or option | value | default | meaning |", "|---|---|---|---|"]
        text += "\n" + "\n".join([*head, *rows, ""])
    return text


def _value(hint: Any) -> str:
    """What is typed for an option; one that may be given several times takes one each time."""
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is list:
        return f"{_value(get_args(hint)[0])}, several times"
    if get_origin(hint) is tuple:
        return " ".join(map(_value, get_args(hint)))
    return "path" if hint is Path else in_words(hint)


def sources() -> str:
    """Every source of the shipped tables, with its terms and what to cite."""
    parts = [
        "# Sources\n",
        "*This page is made from the manifests of the data, so it is complete.*\n",
        "What the shipped tables are, under which terms, and what to cite for them. `v1builder info NET` "
        "lists those of one network.\n",
    ]
    for manifest in read_manifests():
        tables = ", ".join(f"`{name}`" for name in manifest.tables) or "none, images"
        cited = "\n".join(f"- {_linked(reference)}" for reference in manifest.references)
        parts.append(
            f"## {manifest.title}\n\n- address: <{manifest.url}>\n- version: {manifest.version}\n"
            f"- licence: {manifest.licence} ([terms]({manifest.terms}))\n- tables: {tables}\n\n"
            f"Cite:\n\n{cited}\n"
        )
    return "\n".join(parts)


def _linked(reference: Reference) -> str:
    doi = reference.doi
    return reference.text().replace(f"doi:{doi}", f"[doi:{doi}](https://doi.org/{doi})")


#: By address in the site, what makes each page.
PAGES = {
    "reference/command-line.md": command_line,
    "reference/experiment.md": experiment,
    "reference/tasks.md": tasks,
    "reference/readouts.md": readouts,
    "reference/objectives.md": objectives,
    "reference/recipe.md": recipe,
    "reference/ablations.md": ablations,
    "reference/measures.md": measures,
    "reference/neurons.md": neurons,
    "reference/sources.md": sources,
}
