"""Statistics of a finished comparison: means with intervals, paired differences from the intact network."""

import math
from typing import Any

from v1builder.experiments.statistics import (
    Estimate,
    PairedComparison,
    compare_family,
    mean_interval,
    t_interval,
)

#: Outcomes a network is judged by, and in the retrain protocol also how fast it learned.
OUTCOMES = ("accuracy", "area_under_curve", "spikes_per_trial", "rate_Hz")
_BOOTSTRAP_SEED = 0


def summarise(results: list[dict[str, Any]], *, margin: float) -> dict[str, Any]:
    """Means per condition and paired differences, as data.

    Args:
        results: one per (protocol, ablation, seed); every condition has the same seeds.
        margin: difference of accuracy, or of mean accuracy while learning, that would matter.

    Returns:
        summary: per protocol, ablation and outcome the mean and its interval.
        differences: per protocol, ablation and outcome the paired difference from intact; Holm's
            correction is over the ablations of one protocol and outcome.
        interval_method: how the intervals were made, for readers.
    """
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for result in sorted(results, key=lambda result: result["seed"]):
        for outcome in OUTCOMES:
            if outcome in result and not (
                result["protocol"] == "frozen" and outcome == OUTCOMES[1]
            ):
                family = values.setdefault((result["protocol"], outcome), {})
                family.setdefault(result["ablation"], []).append(result[outcome])
    summary, differences, methods = [], [], set()
    for (protocol, outcome), by_ablation in values.items():
        for ablation, x in by_ablation.items():
            estimate = mean_interval(x, seed=_BOOTSTRAP_SEED)
            methods.add(estimate.method)
            summary.append(
                {
                    "protocol": protocol,
                    "ablation": ablation,
                    "metric": outcome,
                    **_record(estimate),
                    "t_interval": [_number(end) for end in t_interval(x)],
                }
            )
        if outcome in ("accuracy", "area_under_curve"):
            intact, *others = by_ablation
            conditions = {name: by_ablation[name] for name in others}
            family = compare_family(
                by_ablation[intact], conditions, margin=margin, seed=_BOOTSTRAP_SEED
            )
            differences += [
                {"protocol": protocol, "ablation": row.name, "metric": outcome, **_paired(row)}
                for row in family
            ]
    return {
        "summary": summary,
        "differences": differences,
        "interval_method": f"95 % intervals over seeds: {', '.join(sorted(methods))}, and Student's t.",
    }


def _number(value: float) -> float | None:
    """JSON has no NaN: what is not defined is None."""
    return float(value) if math.isfinite(value) else None


def _paired(row: PairedComparison) -> dict[str, Any]:
    return {
        **_record(row.difference),
        "per_seed": list(row.differences),
        "t_interval": [_number(row.t_low), _number(row.t_high)],
        "d_z": _number(row.d_z),
        "p_sign_flip": row.p_sign_flip,
        "p_smallest": row.p_smallest,
        "p_t": _number(row.p_t),
        "p_holm": _number(row.p_holm),
        "p_tost": _number(row.p_tost),
        "margin": row.margin,
        "equivalent": row.equivalent,
    }


def _record(estimate: Estimate) -> dict[str, Any]:
    return {
        "mean": estimate.mean,
        "low": _number(estimate.low),
        "high": _number(estimate.high),
        "n": estimate.n,
        "method": estimate.method,
        "note": estimate.note,
    }
