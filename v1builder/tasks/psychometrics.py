"""How answers depend on what was asked: by kind of question, sensitivity of each, and threshold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import statsmodels.api as sm
from numpy.typing import NDArray
from torch import Tensor

from v1builder.analysis.detection import d_prime

if TYPE_CHECKING:
    from v1builder.tasks.task import Trials

#: z(.75): a threshold is where three of four answers are right.
_Z_THREE_QUARTERS: Final = 0.6744897501960817


@dataclass(frozen=True)
class Kind:
    """A kind of question.

    Attributes:
        label: for people.
        value: what it is on a scale, such as degrees; None where there is none.
    """

    label: str
    value: float | None = None


def by_kind(output: Tensor, trials: "Trials", kinds: Sequence[Kind]) -> list[dict[str, Any]]:
    """Answers by kind of question, for kinds that were asked.

    Args:
        output: [trial, window, class] of a readout.
        trials: with their kinds.
        kinds: all of the task.

    Returns:
        Of each: kind, value, n, accuracy, and of two classes the share of answers that say class 1.
    """
    choice, target, kind = choices(output, trials)
    rows = []
    for i in np.unique(kind).tolist():
        asked = kind == i
        row = {
            "kind": kinds[i].label,
            "value": kinds[i].value,
            "n": int(asked.sum()),
            "accuracy": float((choice == target)[asked].mean()),
        }
        if output.shape[2] == 2:
            row["share_1"] = float(choice[asked].mean())
        rows.append(row)
    return rows


def choices(
    output: Tensor, trials: "Trials"
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """[trials x windows] answer given, right answer, and kind of question."""
    assert trials.kind is not None
    given = output.argmax(dim=2).flatten(), trials.target.flatten(), trials.kind.flatten()
    choice, target, kind = (values.cpu().numpy() for values in given)
    return choice, target, kind


def d_prime_by_kind(
    output: Tensor, trials: "Trials", kinds: Sequence[Kind], noise: int
) -> list[dict[str, Any]]:
    """Sensitivity to every kind of signal, against the answers to the kind without one.

    Args:
        output: [trial, window, class] of a readout.
        trials: with their kinds.
        kinds: all of the task.
        noise: the one without a signal.

    Returns:
        Of every kind whose right answer is 1: kind, value, n, d_prime (see `analysis.detection`).
    """
    choice, target, kind = choices(output, trials)
    rows = []
    for i in np.unique(kind[target == 1]).tolist():
        asked = (kind == noise) | (kind == i)
        rows.append(
            {
                "kind": kinds[i].label,
                "value": kinds[i].value,
                "n": int((kind == i).sum()),
                "d_prime": d_prime(target[asked], choice[asked]),
            }
        )
    return rows


def threshold(value: NDArray[np.float64], choice: NDArray[np.int64]) -> dict[str, Any]:
    """Threshold and bias of answers about the side of a boundary at 0.

    The share of answers 1 is a cumulative Gaussian of the value, Phi((value - bias) / spread), fitted by
    maximum likelihood (probit regression). The threshold is the value, from the bias, at which 75 % of the
    answers are 1.

    Args:
        value: [n] signed.
        choice: [n] 0 or 1.

    Returns:
        threshold_75 with interval_95 (of Wald, from that of the slope; its upper end is None where the slope
        may be 0) and bias, in the unit of the value; or all None, with the reason, where answers do not grow
        with the value or follow it without error.
    """
    missing = {"threshold_75": None, "interval_95": None, "bias": None}
    if len(np.unique(choice)) < 2:
        return {**missing, "reason": "one answer was given always"}
    if value[choice == 1].min() >= value[choice == 0].max():
        return {**missing, "reason": "answers follow the value without error"}
    if value[choice == 1].max() <= value[choice == 0].min():
        return {**missing, "reason": "answers do not grow with the value"}
    fit = sm.Probit(choice, sm.add_constant(value)).fit(disp=0)
    (intercept, slope), error = fit.params, fit.bse[1]
    if slope <= 0:
        return {**missing, "reason": "answers do not grow with the value"}
    lowest, highest = slope - 1.96 * error, slope + 1.96 * error
    return {
        "threshold_75": float(_Z_THREE_QUARTERS / slope),
        "interval_95": [
            float(_Z_THREE_QUARTERS / highest),
            float(_Z_THREE_QUARTERS / lowest) if lowest > 0 else None,
        ],
        "bias": float(-intercept / slope),
        "reason": "",
    }
