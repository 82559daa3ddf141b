"""Component files of NEST's other neurons with currents as synapses, read as they are.

NEST calls such a neuron X_psc_alpha, X_psc_exp or X_psc_delta, by what a spike does. All of them have two
ports, chosen by the sign of a weight, with time constants `tau_syn_ex` and `tau_syn_in`; `V_m` is the voltage
at time 0 and `I_e` a constant current. Those belong to the network. The other numbers belong to the neuron:
they are kept under their names, and the neuron's own file (`model.neurons`) says what they mean, what they
must be, and what NEST takes where a file is silent. NaN in memory is "the file is silent".
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from v1builder.schema.errors import Problem
from v1builder.schema.names import PSC_ALPHA, PSC_DELTA, PSC_EXPONENTIAL
from v1builder.schema.parameters import PORT_FILL
from v1builder.sonata.cell_model import WITHOUT_EFFECT, CellModel, parameter_problems

SHAPE_OF_SUFFIX: Final = {
    "_psc_alpha": PSC_ALPHA,
    "_psc_exp": PSC_EXPONENTIAL,
    "_psc_delta": PSC_DELTA,
}
_TAUS: Final = ("tau_syn_ex", "tau_syn_in")
_OF_NETWORK: Final = (*_TAUS, "V_m", "I_e")


def _shape(template: str) -> int | None:
    for suffix, shape in SHAPE_OF_SUFFIX.items():
        if template.startswith("nest:") and template.endswith(suffix):
            return shape
    return None


def is_other(template: str) -> bool:
    """Whether cells of a template (without a reader of its own) are read here."""
    return _shape(template) is not None


def own_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The neuron's own parameters of a file."""
    left_out = (*_OF_NETWORK, *WITHOUT_EFFECT)
    return {name: value for name, value in parameters.items() if name not in left_out}


def other_problems(parameters: Mapping[str, Any], where: object) -> list[Problem]:
    """Everything wrong with a component file that needs no knowledge of the neuron."""
    names = [name for name in parameters if name not in WITHOUT_EFFECT]
    problems, _ = parameter_problems(parameters, names, (), _TAUS, (), where)
    if "V_m" in parameters and "E_L" not in parameters:
        problems.append(
            Problem(
                "the file gives the voltage at time 0 and not the zero of voltages",
                str(where),
                "V_m without E_L",
                "add 'E_L', or leave 'V_m' out",
            )
        )
    return problems


def read_other(parameters: Mapping[str, Any], template: str) -> CellModel:
    """The cell of a component file in which `other_problems` found nothing."""
    own = {name: np.asarray(float(value)) for name, value in own_parameters(parameters).items()}
    tau = np.array([float(parameters.get(name, math.nan)) for name in _TAUS])
    shape = _shape(template)
    assert shape is not None
    if shape == PSC_DELTA:
        tau = np.full(2, PORT_FILL["tau_syn_fast"])
    receptors = {
        "tau_syn_fast": tau,
        "tau_syn_slow": tau.copy(),
        "amp_slow": np.zeros(2),
        "psc_shape": np.full(2, float(shape)),
    }
    start = float(parameters.get("V_m", math.nan))
    return CellModel(own, receptors, start, float(parameters.get("I_e", 0.0)), template)


def other_parameters(model: CellModel) -> dict[str, Any]:
    """The component file of such a cell; what is NaN is left out."""
    values = {name: float(value) for name, value in model.membrane.items()}
    # A port that no edge names may have been cut off together with its time constant.
    tau = [*model.receptors["tau_syn_fast"].tolist(), *[PORT_FILL["tau_syn_fast"]] * 2]
    if _shape(model.template) != PSC_DELTA:
        values |= dict(zip(_TAUS, tau, strict=False))
    if model.V_m is not None:
        values["V_m"] = model.V_m
    values["I_e"] = model.bias_current
    return {name: value for name, value in values.items() if not math.isnan(value)}
