"""Component files of GLIF cells of all five levels: NEST's `glif_psc_double_alpha` and `glif_psc`.

An alpha synapse is a double-alpha synapse without its slow part, so `glif_psc` is read as tau_syn_fast
= tau_syn and amp_slow = 0: that is its definition, not an approximation.

The flags of a file say which mechanisms act; NEST accepts five combinations of them:

    level  spike_dependent_threshold  after_spike_currents  adapting_threshold
    1      false                      false                 false
    2      true                       false                 false
    3      false                      true                  false
    4      true                       true                  false
    5      true                       true                  true

A mechanism that is switched off has zeros in memory, whatever the file says of it, and so has the
rate of one whose amplitude is zero. With spike_dependent_threshold NEST resets to E_L +
voltage_reset_fraction (V - E_L) + voltage_reset_add and ignores V_reset; in memory V_reset = E_L +
voltage_reset_add. Flags are derived when a file is written.

NEST's own defaults hold where a file is silent: asc_r = 1, the voltage at time 0, and the
parameters of the threshold and of the reset (`_DEFAULTS`, from nest.GetDefaults of NEST 3.10).

The older templates `glif_lif_psc` to `glif_lif_r_asc_a_psc` name the level. Their files are the
neuron configurations of the Allen Cell Types Database (SI units; `type` is "GLIF"), which BMTK turns
into `glif_psc` with four ports; a file with NEST's parameters is taken as `glif_psc` of that level.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.schema.errors import NetworkError, Problem, unknown_name
from v1builder.schema.names import GLIF_TEMPLATE, PSC_ALPHA
from v1builder.schema.parameters import PARAMETERS, THRESHOLD_PARAMETERS
from v1builder.sonata.cell_model import (
    WITHOUT_EFFECT,
    CellModel,
    missing_problem,
    parameter_problems,
    reset_problem,
)

ALPHA_TEMPLATE: Final = "nest:glif_psc"
FLAGS: Final = ("spike_dependent_threshold", "after_spike_currents", "adapting_threshold")
#: Combinations of `FLAGS` that NEST accepts, level 1 to 5.
LEVELS: Final = (
    (False, False, False),
    (True, False, False),
    (False, True, False),
    (True, True, False),
    (True, True, True),
)
#: Older templates and their level.
ALLEN_TEMPLATES: Final = {
    "nest:glif_lif_psc": 1,
    "nest:glif_lif_r_psc": 2,
    "nest:glif_lif_asc_psc": 3,
    "nest:glif_lif_r_asc_psc": 4,
    "nest:glif_lif_r_asc_a_psc": 5,
}
#: Ports (ms) that BMTK gives to the neuron configurations of the Allen Institute.
_ALLEN_TAU_SYN: Final = (5.5, 8.5, 2.8, 5.8)

_DEFAULTS: Final = {
    "V_m": -78.85,
    "th_spike_add": 0.37,
    "th_spike_decay": 0.009,
    "voltage_reset_fraction": 0.2,
    "voltage_reset_add": 18.51,
    "th_voltage_index": 0.005,
    "th_voltage_decay": 0.09,
}
_ALWAYS: Final = ("C_m", "g", "E_L", "V_th", "t_ref")
_SCALARS: Final = (*_ALWAYS, "V_reset", *_DEFAULTS)
_ASC: Final = ("asc_amps", "asc_decay", "asc_r")
_PORTS: Final = ("tau_syn_fast", "tau_syn", "tau_syn_slow", "amp_slow")
_POSITIVE: Final = (
    "tau_syn",
    # A file's V_th is not relative to E_L.
    *(
        p.name
        for p in PARAMETERS.values()
        if p.range == "positive" and p.name not in ("V_th", "tau_rec")
    ),
)
#: What NEST has besides: where the state starts, of which only zeros are supported, and what has no effect.
_STATE: Final = (
    "ASCurrents",
    "threshold_spike",
    "threshold_voltage",
    "ignore_and_spike",
    "asc_init",
)
_KNOWN: Final = (*_SCALARS, *_ASC, *_PORTS, *FLAGS, *_STATE, *WITHOUT_EFFECT)
_RATES: Final = {"th_spike_add": "th_spike_decay", "th_voltage_index": "th_voltage_decay"}


def normalised(parameters: Mapping[str, Any], template: str) -> tuple[dict[str, Any], str]:
    """Parameters and template of a file as `glif_psc` or `glif_psc_double_alpha` has them.

    Raises:
        KeyError: an Allen configuration lacks an entry; the exception names it.
    """
    if template not in ALLEN_TEMPLATES:
        return dict(parameters), template
    flags: dict[str, bool] = dict(zip(FLAGS, LEVELS[ALLEN_TEMPLATES[template] - 1], strict=True))
    if parameters.get("type") == "GLIF":
        return _from_allen(parameters, flags), ALPHA_TEMPLATE
    return {**flags, **parameters}, ALPHA_TEMPLATE


def _from_allen(config: Mapping[str, Any], flags: Mapping[str, bool]) -> dict[str, Any]:
    """An Allen neuron configuration (V, s, F, Ohm, A) in NEST's names and units."""
    coeffs = config["coeffs"]
    reference = float(config["El_reference"])
    E_L = 1e3 * (float(config["El"]) + reference)
    values: dict[str, Any] = {
        "C_m": coeffs["C"] * config["C"] * 1e12,
        "g": coeffs["G"] / config["R_input"] * 1e9,
        "E_L": E_L,
        "V_m": E_L,
        "V_th": coeffs["th_inf"] * config["th_inf"] * 1e3 + reference * 1e3,
        "V_reset": reference * 1e3,
        "t_ref": config["spike_cut_length"] * config["dt"] * 1e3,
        "tau_syn": list(_ALLEN_TAU_SYN),
        **flags,
    }
    if flags["after_spike_currents"]:
        amps, scale = np.array(config["asc_amp_array"]), np.array(coeffs["asc_amp_array"])
        values["asc_amps"] = (amps * scale * 1e12).tolist()
        values["asc_decay"] = (1.0 / np.array(config["asc_tau_array"]) * 1e-3).tolist()
        values["asc_init"] = (np.array(config["init_AScurrents"]) * 1e12).tolist()
    if flags["spike_dependent_threshold"]:
        threshold = config["threshold_dynamics_method"]["params"]
        reset = config["voltage_reset_method"]["params"]
        values["th_spike_add"] = threshold["a_spike"] * 1e3
        values["th_spike_decay"] = threshold["b_spike"] * 1e-3
        values["voltage_reset_fraction"] = reset["a"]
        values["voltage_reset_add"] = reset["b"] * 1e3
        if flags["adapting_threshold"]:
            values["th_voltage_index"] = threshold["a_voltage"] * coeffs["a"] * 1e-3
            values["th_voltage_decay"] = threshold["b_voltage"] * coeffs["b"] * 1e-3
    return values


