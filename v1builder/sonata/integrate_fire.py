"""Component files of integrate-and-fire cells: NEST's `iaf_psc_alpha`, `iaf_psc_exp`, `iaf_psc_delta`.

Each is a GLIF cell without after-spike currents, g = C_m / tau_m, with two ports that NEST chooses
by the sign of a weight: excitatory and inhibitory. What a spike does there is an alpha current, an
exponential current or a jump of the voltage (`psc_shape`). I_e is a bias current.

They spike where V >= V_th, a GLIF cell where V > V_th; so V_th in memory is the largest value that
is lower as the model sees it, above E_L (see `strict_threshold`).

NEST's own defaults hold where a file is silent (`_DEFAULTS`, from nest.GetDefaults of NEST 3.10).
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from v1builder.schema.errors import Problem, unknown_name
from v1builder.schema.names import PSC_ALPHA, PSC_DELTA, PSC_EXPONENTIAL
from v1builder.schema.parameters import THRESHOLD_PARAMETERS
from v1builder.sonata.cell_model import (
    WITHOUT_EFFECT,
    CellModel,
    parameter_problems,
    reset_problem,
)

SHAPE_OF: Final = {
    "nest:iaf_psc_alpha": PSC_ALPHA,
    "nest:iaf_psc_exp": PSC_EXPONENTIAL,
    "nest:iaf_psc_delta": PSC_DELTA,
}
#: Ports in memory, in order.
EXCITATORY: Final = 0
INHIBITORY: Final = 1

_DEFAULTS: Final = {
    "C_m": 250.0,
    "tau_m": 10.0,
    "E_L": -70.0,
    "V_th": -55.0,
    "V_reset": -70.0,
    "V_m": -70.0,
    "t_ref": 2.0,
    "I_e": 0.0,
    "tau_syn_ex": 2.0,
    "tau_syn_in": 2.0,
}
_TAUS: Final = ("tau_syn_ex", "tau_syn_in")
_POSITIVE: Final = ("C_m", "tau_m", *_TAUS)
#: Parameters that switch something on that is not modelled, and the values that leave it off.
_OFF: Final[dict[str, tuple[Any, ...]]] = {
    "delta": (0,),
    "refractory_input": (False,),
    "ignore_and_spike": (False,),
}
_NO_LIMIT: Final = -1e6


def _names(template: str) -> list[str]:
    taus = () if SHAPE_OF[template] == PSC_DELTA else _TAUS
    return [name for name in _DEFAULTS if name not in _TAUS or name in taus]


def iaf_problems(parameters: Mapping[str, Any], template: str, where: object) -> list[Problem]:
    """Everything wrong with the component file of an integrate-and-fire cell."""
    names = _names(template)
    known = [*names, "V_min", *_OFF, *WITHOUT_EFFECT]
    problems = [
        unknown_name("parameter", name, known, where) for name in parameters if name not in known
    ]
    found, arrays = parameter_problems(parameters, names, (), _POSITIVE, ("t_ref",), where)
    problems += found
    if not any(problem.where.endswith(("V_th", "V_reset")) for problem in found):
        value = {name: float(arrays.get(name, _DEFAULTS[name])) for name in ("V_reset", "V_th")}
        problems += reset_problem(value["V_reset"], value["V_th"], where)
    for name, off in _OFF.items():
        if name in parameters and parameters[name] not in off:
            shown = json.dumps(parameters[name], default=str)
            problems.append(Problem(f"'{name}' is not supported", str(where), shown, "remove it"))
    lowest = parameters.get("V_min")
    if isinstance(lowest, int | float) and lowest > _NO_LIMIT:
        problems.append(
            Problem("a lower limit of the voltage is not supported", f"{where}, V_min", str(lowest))
        )
    return problems


def read_iaf(parameters: Mapping[str, Any], template: str) -> CellModel:
    """The cell of a component file in which `iaf_problems` found nothing."""
    value = {name: float(parameters.get(name, _DEFAULTS[name])) for name in _DEFAULTS}
    shape = SHAPE_OF[template]
    tau = np.array([1.0, 1.0] if shape == PSC_DELTA else [value[name] for name in _TAUS])
    membrane = {
        "C_m": value["C_m"],
        "g": value["C_m"] / value["tau_m"],
        "E_L": value["E_L"],
        "V_th": strict_threshold(value["V_th"], value["E_L"]),
        "V_reset": value["V_reset"],
        "t_ref": value["t_ref"],
    }
    return CellModel(
        {name: np.asarray(number) for name, number in membrane.items()}
        | {name: np.zeros(0) for name in ("asc_amps", "asc_decay", "asc_r")}
        | {name: np.zeros(()) for name in THRESHOLD_PARAMETERS},
        {
            "tau_syn_fast": tau,
            "tau_syn_slow": tau.copy(),
            "amp_slow": np.zeros(2),
            "psc_shape": np.full(2, float(shape)),
        },
        value["V_m"],
        value["I_e"],
        template,
    )


def is_iaf(model: CellModel, template: str) -> bool:
    """Whether a cell of `template` (an integrate-and-fire one) can have these parameters."""
    shapes = model.receptors["psc_shape"]
    mechanisms = ("asc_amps", *THRESHOLD_PARAMETERS)
    return bool(
        len(shapes) >= 2
        and np.all(shapes[:2] == SHAPE_OF[template])
        and not np.any(model.receptors["amp_slow"][:2])
        and not any(np.any(model.membrane[name]) for name in mechanisms)
    )


def iaf_parameters(model: CellModel, template: str) -> dict[str, Any]:
    """The component file of a cell for which `is_iaf` holds."""
    membrane = {name: float(value) for name, value in model.membrane.items() if value.ndim == 0}
    parameters = {
        "C_m": membrane["C_m"],
        "tau_m": _time_constant(membrane["C_m"], membrane["g"]),
        "E_L": membrane["E_L"],
        "V_th": inclusive_threshold(membrane["V_th"], membrane["E_L"]),
        "V_reset": membrane["V_reset"],
        "V_m": membrane["E_L"] if model.V_m is None else model.V_m,
        "t_ref": membrane["t_ref"],
        "I_e": model.bias_current,
    }
    if SHAPE_OF[template] != PSC_DELTA:
        parameters |= dict(zip(_TAUS, model.receptors["tau_syn_fast"][:2].tolist(), strict=True))
    return parameters


def strict_threshold(V_th: float, E_L: float) -> float:
    """The threshold (mV) for "V > threshold" that means the same as V >= V_th.

    The model tests U = V - E_L against V_th - E_L in float64; what it gets must be lower there.
    """
    distance = V_th - E_L
    lower = min(np.nextafter(V_th, -np.inf), E_L + np.nextafter(distance, -np.inf))
    steps = 1
    while not lower - E_L < distance:
        steps *= 2
        lower = E_L + (distance - steps * np.spacing(distance))
    return float(lower)


def inclusive_threshold(V_th: float, E_L: float) -> float:
    """The number (mV) of which `strict_threshold` makes `V_th`; the shortest where several do."""
    distance = V_th - E_L
    candidates = [float(f"{V_th:.{digits}g}") for digits in range(4, 17)]
    candidates += [float(np.nextafter(V_th, np.inf)), float(E_L + np.nextafter(distance, np.inf))]
    same = [value for value in candidates if strict_threshold(value, E_L) == V_th]
    return same[0] if same else float(np.nextafter(V_th, np.inf))


def _time_constant(C_m: float, g: float) -> float:
    """The time constant (ms) with C_m / tau_m = g, the shortest number where several have it."""
    tau = C_m / g
    candidates = [float(f"{tau:.{digits}g}") for digits in range(4, 17)]
    candidates += [float(np.nextafter(tau, direction)) for direction in (-np.inf, np.inf)]
    return next((value for value in candidates if C_m / value == g), tau)
