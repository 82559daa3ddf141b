"""Parameters of the simulated cells: gathered from component files into values per group."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v1builder.load.network import GroupedValues, NodePopulation
from v1builder.schema.errors import NetworkError
from v1builder.schema.parameters import ASC_FILL, GLIF_UNITS, PORT_FILL, RECEPTOR_UNITS
from v1builder.sonata.circuit import Circuit
from v1builder.sonata.foreign import read_json
from v1builder.sonata.integrate_fire import SHAPE_OF, is_iaf
from v1builder.sonata.join import numbers
from v1builder.sonata.node_rules import no_column
from v1builder.sonata.point_neuron import (
    CellModel,
    chooses_by_sign,
    is_read_as_it_is,
    kinds_problem,
    plain_template,
    read_cell_model,
)

#: Columns that name the rows of `membrane` and of `receptors`, the first that is there.
MEMBRANE_LABELS = ("membrane_label", "model_name", "dynamics_params")
RECEPTOR_LABELS = ("receptor_label", "pop_name", "dynamics_params")

#: Columns of a network with bias currents, see `with_bias`.
BIAS_CURRENT = "bias_current"
E_L_WITHOUT_BIAS = "E_L_without_bias"

_OVERRIDE = "dynamics_params/"


@dataclass(frozen=True)
class CellFiles:
    """What the component files say of the simulated cells.

    Attributes:
        membrane, receptors: see `Network`. Cells with fewer ports than others have silent ports
            after their own: tau 1 ms, amp_slow 0, no edge may name them.
        bias_current: [n_cells] pA.
        initial_voltage: [n_cells] mV above E_L at time 0; NaN where only the neuron knows it.
        n_ports: [n_cells] number of the cell's own ports; 0 where the sign of a weight chooses
            the port, as in integrate-and-fire cells.
    """

    membrane: GroupedValues
    receptors: GroupedValues
    bias_current: NDArray[np.float64]
    initial_voltage: NDArray[np.float64]
    n_ports: NDArray[np.int64]


def read_cells(cells: NodePopulation, circuit: Circuit) -> CellFiles:
    """Membrane and receptor parameters and the bias current of the simulated cells.

    A cell's model is its component file, with its own overrides (the SONATA subgroup
    `dynamics_params` of its node group) on top. Cells whose parameters and label are equal share
    a row; rows are in the order of the types table.

    Raises:
        NetworkError: a template that is not supported, a file that is missing, or parameters that
            are wrong.
    """
    for column in ("model_template", "dynamics_params"):
        if column not in cells.attributes:
            where = f"{circuit.path}, node population {cells.name}"
            raise NetworkError([no_column(column, where, cells.attributes)])
    folder = circuit.components.get("point_neuron_models_dir")
    if folder is None:
        raise NetworkError.of(
            "the configuration names no folder of cell models",
            circuit.path,
            ", ".join(circuit.components),
            "add components.point_neuron_models_dir",
        )
    first, kind_of = _kinds(cells)
    models = _read_models(cells, first, folder)
    names = _parameter_names(models, cells, circuit)
    bias = _take_bias(cells, first, models, circuit)
    membrane = _group(
        [_padded(model.membrane, ASC_FILL, models) for model in models],
        names,
        _labels(cells, first, MEMBRANE_LABELS),
    )
    receptors = _group(
        [_padded(model.receptors, PORT_FILL, models) for model in models],
        RECEPTOR_UNITS,
        _labels(cells, first, RECEPTOR_LABELS),
    )
    above_rest = [
        0.0 if model.V_m is None else model.V_m - float(model.membrane.get("E_L", np.nan))
        for model in models
    ]
    ports = [
        0 if chooses_by_sign(model.template) else len(model.receptors["psc_shape"])
        for model in models
    ]
    return CellFiles(
        _spread(membrane, kind_of),
        _spread(receptors, kind_of),
        bias[kind_of],
        np.array(above_rest)[kind_of],
        np.array(ports, dtype=np.int64)[kind_of],
    )


def _parameter_names(
    models: Sequence[CellModel], cells: NodePopulation, circuit: Circuit
) -> list[str]:
    """Names of the membrane parameters: of GLIF cells, or all that the files of other neurons have.

    Raises:
        NetworkError: some cells are GLIF cells and some are not.
    """
    own = [is_read_as_it_is(model.template) for model in models]
    if not any(own):
        return list(GLIF_UNITS)
    if not all(own):
        templates = dict.fromkeys(model.template for model in models)
        where = f"{circuit.path}, node population {cells.name}"
        raise NetworkError([kinds_problem(templates, where)])
    return list(dict.fromkeys(name for model in models for name in model.membrane))


def _read_models(cells: NodePopulation, first: NDArray[np.intp], folder: Path) -> list[CellModel]:
    files: dict[str, dict[str, Any]] = {}
    models = []
    for cell in first:
        name = str(cells.attributes["dynamics_params"][cell])
        if name not in files:
            files[name] = read_json(folder / name)
        own = {
            key.removeprefix(_OVERRIDE): values[cell]
            for key, values in cells.attributes.items()
            if key.startswith(_OVERRIDE) and not np.isnan(np.asarray(values[cell], float)).any()
        }
        template = str(cells.attributes["model_template"][cell])
        models.append(read_cell_model({**files[name], **own}, template, folder / name))
    return models


def with_bias(E_L: float, g: float, bias_current: float) -> float:
    """The resting potential (mV) that has the effect of a constant current (pA): E_L + I/g.

    C_m dV/dt = -g (V - E_L) + I is C_m dV/dt = -g (V - (E_L + I/g)). NEST's GLIF models have no
    parameter for a constant current, so this is how a component file carries one.
    """
    return E_L + bias_current / g


def with_shifted_rest(model: CellModel, where: object) -> CellModel:
    """A GLIF cell whose E_L carries its bias current; other cells have a parameter for it.

    Raises:
        NetworkError: the threshold depends on the voltage, measured from E_L: then no shift of E_L is
            the same as a current.
    """
    current, own = model.bias_current, model.membrane
    plain = plain_template(model.template)
    has_current = is_read_as_it_is(plain) or (plain in SHAPE_OF and is_iaf(model, plain))
    if current == 0 or has_current:
        return model
    if own["th_voltage_index"] != 0:
        raise NetworkError.of(
            "a bias current into a cell with a voltage-dependent threshold cannot be written",
            where,
            f"{current:g} pA",
            "inject it with a current clamp of the simulation configuration instead",
        )
    g = float(own["g"])
    shifted = {
        "E_L": np.asarray(with_bias(float(own["E_L"]), g, current)),
        "V_reset": own["V_reset"] + own["voltage_reset_fraction"] * current / g,
    }
    return replace(model, membrane={**own, **shifted}, bias_current=0.0)


def _take_bias(
    cells: NodePopulation, first: NDArray[np.intp], models: Sequence[CellModel], circuit: Circuit
) -> NDArray[np.float64]:
    """The bias current of each model, taken out of its E_L again where it is there."""
    bias = np.array([model.bias_current for model in models])
    if BIAS_CURRENT not in cells.attributes or E_L_WITHOUT_BIAS not in cells.attributes:
        return bias
    shifts = numbers(cells.attributes[BIAS_CURRENT][first])
    rest = numbers(cells.attributes[E_L_WITHOUT_BIAS][first])
    for row, (model, current, E_L) in enumerate(zip(models, shifts, rest, strict=True)):
        if np.isnan(current) or chooses_by_sign(model.template):
            continue  # cells other than GLIF have a parameter for it
        membrane = model.membrane
        in_file, g = float(membrane["E_L"]), float(membrane["g"])
        if not np.isclose(with_bias(E_L, g, current), in_file, rtol=1e-9, atol=0):
            raise NetworkError.of(
                f"'{BIAS_CURRENT}' and '{E_L_WITHOUT_BIAS}' disagree with the cell models",
                f"{circuit.path}, node population {cells.name}",
                f"{E_L:g} mV + {current:g} pA / {g:g} nS is not E_L = {in_file:g} mV",
                "correct E_L in the cell model, or remove the two columns",
            )
        membrane["E_L"] = np.asarray(E_L)
        if membrane["voltage_reset_fraction"] != 0:
            shift = membrane["voltage_reset_fraction"] * current / g
            membrane["V_reset"] = membrane["V_reset"] - shift
        bias[row] = current
    return bias


def _kinds(cells: NodePopulation) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """One cell of every kind (type and overrides), and the kind of every cell."""
    names = ("dynamics_params", "model_template", BIAS_CURRENT, E_L_WITHOUT_BIAS)
    columns: list[NDArray[Any]] = [cells.types.index.get_indexer(cells.node_type_id)]
    columns += [cells.attributes[name].astype(str) for name in names if name in cells.attributes]
    keys = [np.unique(column, return_inverse=True)[1].astype(np.float64) for column in columns]
    for name, values in cells.attributes.items():
        if name.startswith(_OVERRIDE):
            keys += list(np.nan_to_num(np.atleast_2d(values.T.astype(np.float64)), nan=-np.inf))
    _, first, kind_of = np.unique(
        np.stack(keys, axis=1), axis=0, return_index=True, return_inverse=True
    )
    return first, kind_of.reshape(-1)


def _labels(cells: NodePopulation, first: NDArray[np.intp], columns: Sequence[str]) -> list[str]:
    column = next(name for name in columns if name in cells.attributes)
    return [str(cells.attributes[column][cell]).removesuffix(".json") for cell in first]


def _padded(
    row: dict[str, NDArray[np.float64]], fill: Mapping[str, float], models: Sequence[CellModel]
) -> dict[str, NDArray[np.float64]]:
    """A row, its lists filled up to as many currents or ports as any model has."""
    key = next(iter(fill))
    lists = [{**model.membrane, **model.receptors}.get(key, ()) for model in models]
    n = max(len(values) for values in lists)
    return {
        name: np.append(value, np.full(n - len(value), fill[name])) if name in fill else value
        for name, value in row.items()
    }


def _group(
    rows: Sequence[dict[str, NDArray[np.float64]]], names: Iterable[str], labels: Sequence[str]
) -> GroupedValues:
    """Rows merged where label and values are equal; `group_of` is per kind. NaN where a row lacks a name."""
    names = list(names)
    rows = [{name: row.get(name, np.asarray(np.nan)) for name in names} for row in rows]
    distinct: dict[tuple[Any, ...], int] = {}
    group_of = np.empty(len(rows), dtype=np.int64)
    kept: list[int] = []
    for index, (row, label) in enumerate(zip(rows, labels, strict=True)):
        key = (label, *(row[name].tobytes() for name in names))
        if key not in distinct:
            distinct[key] = len(kept)
            kept.append(index)
        group_of[index] = distinct[key]
    return GroupedValues(
        values={name: np.stack([rows[index][name] for index in kept]) for name in names},
        group_of=group_of,
        labels=tuple(labels[index] for index in kept),
    )


def _spread(grouped: GroupedValues, kind_of: NDArray[np.intp]) -> GroupedValues:
    return GroupedValues(grouped.values, grouped.group_of[kind_of], grouped.labels)