def _flags(parameters: Mapping[str, Any]) -> tuple[bool, bool, bool]:
    spike, currents, adapting = (parameters.get(flag, False) is True for flag in FLAGS)
    return spike, currents, adapting


def read_glif(parameters: Mapping[str, Any], template: str) -> CellModel:
    """The cell of a component file in which `glif_problems` found nothing."""

    def array(name: str) -> NDArray[np.float64]:
        return np.asarray(parameters.get(name, _DEFAULTS.get(name)), dtype=np.float64)

    spike, currents, adapting = _flags(parameters)
    membrane = {name: array(name) for name in _ALWAYS}
    E_L = membrane["E_L"]
    membrane["V_reset"] = E_L + array("voltage_reset_add") if spike else array("V_reset")
    n_asc = len(parameters.get("asc_amps", ()))
    membrane["asc_amps"] = array("asc_amps") if n_asc and currents else np.zeros(n_asc)
    membrane["asc_decay"] = array("asc_decay") if "asc_decay" in parameters else np.ones(n_asc)
    membrane["asc_r"] = array("asc_r") if "asc_r" in parameters else np.ones(n_asc)
    acting = ("th_spike_add", "th_spike_decay", "voltage_reset_fraction") if spike else ()
    acting += ("th_voltage_index", "th_voltage_decay") if adapting else ()
    membrane |= {
        name: array(name) if name in acting else np.zeros(()) for name in THRESHOLD_PARAMETERS
    }
    for amplitude, rate in _RATES.items():
        if membrane[amplitude] == 0:
            membrane[rate] = np.zeros(())
    fast = array("tau_syn_fast" if "tau_syn_fast" in parameters else "tau_syn")
    double = template == GLIF_TEMPLATE
    receptors = {
        "tau_syn_fast": fast,
        "tau_syn_slow": array("tau_syn_slow") if double else fast.copy(),
        "amp_slow": array("amp_slow") if double else np.zeros_like(fast),
        "psc_shape": np.full(fast.shape, float(PSC_ALPHA)),
    }
    return CellModel(membrane, receptors, float(array("V_m")), template=template)


