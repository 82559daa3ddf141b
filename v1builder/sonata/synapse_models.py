"""Synapse models of edge types: static, or with the short-term plasticity of Tsodyks and Markram.

The column `model_template` of the edge types says which (static where it says nothing), and the
synaptic model's file has the parameters under NEST's names. What a file leaves out has the default of
NEST's `tsodyks2_synapse` (3.10). The first spike of a source, whenever it comes, has the effect weight
u x with u and x as given, so a synapse that starts at rest has u = U and x = 1; note that the default of
u is 0.5 whatever U is. NEST also takes U = 0 (a synapse that never releases) and any
x; here U must be positive and x from 0 to 1, as they are fractions of resources.

A file with a parameter that its synapse does not have is an error, as in NEST. `weight` has no effect, since
PointNet gives every edge its own, and neither have the `basis_weights` of BMTK's DPointNet, which fit the
currents that the cell models say.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.schema.errors import Problem, unknown_name
from v1builder.schema.parameters import PLASTICITY_UNITS
from v1builder.sonata.join import SYNAPSE_PARAMETER, is_absent, numbers

STATIC: Final = "static_synapse"
TSODYKS: Final = "tsodyks2_synapse"

#: NEST's values of what a file leaves out.
TSODYKS_DEFAULTS: Final[dict[str, float]] = {
    "U": 0.5,
    "tau_rec": 800.0,
    "tau_fac": 0.0,
    "u": 0.5,
    "x": 1.0,
}
_OF_EVERY_SYNAPSE: Final = ("receptor_type", "delay", "weight", "basis_weights")


def templates(types: pd.DataFrame) -> NDArray[np.object_]:
    """[types] name of each type's synapse model, without "nest:"."""
    if "model_template" not in types:
        return np.full(len(types), STATIC, dtype=object)
    names = types["model_template"].to_numpy()
    plain = [STATIC if pd.isna(name) else str(name).removeprefix("nest:") for name in names]
    return np.array(plain, dtype=object)


def model_names(types: pd.DataFrame) -> NDArray[np.object_]:
    """[types] name of each type's synaptic model file without ".json"; its id where it has none."""
    none = pd.Series(index=types.index, dtype=object)
    own = types["dynamics_params"] if "dynamics_params" in types else none  # noqa: SIM401
    names = [
        f"edge_type_{key}" if pd.isna(name) else str(name).removesuffix(".json")
        for key, name in zip(types.index, own, strict=True)
    ]
    return np.array(names, dtype=object)


def tsodyks_parameters(types: pd.DataFrame) -> pd.DataFrame:
    """Parameters of the types with short-term plasticity.

    Args:
        types: with the contents of the files (`join.with_synapse_models`).

    Returns:
        One row per plastic type, under its id, one column per entry of `PLASTICITY_UNITS`; NaN for
        what is not a number.
    """
    plastic = types.loc[templates(types) == TSODYKS]
    columns = {}
    for name in PLASTICITY_UNITS:
        values = np.full(len(plastic), TSODYKS_DEFAULTS[name])
        key = SYNAPSE_PARAMETER + name
        if key in plastic:
            given = plastic[key].to_numpy()
            absent = np.array([is_absent(value) for value in given], dtype=bool)
            values = np.where(absent, values, numbers(given))
        columns[name] = values
    return pd.DataFrame(columns, index=plastic.index)


def synapse_problems(types: pd.DataFrame, where: object) -> list[Problem]:
    """What is wrong with the synapse models of an edge types table, one problem per model.

    Args:
        types: with the contents of the files (`join.with_synapse_models`).
        where: the table, for messages.
    """
    types = _each_file_once(types)
    problems = {
        f"template {name}": Problem(
            f"unknown synapse model '{name}'",
            f"{where}, column model_template",
            name,
            f"choose one of: {STATIC}, {TSODYKS}",
        )
        for name in dict.fromkeys(templates(types))
        if name not in (STATIC, TSODYKS)
    }
    problems |= _unknown_parameters(types, where)
    parameters = tsodyks_parameters(types)
    names = model_names(types.loc[parameters.index])
    for name, row in zip(names, parameters.to_dict("records"), strict=True):
        for key, value in row.items():
            rule = _broken_rule(str(key), value)
            if rule:
                problems[f"{name} {key}"] = Problem(
                    f"'{key}' of a {TSODYKS} {rule}",
                    f"{where}, synaptic model {name}, parameter {key}",
                    f"{value:g}",
                    "correct the file",
                )
    return list(problems.values())


def _each_file_once(types: pd.DataFrame) -> pd.DataFrame:
    """The first type of every template and synaptic model file, and every type without a file."""
    if "dynamics_params" not in types:
        return types
    said = [name for name in ("model_template", "dynamics_params") if name in types]
    return types.loc[types["dynamics_params"].isna() | ~types.duplicated(said)]


def _unknown_parameters(types: pd.DataFrame, where: object) -> dict[str, Problem]:
    """Parameters of synaptic model files that their synapses do not have."""
    problems: dict[str, Problem] = {}
    keys = [key for key in types if str(key).startswith(SYNAPSE_PARAMETER)]
    rows = types.loc[:, keys].to_dict("records")
    for file, template, row in zip(model_names(types), templates(types), rows, strict=True):
        here = f"{where}, synaptic model {file}"
        own = [
            str(key).removeprefix(SYNAPSE_PARAMETER)
            for key, value in row.items()
            if not is_absent(value)
        ]
        plastic = [name for name in own if name in TSODYKS_DEFAULTS]
        if plastic and template == STATIC:
            what = f"a {STATIC} has no short-term plasticity"
            fix = f"name the model_template {TSODYKS}, or remove them from the file"
            problems[f"{file} plastic"] = Problem(what, here, ", ".join(plastic), fix)
        known = (*_OF_EVERY_SYNAPSE, *(TSODYKS_DEFAULTS if template == TSODYKS else ()))
        problems |= {
            f"{file} {name}": unknown_name("synapse parameter", name, known, here)
            for name in own
            if name not in (*_OF_EVERY_SYNAPSE, *plastic)
        }
    return problems


def not_at_rest(
    values: Mapping[str, NDArray[np.float64]], labels: Sequence[str], where: object
) -> list[Problem]:
    """Synapse models that start otherwise than at rest (u = U, x = 1), of which no step is known here.

    NEST's tsodyks2_synapse keeps such a state until the first spike, however late; here it would relax.

    Args:
        values: of U, u and x, [models].
        labels: [models] their names.
        where: for messages.
    """
    U, u, x = (values[key] for key in ("U", "u", "x"))
    away = ~(np.isclose(u, U, rtol=1e-6, atol=0) & np.isclose(x, 1, rtol=1e-6, atol=0))
    return [
        Problem(
            "a synapse with short-term plasticity does not start at rest",
            f"{where}, synapse model {labels[row]}",
            f"u {u[row]:g}, x {x[row]:g} with U {U[row]:g}",
            f"set u to {U[row]:g} and x to 1 in its file (NEST's own default of u is 0.5)",
        )
        for row in np.flatnonzero(away).tolist()
    ]


def _broken_rule(name: str, value: float) -> str:
    if not np.isfinite(value):
        return "is not a number"
    if name == "U" and not 0 < value <= 1:
        return "must be above 0 and at most 1"
    if name in ("u", "x") and not 0 <= value <= 1:
        return "must be from 0 to 1"
    if name == "tau_rec" and value <= 0:
        return "must be positive"
    if name == "tau_fac" and value < 0:
        return "must not be negative"
    return ""
