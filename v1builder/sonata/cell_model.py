"""A cell model as read from a component file, and what all its templates have in common."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.schema.errors import Problem, nearest

#: Parameters of every neuron of NEST without effect here: those of plasticity and of bookkeeping.
WITHOUT_EFFECT: Final = (
    "tau_minus",
    "tau_minus_triplet",
    "tau_Ca",
    "beta_Ca",
    "Ca",
    "frozen",
    "rho",
)


@dataclass
class CellModel:
    """Parameters of one cell model.

    Attributes:
        membrane: by name of `schema.parameters.GLIF_UNITS`: a number, or [a] one value per after-spike
            current. V_th is such that the cell spikes where V > V_th. Of other neurons
            (`sonata.other_neurons`) the numbers as their file has them.
        receptors: by name of `schema.parameters.RECEPTOR_UNITS`: [r] one value per port.
        V_m: mV, voltage at time 0; E_L when None, what the neuron says when NaN.
        bias_current: pA, constant current (NEST's I_e).
        template: SONATA `model_template` it was read from, or is to be written as if it can be.
    """

    membrane: dict[str, NDArray[np.float64]]
    receptors: dict[str, NDArray[np.float64]]
    V_m: float | None = None
    bias_current: float = 0.0
    template: str = ""


def parameter_problems(
    parameters: Mapping[str, Any],
    scalars: Iterable[str],
    lists: Iterable[str],
    positive: Iterable[str],
    not_negative: Iterable[str],
    where: object,
) -> tuple[list[Problem], dict[str, NDArray[np.float64]]]:
    """What is wrong with single values of a component file, and the values that are right."""
    scalars, positive, not_negative = set(scalars), set(positive), set(not_negative)
    arrays: dict[str, NDArray[np.float64]] = {}
    problems = []
    for name in (*sorted(scalars), *lists):
        if name not in parameters:
            continue
        here = f"{where}, parameter {name}"
        value = numbers_of(parameters[name])
        if value is None:
            shown = repr(parameters[name])[:80]
            problems.append(Problem("a parameter is not a number", here, shown, "correct the file"))
            continue
        got = str(parameters[name])
        if value.ndim != (0 if name in scalars else 1):
            expected = "one number" if name in scalars else "a list of numbers"
            problems.append(
                Problem("a parameter has the wrong shape", here, str(value.shape), expected)
            )
        elif not np.all(np.isfinite(value)):
            problems.append(Problem("a parameter is NaN or infinite", here, got))
        elif name in positive and not np.all(value > 0):
            problems.append(Problem("a parameter must be positive", here, got, "correct the file"))
        elif name in not_negative and not np.all(value >= 0):
            problems.append(Problem("a parameter must not be negative", here, got))
        else:
            arrays[name] = value
    return problems, arrays


def numbers_of(value: Any) -> NDArray[np.float64] | None:
    """A value of a component file as numbers; None for what is not one, texts and truth values included."""
    try:
        given = np.asarray(value)
        if given.dtype.kind not in "iuf" or given.ndim > 1:
            return None
        return given.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def missing_problem(name: str, parameters: Mapping[str, Any], known: Iterable[str], where: object):
    """A parameter that the file lacks; names the one in the file that may be meant."""
    known = set(known)
    guess = nearest(name, [key for key in parameters if key not in known])
    fix = f"add '{name}'" + (f"; the file has '{guess}'" if guess else "")
    return Problem(f"the cell model lacks the parameter '{name}'", str(where), fix=fix)


def reset_problem(V_reset: float, V_th: float, where: object) -> list[Problem]:
    """A reset (mV) that is not below the threshold (mV)."""
    if V_reset < V_th:
        return []
    return [
        Problem(
            "V_reset is not below V_th",
            str(where),
            f"V_reset {V_reset:g} mV, V_th {V_th:g} mV",
            "the cell would spike for ever; correct one of the two",
        )
    ]
