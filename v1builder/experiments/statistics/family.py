"""Families of tests, and what may be concluded from them.

A family is declared before anything is computed and keeps its size: a test that could not be done still
counts. Both the claim of a difference and the claim of equivalence are corrected by Holm's method over the
family, so that the chance of any wrong "helps" or "hurts" in it stays below alpha, and that of any wrong
"equivalent" too.
"""

import dataclasses
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from v1builder.experiments.statistics.paired import PairedComparison
from v1builder.experiments.statistics.survival import SpeedComparison

ALPHA: Final = 0.05

#: About what the ablation takes away, not about the ablation: "helps" means that the intact network does
#: better than the ablated one.
Verdict = Literal["helps", "hurts", "equivalent", "not decided", "invalid"]


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """[m] p values adjusted by Holm's step-down method (1979).

    A NaN is a test that gave no p value; it stays NaN and counts as one that found nothing.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)  # NaN last
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1.0)


def correct_family(
    rows: Sequence[PairedComparison], *, alpha: float = ALPHA
) -> list[PairedComparison]:
    """`rows` with p_holm, p_tost_holm and equivalent filled in; all rows are one family."""
    different = holm([row.p_t for row in rows])
    equivalent = holm([row.p_tost for row in rows])
    return [
        dataclasses.replace(
            row, p_holm=float(p), p_tost_holm=float(p_tost), equivalent=bool(p_tost < alpha)
        )
        for row, p, p_tost in zip(rows, different, equivalent, strict=True)
    ]


def correct_speed_family(rows: Sequence[SpeedComparison]) -> list[SpeedComparison]:
    """`rows` with p_holm filled in; all rows are one family."""
    adjusted = holm([row.p for row in rows])
    return [
        dataclasses.replace(row, p_holm=float(p)) for row, p in zip(rows, adjusted, strict=True)
    ]


def verdict(row: PairedComparison, *, valid: bool, alpha: float = ALPHA) -> Verdict:
    """What a corrected row says of what its ablation takes away; higher values must be better.

    In this order:
        "invalid": the operating point of the condition, or of the baseline, is outside the bars.
        "equivalent": the mean difference is shown to lie within the margin (TOST, Holm over the
            family). A difference that is clearly not zero but smaller than what matters is equivalent.
        "helps": the ablated network is worse (paired t test, Holm over the family).
        "hurts": the ablated network is better.
        "not decided": none of these was shown. It does not mean that there is no difference.
    """
    if not valid:
        return "invalid"
    if row.equivalent:
        return "equivalent"
    if row.p_holm < alpha:
        return "helps" if row.difference.mean < 0 else "hurts"
    return "not decided"


def speed_verdict(row: SpeedComparison, *, valid: bool, alpha: float = ALPHA) -> Verdict:
    """As `verdict`, of learning speed: "helps" when the ablated network reaches the criterion later.

    No margin is declared for speed, so nothing is equivalent.
    """
    if not valid:
        return "invalid"
    if row.p_holm < alpha:
        return "helps" if row.score < 0 else "hurts"
    return "not decided"