def glif_parameters(model: CellModel, where: object = "cell model") -> dict[str, Any]:
    """The component file of a `glif_psc_double_alpha` cell with these parameters.

    Holds `V_m` and `asc_init` = 0 as well, which other readers of such files expect.

    Raises:
        NetworkError: a threshold that grows and never decays, which NEST refuses.
    """
    membrane = {
        name: value.tolist() if value.ndim else float(value)
        for name, value in model.membrane.items()
    }
    own = {name: membrane.pop(name) for name in THRESHOLD_PARAMETERS}
    adapting = own["th_voltage_index"] != 0
    spike = adapting or own["th_spike_add"] != 0 or own["voltage_reset_fraction"] != 0
    for amplitude, rate in _RATES.items():
        if own[amplitude] != 0 and own[rate] <= 0:
            raise NetworkError.of(
                f"'{rate}' must be positive where there is '{amplitude}'",
                where,
                own[rate],
                "NEST cannot run such a cell",
            )
        own[rate] = own[rate] if own[amplitude] != 0 else _DEFAULTS[rate]
    if spike:
        own["voltage_reset_add"] = membrane["V_reset"] - membrane["E_L"]
        membrane["V_reset"] = membrane["E_L"]  # which NEST ignores, if it lies below V_th
        if not adapting:
            own = {k: v for k, v in own.items() if not k.startswith("th_voltage")}
        membrane |= own
    return {
        **membrane,
        "V_m": membrane["E_L"] if model.V_m is None else model.V_m,
        "asc_init": [0.0] * len(model.membrane["asc_amps"]),
        "spike_dependent_threshold": spike,
        "after_spike_currents": True,
        "adapting_threshold": adapting,
        **{name: v.tolist() for name, v in model.receptors.items() if name != "psc_shape"},
    }


def glif_problems(parameters: Mapping[str, Any], template: str, where: object) -> list[Problem]:
    """Everything wrong with the component file of a GLIF cell, in `normalised` form."""
    spike, _, adapting = _flags(parameters)
    positive = [*_POSITIVE]
    positive += ["th_spike_decay"] if spike else []
    positive += ["th_voltage_decay"] if adapting else []
    problems = [
        unknown_name("parameter", name, _KNOWN, where) for name in parameters if name not in _KNOWN
    ]
    problems += [
        Problem(
            "a switch is neither true nor false",
            f"{where}, parameter {flag}",
            json.dumps(parameters[flag], default=str),
            "write true or false, without quotes",
        )
        for flag in FLAGS
        if not isinstance(parameters.get(flag, False), bool)
    ]
    problems += _missing(parameters, template, where)
    found, arrays = parameter_problems(
        parameters, _SCALARS, (*_ASC, *_PORTS), positive, ("t_ref",), where
    )
    return problems + found + _disagreements(parameters, arrays, where)


def _missing(parameters: Mapping[str, Any], template: str, where: object) -> list[Problem]:
    spike, currents, _ = _flags(parameters)
    required = list(_ALWAYS) + ([] if spike else ["V_reset"])
    if template == GLIF_TEMPLATE:
        required += ["tau_syn_slow", "amp_slow"]
    if "tau_syn" not in parameters:
        required.append("tau_syn_fast" if template == GLIF_TEMPLATE else "tau_syn")
    if currents:
        required += ["asc_amps", "asc_decay"]
    return [
        missing_problem(name, parameters, required, where)
        for name in required
        if name not in parameters
    ]


def _disagreements(
    parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float64]], where: object
) -> list[Problem]:
    problems = []
    if "V_reset" in arrays and "V_th" in arrays:
        problems += reset_problem(float(arrays["V_reset"]), float(arrays["V_th"]), where)
    for names in (_ASC, _PORTS):
        lengths = {name: len(arrays[name]) for name in names if name in arrays}
        if len(set(lengths.values())) > 1:
            problems.append(
                Problem(
                    "parameters differ in length", str(where), str(lengths), "give equal lengths"
                )
            )
    flags = _flags(parameters)
    if flags not in LEVELS:
        problems.append(
            Problem(
                "NEST has no GLIF level with these mechanisms",
                str(where),
                ", ".join(f"{name} {value}" for name, value in zip(FLAGS, flags, strict=True)),
                "adapting_threshold needs spike_dependent_threshold and after_spike_currents",
            )
        )
    for name in _STATE:
        if not _is_zero(parameters.get(name, 0)):
            what = (
                "after-spike currents must start at zero"
                if name == "asc_init"
                else (f"'{name}' other than zero is not supported")
            )
            shown = json.dumps(parameters[name], default=str)
            problems.append(Problem(what, f"{where}, parameter {name}", shown, "remove it"))
    amps = arrays.get("asc_amps")
    silent = "after_spike_currents" not in parameters  # a file that says false means it
    if amps is not None and np.any(amps != 0) and silent:
        problems.append(
            Problem(
                "NEST would ignore the after-spike currents",
                str(where),
                "asc_amps without after_spike_currents",
                'add "after_spike_currents": true (or false, if they are to be ignored)',
            )
        )
    return problems


def _is_zero(value: Any) -> bool:
    """Whether a number, or every number of a list, is zero (or false)."""
    values = value if isinstance(value, list) else [value]
    return all(isinstance(each, bool | int | float) and each == 0 for each in values)


def allen_problems(parameters: Mapping[str, Any], template: str, where: object) -> list[Problem]:
    """What keeps an Allen neuron configuration from being read."""
    try:
        normalised(parameters, template)
    except KeyError as error:
        what = f"the neuron configuration lacks {error}"
        return [Problem(what, str(where), fix="name a complete neuron_config.json")]
    except (TypeError, ValueError) as error:
        return [Problem("the neuron configuration is not valid", str(where), str(error))]
    return []
