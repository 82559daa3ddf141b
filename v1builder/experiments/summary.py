"""Statistics of a finished comparison: declared tests, verdicts, and one sentence, as data.

Declared before anything is run: one primary outcome (a score of the task on test trials after training, such
as accuracy or d'), one co-primary (steps to criterion). All (protocol, ablation) of the primary outcome are
one family of tests, those of the co-primary another. Everything else is described by means and intervals,
without p values.

A verdict is about what the ablation takes away: "helps" says that the intact network does better than the
ablated one, "hurts" the opposite (`statistics.family`). Nothing is concluded from a condition whose
operating point is outside the bars.
"""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from v1builder.experiments import wording
from v1builder.experiments.outcomes import (
    BASELINE,
    CO_PRIMARY,
    DESCRIPTIVE,
    ConditionKey,
    Outcomes,
    by_condition,
)
from v1builder.experiments.statistics import power
from v1builder.experiments.statistics.dose import DoseCurve, dose_curve
from v1builder.experiments.statistics.family import (
    ALPHA,
    correct_family,
    correct_speed_family,
    speed_verdict,
    verdict,
)
from v1builder.experiments.statistics.mixed import LIMITS, mixed_model
from v1builder.experiments.statistics.paired import (
    MeanEstimate,
    PairedComparison,
    compare_paired,
    mean_interval,
    t_interval,
)
from v1builder.experiments.statistics.survival import compare_speed
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.tasks import Classes, Score

_SEED = 0  # of bootstrap and permutations


def summarise(
    results: list[dict[str, Any]],
    *,
    margin: float = 0.015,
    scores: Sequence[Score] = Classes(2).scores,
    primary: str | None = None,
    untested: Collection[str] = (),
) -> dict[str, Any]:
    """Everything that is said of a comparison, as plain JSON.

    Args:
        results: one per (protocol, ablation, seed) and network, where a seed has several; within a
            protocol every condition has the same.
        margin: difference of the primary outcome that would matter, in its unit, declared before.
        scores: what the task judges answers by, the main one first.
        primary: name of the one that is judged; the main one unless given.
        untested: ablations outside the families, those that only serve an attribution: they are described,
            and get no test and no verdict.

    Returns:
        summary: per protocol, ablation and outcome the mean and its interval.
        differences: per protocol, ablation and outcome the paired difference from intact; tests,
            margin and verdict only where role is "primary".
        co_primary: per protocol with training and ablation the comparison of steps to criterion.
        family: which tests are corrected together.
        verdicts: per protocol and ablation the verdict of the primary outcome, that of learning speed
            (None where it is not tested) and both in words.
        dose: per protocol and level the dose curve of the primary outcome.
        mixed: per protocol the mixed model; empty where networks are not crossed with seeds.
        power: per protocol and ablation what could have been found.
        invalid: conditions outside the bars of the operating point, with seeds and reasons.
        sentence: what came out.
        notes: what a reader must know.
        interval_method: how intervals were made.

    Raises:
        ConfigError: the primary outcome is unknown or missing, or conditions lack seeds.
    """
    score = chosen_score(scores, primary)
    outcomes = by_condition(results, untested)
    for protocol in outcomes.protocols:
        if not outcomes.has(protocol, score.name):
            raise ConfigError.of(
                "not every result has the primary outcome",
                f"protocol {protocol}",
                score.name,
                f"declare {scores[0].name} primary, or run the comparison again",
            )
    measured = (*(each.name for each in scores), *DESCRIPTIVE)
    summary = _means(outcomes, measured)
    judged = _primary(outcomes, score.name, margin)
    speed = _co_primary(outcomes)
    found = {
        "summary": summary,
        "differences": judged + _descriptive(outcomes, measured, score.name, margin),
        "co_primary": speed,
        "family": _family(judged, speed, score, margin),
        "verdicts": _verdicts(judged, speed, score),
        "dose": _doses(outcomes, score.name),
        "mixed": _mixed(outcomes, score.name),
        "power": _power(outcomes, judged, score.name),
        "invalid": [
            {"protocol": protocol, "ablation": ablation, **why}
            for (protocol, ablation), why in outcomes.invalid.items()
        ],
        "interval_method": "95 % intervals over seeds: "
        f"{', '.join(sorted({row['method'] for row in summary}))}, and Student's t.",
    }
    found["sentence"] = wording.sentence(judged, speed, score, len(outcomes.seeds))
    found["notes"] = wording.notes(outcomes, found, score)
    return _plain(found)


