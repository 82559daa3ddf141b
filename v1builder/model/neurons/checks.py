"""What is wrong with the parameters of cells, by the table of their neuron: in a network, or in one file."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from v1builder.load.network import GroupedValues, Network
from v1builder.model.neurons.neuron import Neuron, relative_rows
from v1builder.schema.errors import NetworkError, Problem, raise_if_any, unknown_name
from v1builder.schema.parameters import Parameter


def check_cells(kind: type[Neuron], network: Network) -> None:
    """Refuse parameters with which the model would mean nothing.

    Args:
        kind: neuron of the cells.
        network: complete (`Neuron.complete`).

    Raises:
        NetworkError: with every problem found.
    """
    membrane, receptors = network.membrane, network.receptors
    where = f"population {network.simulated}"
    problems = _name_problems(kind, membrane, where)
    problems += [
        Problem(f"the cells have no parameter '{port.name}'", where)
        for port in kind.ports
        if port.name not in receptors.values
    ]
    raise_if_any(problems, NetworkError)
    problems = _range_problems(kind, membrane, kind.table)
    problems += _range_problems(kind, receptors, kind.ports)
    problems += [] if problems else kind.row_problems(membrane)
    raise_if_any(problems, NetworkError)


def file_problems(
    kind: type[Neuron], parameters: Mapping[str, Any], where: object
) -> list[Problem]:
    """What is wrong with the component file of a cell.

    Args:
        kind: its neuron.
        parameters: numbers by name; those that belong to the network (time constants of synapses, voltage
            at time 0, constant current) left out.
        where: for messages.
    """
    rows = {name: np.array([value], dtype=np.float64) for name, value in parameters.items()}
    silent = GroupedValues(rows, np.zeros(1, dtype=np.int64), (str(where),))
    table = kind.completed(silent)
    problems = _name_problems(kind, table, str(where))
    problems = problems or _range_problems(kind, table, kind.table)
    return problems or kind.row_problems(table)


def _name_problems(kind: type[Neuron], table: GroupedValues, where: str) -> list[Problem]:
    names = [parameter.name for parameter in kind.table]
    known = [*names, *kind.off, *kind.without_effect]
    unknown = [name for name in table.values if name not in known]
    problems = [
        Problem(f"the cells have no parameter '{name}'", where)
        for name in names
        if name not in table.values
    ]
    problems += [
        unknown_name(f"parameter of neuron '{kind.name}'", name, names, where) for name in unknown
    ]
    for name, off in kind.off.items():
        values = table.values.get(name, np.zeros(0))
        wrong = ~np.isnan(values) & (values != off)
        if wrong.any():
            got = f"{values[wrong][0]:g}"
            problems.append(Problem(f"'{name}' is not supported", where, got, f"set it to {off:g}"))
    return problems


def _range_problems(
    kind: type[Neuron], table: GroupedValues, parameters: tuple[Parameter, ...]
) -> list[Problem]:
    problems = []
    for parameter in parameters:
        if parameter.name not in kind.held():
            continue
        bounds, zero_allowed = kind.range_of(parameter), parameter.range == "not negative"
        shown = f"{parameter.name} - E_L" if parameter.relative else parameter.name
        for row, label in zip(relative_rows(table, parameter), table.labels, strict=True):
            fault = bounds.problem(np.atleast_1d(row), zero_allowed)
            if fault:
                problems.append(Problem(f"{shown} {fault}", f"cell model {label}", str(row)))
    return problems
