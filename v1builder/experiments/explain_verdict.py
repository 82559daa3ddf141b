"""What may be said of a metric that might explain an outcome: the verdict and its words.

A metric that only goes along with a cause has a slope and predicts, as long as conditions move both. What
tells them apart is an intervention that moves one without the other. A metric that was followed only where
another one moved too, which is followed alone as well, is not shown to matter beside it. Where neither was
moved alone both explain equally, and name each other.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from v1builder.experiments.statistics.explaining import CONDITIONS_MIN
from v1builder.experiments.statistics.family import ALPHA

#: What the outcome does where an intervention moves a metric so far that one should see it.
FOLLOWS, NOT, UNCLEAR = "follows", "does not follow", "unclear"
#: R^2 out of sample that is aimed at.
R2_AIM: Final = 0.5
EXPLAINS: Final = ("explains", "explains in part")
#: Correlation of two metrics over conditions from which on they are not told apart.
_TOGETHER: Final = 0.9
#: An intervention moves a metric and hardly another where that predicts less than this part of what it
#: predicts itself of the change of the outcome.
_LITTLE: Final = 0.5


def judge(found: Sequence[dict[str, Any]]) -> None:
    """Give every metric of one protocol its verdict, its text, and the metrics it cannot be told from.

    Args:
        found: by metric, see `explain.explain`; slope has p_holm.
    """
    _name_inseparable(found)
    for one in found:
        one["verdict"], one["text"] = _verdict(one)
    explaining = [one for one in found if one["verdict"] in EXPLAINS]
    for one in explaining:
        instead = [
            other["metric"]
            for other in explaining
            if other is not one and not _moved_alone(one, other) and _moved_alone(other, one)
        ]
        if instead:
            one["verdict"] = "not decided"
            one["text"] = (
                f"{_said(one)}, but whatever moved it so that {one['label']} followed also moved "
                f"{', '.join(instead)}, which {one['label']} follows alone as well."
            )


def _moved_alone(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the outcome followed an intervention that moved a metric and hardly the other."""
    predicted = {each["ablation"]: abs(each["predicted"]) for each in other["interventions"]}
    return any(
        each["outcome"] == FOLLOWS
        and predicted.get(each["ablation"], np.nan) < _LITTLE * abs(each["predicted"])
        for each in one["interventions"]
    )


def _name_inseparable(found: Sequence[dict[str, Any]]) -> None:
    """Write into every metric which others it changed with over all conditions, or in all interventions."""
    means = pd.DataFrame(
        {
            one["metric"]: {point["ablation"]: point["metric"] for point in one["points"]}
            for one in found
        },
        dtype=float,
    )
    related = means.corr(min_periods=CONDITIONS_MIN).abs()
    for one in found:
        one["inseparable"] = [
            other["metric"]
            for other in found
            if other is not one
            and (
                related.loc[one["metric"], other["metric"]] > _TOGETHER
                or _only_together(one, other)
            )
        ]


def _only_together(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the outcome followed interventions on both, and none on one of them alone."""
    followed = [
        {each["ablation"] for each in metric["interventions"] if each["outcome"] == FOLLOWS}
        for metric in (one, other)
    ]
    return bool(
        followed[0] & followed[1] and not _moved_alone(one, other) and not _moved_alone(other, one)
    )


def _said(one: dict[str, Any]) -> str:
    p = one["slope"]["p_holm"]
    return f"{one['label']} changes with it over conditions (p = {p:.2g} after Holm)"


def _verdict(one: dict[str, Any]) -> tuple[str, str]:
    """What may be said of a metric, and why, in words."""
    slope, prediction = one["slope"], one["out_of_sample"]
    follows = [each for each in one["interventions"] if each["outcome"] == FOLLOWS]
    against = [each["ablation"] for each in one["interventions"] if each["outcome"] == NOT]
    unclear = [each["ablation"] for each in one["interventions"] if each["outcome"] == UNCLEAR]
    label = one["label"]
    if slope["note"]:
        return "not decided", f"Nothing can be said: {slope['note']}."
    if not slope["p_holm"] < ALPHA:
        return "no relation shown", (
            f"Over {one['n_conditions']} conditions {label} does not go with it "
            f"(p = {slope['p_holm']:.2g} after Holm); what is not seen may still be there."
        )
    said = _said(one)
    if against:
        return "correlates only", (
            f"{said}, but where an intervention moved it {label} did not follow: {', '.join(against)}."
        )
    if not follows:
        why = f"no intervention moved it so far that {label} would be seen to follow"
        return "not decided", f"{said}; {why}."
    if unclear:
        return "not decided", (
            f"{said}, and {label} follows some interventions that moved it, but whether it does here is "
            f"not seen: {', '.join(unclear)}."
        )
    moved = (
        f"interventions that moved it moved {label} as predicted in {one['agreement']:.0%} of seeds"
    )
    with_it = ", ".join(one["inseparable"])
    also = f" It cannot be told from {with_it}, which moved with it." if with_it else ""
    if not prediction["r2"] >= R2_AIM:
        r2 = prediction["note"] or f"R^2 = {prediction['r2']:.2f} out of sample"
        return "explains in part", f"{said}, and {moved}; {r2}.{also}"
    return "explains", f"{said}, {moved}, R^2 = {prediction['r2']:.2f} out of sample.{also}"
