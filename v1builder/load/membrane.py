"""Parameters of the simulated cells: gathered from component files into values per group."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v1builder.load.network import GroupedValues, NodePopulation
from v1builder.schema.errors import NetworkError
from v1builder.schema.names import GLIF_UNITS, RECEPTOR_UNITS
from v1builder.sonata.circuit import Circuit
from v1builder.sonata.components import read_json
from v1builder.sonata.join import numbers
from v1builder.sonata.point_neuron import CellModel, read_cell_model

#: Columns that name the rows of `membrane` and of `receptors`, the first that is there.
MEMBRANE_LABELS = ("membrane_label", "model_name", "dynamics_params")
RECEPTOR_LABELS = ("receptor_label", "pop_name", "dynamics_params")

#: Columns of a network with bias currents, see `with_bias`.
BIAS_CURRENT = "bias_current"
E_L_WITHOUT_BIAS = "E_L_without_bias"

_OVERRIDE = "dynamics_params/"


def read_cells(
    cells: NodePopulation, circuit: Circuit
) -> tuple[GroupedValues, GroupedValues, NDArray[np.float64]]:
    """Membrane and receptor parameters and the bias current of the simulated cells.

    A cell's model is its component file, with its own overrides (the SONATA subgroup
    `dynamics_params` of its node group) on top. Cells whose parameters and label are equal share
    a row; rows are in the order of the types table.

    Returns:
        membrane, receptors, bias current [n_cells] in pA.

    Raises:
        NetworkError: a template that is not supported, a file that is missing, or parameters that
            are wrong; also models that differ in the number of receptor ports.
    """
    for column in ("model_template", "dynamics_params"):
        if column not in cells.attributes:
            raise NetworkError.of(
                f"the simulated cells have no '{column}'",
                f"{circuit.path}, node population {cells.name}",
                ", ".join(cells.attributes),
                f"add the column '{column}' to the node types",
            )
    folder = circuit.components.get("point_neuron_models_dir")
    if folder is None:
        raise NetworkError.of(
            "the configuration names no folder of cell models",
            circuit.path,
            ", ".join(circuit.components),
            "add components.point_neuron_models_dir",
        )
    first, kind_of = _kinds(cells)
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
    bias = _take_bias(cells, first, models, circuit)
    membrane = _group(
        [_padded(model, models) for model in models],
        GLIF_UNITS,
        _labels(cells, first, MEMBRANE_LABELS),
    )
    ports = {len(model.receptors["tau_syn_fast"]) for model in models}
    if len(ports) > 1:
        raise NetworkError.of(
            "cell models differ in the number of receptor ports",
            folder,
            ", ".join(map(str, sorted(ports))),
            "give every cell model the same ports",
        )
    receptors = _group(
        [model.receptors for model in models],
        RECEPTOR_UNITS,
        _labels(cells, first, RECEPTOR_LABELS),
    )
    return _spread(membrane, kind_of), _spread(receptors, kind_of), bias[kind_of]


def with_bias(E_L: float, g: float, bias_current: float) -> float:
    """The resting potential (mV) that has the effect of a constant current (pA): E_L + I/g.

    C_m dV/dt = -g (V - E_L) + I is C_m dV/dt = -g (V - (E_L + I/g)). NEST's GLIF models have no
    parameter for a constant current, so this is how a component file carries one.
    """
    return E_L + bias_current / g


def _take_bias(
    cells: NodePopulation, first: NDArray[np.intp], models: Sequence[CellModel], circuit: Circuit
) -> NDArray[np.float64]:
    """The bias current of each model, taken out of its E_L again."""
    if BIAS_CURRENT not in cells.attributes or E_L_WITHOUT_BIAS not in cells.attributes:
        return np.zeros(len(models))
    bias = numbers(cells.attributes[BIAS_CURRENT][first])
    rest = numbers(cells.attributes[E_L_WITHOUT_BIAS][first])
    for model, current, E_L in zip(models, bias, rest, strict=True):
        in_file, g = float(model.membrane["E_L"]), float(model.membrane["g"])
        if not np.isclose(with_bias(E_L, g, current), in_file, rtol=1e-9, atol=0):
            raise NetworkError.of(
                f"'{BIAS_CURRENT}' and '{E_L_WITHOUT_BIAS}' disagree with the cell models",
                f"{circuit.path}, node population {cells.name}",
                f"{E_L:g} mV + {current:g} pA / {g:g} nS is not E_L = {in_file:g} mV",
                "correct E_L in the cell model, or remove the two columns",
            )
        model.membrane["E_L"] = np.asarray(E_L)
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


def _padded(model: CellModel, models: Sequence[CellModel]) -> dict[str, NDArray[np.float64]]:
    """The membrane, filled up with currents of amplitude 0 to as many as any model has."""
    n = max(len(other.membrane["asc_amps"]) for other in models)
    missing = n - len(model.membrane["asc_amps"])
    fill = {"asc_amps": 0.0, "asc_decay": 1.0, "asc_r": 1.0}
    return {
        name: np.append(value, np.full(missing, fill[name])) if name in fill else value
        for name, value in model.membrane.items()
    }


def _group(
    rows: Sequence[dict[str, NDArray[np.float64]]], names: Iterable[str], labels: Sequence[str]
) -> GroupedValues:
    """Rows merged where label and values are equal; `group_of` is per kind."""
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
