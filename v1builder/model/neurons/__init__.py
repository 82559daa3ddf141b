"""The neurons: one file each, here or in another package (`schema.members`), which registers itself.

| what a neuron is | where it says so |
|---|---|
| parameters: name, unit, range, default, mean, trainable | `Neuron.table` |
| files it reads | `Neuron.templates`; `sonata` reads their numbers, whatever the neuron |
| what it remembers | its `State` |
| one step | its `Coefficients` |
| what it cannot do | `Neuron.spikes`, `Coefficients.uncompiled`, `Coefficients.graded` |

A network has neurons of one kind, chosen by the `model_template` of its cells.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from v1builder.load.network import Network
from v1builder.model.neurons.checks import check_cells, file_problems
from v1builder.model.neurons.neuron import Neuron
from v1builder.schema.errors import ConfigError, NetworkError, Problem, raise_if_any, unknown_name
from v1builder.schema.members import import_members, named
from v1builder.schema.parameters import Parameter
from v1builder.sonata.point_neuron import kinds_problem, plain_template

__all__ = [
    "NEURONS",
    "Neuron",
    "catalogue",
    "check_cells",
    "choose",
    "settings_of",
    "template_problems",
]

import_members(__name__, but=__name__)


#: Every neuron by name.
NEURONS: Final[dict[str, type[Neuron]]] = named(Neuron, lambda kind: kind.name, "neuron")
#: By SONATA template, the neuron that computes such cells unless another is asked for.
_OF_TEMPLATE: Final[dict[str, type[Neuron]]] = {
    template: kind
    for kind in NEURONS.values()
    if not kind.by_name_only
    for template in kind.templates
}


def choose(name: str, network: Network) -> type[Neuron]:
    """The neuron of a network.

    Args:
        name: of a neuron, or "auto": the one of the cells' `model_template`; of GLIF cells "glif", and so it
            is where the cells say nothing.
        network: whose cells are computed.

    Raises:
        ConfigError: the name is unknown, or that neuron does not compute these cells.
        NetworkError: the cells are of several kinds of neuron, or of one that there is not.
    """
    where = "V1Network, neuron"
    if name not in ("auto", *NEURONS):
        raise ConfigError([unknown_name("neuron", name, ("auto", *NEURONS), where)])
    templates = _templates(network)
    population = f"population {network.simulated}"
    for template in templates:
        if template not in _OF_TEMPLATE:
            problem = unknown_name("model template", template, _OF_TEMPLATE, population)
            raise NetworkError([problem])
    own = {template: _OF_TEMPLATE[template] for template in templates}
    if len(set(own.values())) > 1:
        raise NetworkError([kinds_problem(templates, population)])
    if name == "auto":
        return next(iter(own.values()), NEURONS["glif"])
    kind = NEURONS[name]
    foreign = [template for template in templates if template not in kind.templates]
    if foreign:
        raise ConfigError.of(
            f"neuron '{name}' does not compute these cells",
            where,
            ", ".join(foreign),
            f"leave neuron out, for '{own[foreign[0]].name}'",
        )
    return kind


def settings_of(kind: type[Neuron], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a neuron among those given to `V1Network`; None is one that is not given.

    Raises:
        ConfigError: one belongs to another neuron, or to none.
    """
    owners = {name: one.name for one in NEURONS.values() for name in one.settings()}
    given = {name: value for name, value in given.items() if value is not None}
    problems = []
    for name in sorted(set(given) - set(kind.settings())):
        if name in owners:
            what = f"{name} belongs to neuron '{owners[name]}'"
            problems.append(Problem(what, "V1Network", str(given[name]), "leave it out"))
        else:
            problems.append(unknown_name("argument", name, owners, "V1Network"))
    raise_if_any(problems, ConfigError)
    return given


def template_problems(parameters: Mapping[str, Any], template: str, where: object) -> list[Problem]:
    """What is wrong with a component file that `sonata` reads without knowing the neuron.

    Args:
        parameters: `sonata.other_neurons.own_parameters` of the file.
        template: its `model_template`.
        where: for messages.
    """
    kind = _OF_TEMPLATE.get(plain_template(template))
    if kind is None:
        return [unknown_name("model template", template, _OF_TEMPLATE, where)]
    return file_problems(kind, parameters, where)


def _templates(network: Network) -> list[str]:
    """Templates of the simulated cells, each once."""
    column = network.cells.attributes.get("model_template")
    names = [] if column is None else pd.unique(pd.Series(column, dtype=object))
    return list(dict.fromkeys(plain_template(str(name)) for name in names if name))


def _row(parameter: Parameter) -> str:
    """One parameter, for people."""
    default = "" if parameter.absent is None else f"{parameter.absent:g}"
    above = " (above E_L)" if parameter.relative else ""
    cells = (
        f"`{parameter.name}`",
        parameter.unit,
        parameter.per,
        parameter.range + above,
        default,
        parameter.mean,
        "yes" if parameter.trainable else "no",
        parameter.about,
    )
    return f"| {' | '.join(cells)} |"


def catalogue() -> str:
    """All neurons and their parameters as tables for people."""
    rows = [
        f"| `{kind.name}` | {kind.about} | {', '.join(f'`{t}`' for t in kind.templates)} | "
        f"{', '.join(f'`{name}`' for name in kind.settings())} |"
        for kind in NEURONS.values()
    ]
    head = "| neuron | what it is | files (`model_template`) | settings |\n|---|---|---|---|"
    parts = ["\n".join([head, *rows]) + "\n"]
    for kind in NEURONS.values():
        if kind.by_name_only:
            continue
        fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(kind.state))
        recorded = ", ".join(f"`{name}`" for name in kind.recordables)
        lines = [
            f"### {kind.name}",
            "",
            f"State: {fields}.",
            f"Recorded besides `V_m` and currents: {recorded or '-'}.",
            "",
            "| parameter | unit | per | range | default | averaged | trained | meaning |",
            "|---|---|---|---|---|---|---|---|",
            *map(_row, kind.table),
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