def chosen_score(scores: Sequence[Score], name: str | None) -> Score:
    """The score of that name, or the main one.

    Raises:
        ConfigError: there is none of that name.
    """
    by_name = {score.name: score for score in scores}
    if name is not None and name not in by_name:
        raise ConfigError([unknown_name("primary outcome", name, by_name, "compare.primary")])
    return scores[0] if name is None else by_name[name]


def _means(outcomes: Outcomes, measured: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for outcome in measured:
        for protocol, ablation in outcomes.runs:
            if outcomes.has(protocol, outcome):
                x = outcomes.values((protocol, ablation), outcome)
                named = {"protocol": protocol, "ablation": ablation, "metric": outcome}
                estimate = mean_interval(x, seed=_SEED)
                rows.append(named | _record(estimate) | {"t_interval": list(t_interval(x))})
    return rows


def _paired(
    outcomes: Outcomes, condition: ConditionKey, outcome: str, margin: float
) -> PairedComparison:
    protocol, ablation = condition
    return compare_paired(
        ablation,
        outcomes.values((protocol, BASELINE), outcome),
        outcomes.values(condition, outcome),
        margin=margin,
        seed=_SEED,
    )


def _difference(
    condition: ConditionKey, outcome: str, role: str, row: PairedComparison
) -> dict[str, Any]:
    return {
        "protocol": condition[0],
        "ablation": condition[1],
        "metric": outcome,
        "role": role,
        **_record(row.difference),
        "per_seed": list(row.differences),
        "t_interval": [row.t_low, row.t_high],
        "d_z": row.d_z,
    }


def _primary(outcomes: Outcomes, primary: str, margin: float) -> list[dict[str, Any]]:
    rows = correct_family(
        [_paired(outcomes, condition, primary, margin) for condition in outcomes.tested]
    )
    tests = (
        "p_sign_flip",
        "p_smallest",
        "p_t",
        "p_holm",
        "p_tost",
        "p_tost_holm",
        "margin",
        "equivalent",
    )
    return [
        _difference(condition, primary, "primary", row)
        | {name: getattr(row, name) for name in tests}
        | {"verdict": verdict(row, valid=outcomes.is_valid(condition))}
        for condition, row in zip(outcomes.tested, rows, strict=True)
    ]


def _descriptive(
    outcomes: Outcomes, measured: Sequence[str], primary: str, margin: float
) -> list[dict[str, Any]]:
    return [
        _difference(
            condition, outcome, "descriptive", _paired(outcomes, condition, outcome, margin)
        )
        for outcome in measured
        for condition in outcomes.ablated
        if outcomes.has(condition[0], outcome)
        and (outcome != primary or condition not in outcomes.tested)
    ]


def _co_primary(outcomes: Outcomes) -> list[dict[str, Any]]:
    tested = [condition for condition in outcomes.tested if outcomes.learns(condition[0])]
    rows = correct_speed_family(
        [
            compare_speed(
                condition[1],
                outcomes.training((condition[0], BASELINE)),
                outcomes.training(condition),
                seed=_SEED,
            )
            for condition in tested
        ]
    )
    return [
        {
            "protocol": condition[0],
            "ablation": condition[1],
            "metric": CO_PRIMARY,
            "role": "co-primary",
        }
        | {name: value for name, value in vars(row).items() if name != "name"}
        | {"verdict": speed_verdict(row, valid=outcomes.is_valid(condition))}
        for condition, row in zip(tested, rows, strict=True)
    ]


def _family(
    judged: list[dict[str, Any]], speed: list[dict[str, Any]], primary: Score, margin: float
) -> dict[str, Any]:
    def members(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
        return [{"protocol": row["protocol"], "ablation": row["ablation"]} for row in rows]

    return {
        "primary": {
            "outcome": primary.name,
            "label": primary.label,
            "margin": margin,
            "n_tests": len(judged),
            "tests": members(judged),
        },
        "co_primary": {"outcome": CO_PRIMARY, "n_tests": len(speed), "tests": members(speed)},
        "correction": "Holm",
        "alpha": ALPHA,
        "declared": wording.declared(len(judged), len(speed), primary, margin),
    }


def _verdicts(
    judged: list[dict[str, Any]], speed: list[dict[str, Any]], primary: Score
) -> list[dict[str, Any]]:
    learned = {(row["protocol"], row["ablation"]): row for row in speed}
    return [
        {
            "protocol": row["protocol"],
            "ablation": row["ablation"],
            "verdict": row["verdict"],
            "learning_verdict": (learned.get((row["protocol"], row["ablation"])) or {}).get(
                "verdict"
            ),
            "text": wording.explained(
                row, learned.get((row["protocol"], row["ablation"])), primary
            ),
        }
        for row in judged
    ]


def _doses(outcomes: Outcomes, primary: str) -> list[dict[str, Any]]:
    curves = []
    for protocol in outcomes.protocols:
        for level, by_dose in outcomes.doses(protocol).items():
            valid = {
                dose: outcomes.values(condition, primary)
                for dose, condition in by_dose.items()
                if condition not in outcomes.invalid
            }
            named = {
                "protocol": protocol,
                "level": level,
                "metric": primary,
                "left_out": sorted(by_dose.keys() - valid.keys()),
            }
            if len(valid) < 3:
                note = f"{len(valid)} valid doses, of at least three that a curve needs"
                curves.append(named | {"doses": sorted(valid), "peak": None, "note": note})
            else:
                curves.append(named | _curve(dose_curve(valid, seed=_SEED)))
    return curves


def _curve(curve: DoseCurve) -> dict[str, Any]:
    return {
        **{name: value for name, value in vars(curve).items() if name != "values"},
        "mean": curve.values.mean(axis=0).tolist(),
        "per_seed": curve.values.tolist(),
    }


def _mixed(outcomes: Outcomes, primary: str) -> list[dict[str, Any]]:
    if not outcomes.crossed:
        return []
    return [
        {
            "protocol": protocol,
            "metric": primary,
            **dataclasses.asdict(mixed_model(outcomes.table(protocol, primary), BASELINE)),
            "note": LIMITS,
        }
        for protocol in outcomes.protocols
        if len(outcomes.of_protocol(protocol)) > 1
    ]


def _power(outcomes: Outcomes, judged: list[dict[str, Any]], primary: str) -> dict[str, Any]:
    """Smallest detectable differences at the first, strictest step of Holm's method."""
    noise = power.TRIAL_NOISE.get(primary)
    alpha = ALPHA / max(1, len(judged))
    rows = []
    for row in judged:
        condition = row["protocol"], row["ablation"]
        n = len(row["per_seed"])
        sd = float(np.std(row["per_seed"], ddof=1)) if n > 1 else np.nan
        trials = min((run.get("n_trials", 0) for run in outcomes.runs[condition]), default=0)
        both = outcomes.values(condition, primary) + outcomes.values(
            (condition[0], BASELINE), primary
        )
        rows.append(
            {
                "protocol": row["protocol"],
                "ablation": row["ablation"],
                "between_seed_sd": sd,
                "trial_noise": noise(float(np.mean(both)), trials) if noise and trials else None,
                "detectable": power.detectable_difference(sd, n, alpha=alpha),
            }
        )
    return {"power": 0.8, "alpha": alpha, "metric": primary, "rows": rows}


def _record(estimate: MeanEstimate) -> dict[str, Any]:
    names = ("mean", "low", "high", "n", "method", "note")
    return {name: getattr(estimate, name) for name in names}


def _plain(value: Any) -> Any:
    """JSON has neither NaN nor infinity: what is not defined is None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if np.isfinite(value) else None
    return value
