"""Cell models of point-neuron networks: GLIF parameters in NEST's names, and what is wrong in them.

Supported are NEST's `glif_psc_double_alpha` and `glif_psc`. An alpha synapse is a double-alpha
synapse without its slow part, so `glif_psc` is read as tau_syn_fast = tau_syn and amp_slow = 0:
that is its definition, not an approximation. (tau_syn_slow then has no effect.)

NEST's own defaults hold where a file is silent: asc_r = 1, and after-spike currents act only if
`after_spike_currents` is true.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.schema.errors import NetworkError, Problem, nearest, raise_if_any, unknown_name
from v1builder.schema.names import GLIF_TEMPLATE, PSC_ALPHA, THRESHOLD_PARAMETERS

TEMPLATES: Final = (GLIF_TEMPLATE, "nest:glif_psc")

_SCALARS: Final = ("C_m", "g", "E_L", "V_th", "V_reset", "t_ref")
_ASC: Final = ("asc_amps", "asc_decay", "asc_r")
_POSITIVE: Final = ("C_m", "g", "tau_syn_fast", "tau_syn_slow", "tau_syn", "asc_decay")
_NOT_NEGATIVE: Final = ("t_ref",)


@dataclass(frozen=True)
class CellModel:
    """Parameters of one cell model.

    Attributes:
        membrane: by name of `schema.names.GLIF_UNITS`: a number, or [a] one value per after-spike
            current.
        receptors: by name of `schema.names.RECEPTOR_UNITS`: [r] one value per port.
    """

    membrane: dict[str, NDArray[np.float64]]
    receptors: dict[str, NDArray[np.float64]]


def read_cell_model(parameters: Mapping[str, Any], template: str, where: object) -> CellModel:
    """The cell model that NEST would make of a component file.

    Raises:
        NetworkError: listing everything wrong with it.
    """
    raise_if_any(cell_model_problems(parameters, template, where), NetworkError)

    def array(name: str) -> NDArray[np.float64]:
        return np.asarray(parameters[name], dtype=np.float64)

    membrane = {name: array(name) for name in _SCALARS}
    n_asc = len(parameters.get("asc_amps", ()))
    if n_asc and parameters.get("after_spike_currents", False):
        membrane |= {"asc_amps": array("asc_amps"), "asc_decay": array("asc_decay")}
    else:
        membrane |= {"asc_amps": np.zeros(n_asc), "asc_decay": np.ones(n_asc)}
        if "asc_decay" in parameters:
            membrane["asc_decay"] = array("asc_decay")
    membrane["asc_r"] = array("asc_r") if "asc_r" in parameters else np.ones(n_asc)
    membrane |= {name: np.zeros(()) for name in THRESHOLD_PARAMETERS}
    fast = array("tau_syn_fast" if "tau_syn_fast" in parameters else "tau_syn")
    if template == GLIF_TEMPLATE:
        receptors = {"tau_syn_slow": array("tau_syn_slow"), "amp_slow": array("amp_slow")}
    else:
        receptors = {"tau_syn_slow": fast.copy(), "amp_slow": np.zeros_like(fast)}
    receptors = {"tau_syn_fast": fast, **receptors, "psc_shape": np.full(fast.shape, PSC_ALPHA)}
    return CellModel(membrane, receptors)


def cell_model_parameters(model: CellModel) -> dict[str, Any]:
    """The component file of a `glif_psc_double_alpha` cell with these parameters.

    Holds `V_m` = V_reset and `asc_init` = 0 as well, which other readers of such files expect.
    """
    membrane = {
        name: value.tolist() if value.ndim else float(value)
        for name, value in model.membrane.items()
        if name not in THRESHOLD_PARAMETERS
    }
    return {
        **membrane,
        "V_m": membrane["V_reset"],
        "asc_init": [0.0] * len(model.membrane["asc_amps"]),
        "spike_dependent_threshold": False,
        "after_spike_currents": True,
        "adapting_threshold": False,
        **{name: value.tolist() for name, value in model.receptors.items() if name != "psc_shape"},
    }


def cell_model_problems(
    parameters: Mapping[str, Any], template: str, where: object
) -> list[Problem]:
    """Everything wrong with the component file of a cell."""
    if template not in TEMPLATES:
        return [unknown_name("model template", template, TEMPLATES, where)]
    arrays: dict[str, NDArray[np.float64]] = {}
    problems = _missing(parameters, template, where)
    for name in (*_SCALARS, *_ASC, "tau_syn_fast", "tau_syn_slow", "tau_syn", "amp_slow"):
        if name not in parameters:
            continue
        here = f"{where}, parameter {name}"
        try:
            value = np.asarray(parameters[name], dtype=np.float64)
        except (TypeError, ValueError):
            problems.append(Problem("a parameter is not a number", here, repr(parameters[name])))
            continue
        if value.ndim != (0 if name in _SCALARS else 1):
            expected = "one number" if name in _SCALARS else "a list of numbers"
            problems.append(
                Problem("a parameter has the wrong shape", here, str(value.shape), expected)
            )
        elif not np.all(np.isfinite(value)):
            problems.append(Problem("a parameter is NaN or infinite", here, str(parameters[name])))
        elif name in _POSITIVE and not np.all(value > 0):
            problems.append(
                Problem(
                    "a parameter must be positive", here, str(parameters[name]), "correct the file"
                )
            )
        elif name in _NOT_NEGATIVE and value < 0:
            problems.append(
                Problem("a parameter must not be negative", here, str(parameters[name]))
            )
        else:
            arrays[name] = value
    return problems + _disagreements(parameters, arrays, where)


def _missing(parameters: Mapping[str, Any], template: str, where: object) -> list[Problem]:
    required: list[str] = list(_SCALARS)
    if template == GLIF_TEMPLATE:
        required += ["tau_syn_slow", "amp_slow"]
    if "tau_syn" not in parameters:
        required.append("tau_syn_fast" if template == GLIF_TEMPLATE else "tau_syn")
    if parameters.get("after_spike_currents", False):
        required += ["asc_amps", "asc_decay"]

    def problem(name: str) -> Problem:
        guess = nearest(name, [key for key in parameters if key not in required])
        fix = f"add '{name}'" + (f"; the file has '{guess}'" if guess else "")
        return Problem(f"the cell model lacks the parameter '{name}'", str(where), fix=fix)

    return [problem(name) for name in required if name not in parameters]


def _disagreements(
    parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float64]], where: object
) -> list[Problem]:
    problems = []
    if "V_reset" in arrays and "V_th" in arrays and arrays["V_reset"] >= arrays["V_th"]:
        problems.append(
            Problem(
                "V_reset is not below V_th",
                str(where),
                f"V_reset {arrays['V_reset']:g} mV, V_th {arrays['V_th']:g} mV",
                "the cell would spike for ever; correct one of the two",
            )
        )
    for names in (_ASC, ("tau_syn_fast", "tau_syn", "tau_syn_slow", "amp_slow")):
        lengths = {name: len(arrays[name]) for name in names if name in arrays}
        if len(set(lengths.values())) > 1:
            problems.append(
                Problem(
                    "parameters differ in length", str(where), str(lengths), "give equal lengths"
                )
            )
    problems += [
        Problem(f"'{flag}' is not supported", str(where), "true", "use a GLIF1 or GLIF3 model")
        for flag in ("spike_dependent_threshold", "adapting_threshold")
        if parameters.get(flag, False)
    ]
    if np.any(np.asarray(parameters.get("asc_init", 0.0), dtype=np.float64) != 0):
        problems.append(
            Problem("after-spike currents must start at zero", str(where), "asc_init is not zero")
        )
    amps = arrays.get("asc_amps")
    if amps is not None and np.any(amps != 0) and not parameters.get("after_spike_currents", False):
        problems.append(
            Problem(
                "NEST would ignore the after-spike currents",
                str(where),
                "asc_amps without after_spike_currents",
                'add "after_spike_currents": true',
            )
        )
    return problems
