"""What a comparison says in words: one honest sentence, a text per row, and notes."""

from math import isfinite
from typing import Any

from v1builder.experiments.outcomes import Outcomes
from v1builder.experiments.statistics.power import CLAIM_SEEDS, CLAIM_TRIALS
from v1builder.tasks import Score

_FEW = 10


def amount(value: float, score: Score, *, sign: bool = True) -> str:
    """A difference with its unit: proportions in points (per cent of trials), others as they are."""
    mark = "+" if sign else ""
    if score.unit == "proportion":
        return f"{100 * value:{mark}z.1f} points"
    return f"{value:{mark}z.2f}"


def interval(low: float, high: float, score: Score) -> str:
    """An interval with its unit once."""
    if score.unit == "proportion":
        return f"{100 * low:+z.1f} to {100 * high:+z.1f} points"
    return f"{low:+z.2f} to {high:+z.2f}"


def declared(n_primary: int, n_co_primary: int, primary: Score, margin: float) -> str:
    """Which tests belong together."""
    return (
        f"One family: the paired t tests of {primary.label} on test trials of all {n_primary} (protocol, "
        f"ablation) against intact, and likewise their tests of equivalence within "
        f"{amount(margin, primary, sign=False)}; Holm's method, alpha .05. The co-primary outcome, steps to "
        f"criterion, is a family of its own ({n_co_primary} tests). All else is descriptive."
    )


def explained(row: dict[str, Any], speed: dict[str, Any] | None, primary: Score) -> str:
    """A verdict in words, with the numbers it rests on."""
    low, high = row["t_interval"]
    number = f"{primary.label} {amount(row['mean'], primary)} when ablated"
    if row["n"] > 1:
        number += f", 95 % interval {interval(low, high, primary)}"
    if isfinite(row["p_holm"]):
        number += f", p = {row['p_holm']:.2g} (Holm)"
    said = {
        "helps": f"Intact is better: {number}.",
        "hurts": f"Ablated is better: {number}.",
        "equivalent": f"Equivalent within {amount(row['margin'], primary, sign=False)}: {number}.",
        "not decided": f"Neither a difference nor equivalence was shown: {number}.",
        "invalid": "Outside the bars of the operating point: nothing is concluded.",
    }[row["verdict"]]
    if speed is None or speed["verdict"] == "invalid":
        return said
    return f"{said} {_speed(speed)}"


def _speed(row: dict[str, Any]) -> str:
    counts = f"{row['reached']} of {row['runs']} runs reached the criterion, {row['reached_baseline']} intact"
    head = {
        "helps": "Learns more slowly when ablated",
        "hurts": "Learns faster when ablated",
        "not decided": "Learning speed: no difference shown",
    }[row["verdict"]]
    ratio = ""
    if isfinite(row["hazard_ratio"]):
        ratio = f", hazard ratio {row['hazard_ratio']:.2g}"
        if isfinite(row["low"]):
            ratio += f" ({row['low']:.2g} to {row['high']:.2g})"
    p = f", p = {row['p_holm']:.2g} (Holm)" if isfinite(row["p_holm"]) else ""
    note = f"; {row['note']}" if row["note"] and not isfinite(row["low"]) else ""
    return f"{head} ({counts}{ratio}{p}{note})."


def sentence(
    judged: list[dict[str, Any]], speed: list[dict[str, Any]], primary: Score, n_seeds: int
) -> str:
    """What was decided, with how many seeds, and what could not be."""
    if not judged:
        return "Only the intact network was run; nothing is compared."
    by = {
        name: [row for row in judged if row["verdict"] == name]
        for name in ("helps", "hurts", "equivalent", "not decided", "invalid")
    }
    parts = []
    for name, text in (("helps", "lower"), ("hurts", "higher")):
        if by[name]:
            listed = "; ".join(f"{_label(r)} {amount(r['mean'], primary)}" for r in by[name])
            parts.append(f"{text} when ablated: {listed}")
    if by["equivalent"]:
        margin = amount(by["equivalent"][0]["margin"], primary, sign=False)
        parts.append(f"equivalent to intact within {margin}: {_listed(by['equivalent'])}")
    if by["not decided"] and not parts:
        parts.append(
            f"nothing was decided in {_counted(len(by['not decided']), 'comparison')} with intact"
        )
    elif by["not decided"]:
        parts.append(f"not decided: {_listed(by['not decided'])}")
    elif not parts:
        parts.append("no comparison is valid")
    words = f"{primary.label} over {_counted(n_seeds, 'paired seed')}: "
    said = [f"{words[0].upper()}{words[1:]}{'; '.join(parts)}."]
    if by["invalid"]:
        said.append(
            f"Nothing is concluded from {_listed(by['invalid'])}: the operating point is outside the bars."
        )
    slower = [row for row in speed if row["verdict"] == "helps"]
    faster = [row for row in speed if row["verdict"] == "hurts"]
    if slower:
        said.append(f"Learning is slower when ablated: {_listed(slower)}.")
    if faster:
        said.append(f"Learning is faster when ablated: {_listed(faster)}.")
    if [row for row in speed if row["verdict"] == "not decided"] and not slower and not faster:
        said.append("No difference of learning speed was shown.")
    if n_seeds < CLAIM_SEEDS:
        said.append(f"A claim needs at least {CLAIM_SEEDS} seeds.")
    return " ".join(said)


def notes(outcomes: Outcomes, found: dict[str, Any], primary: Score) -> list[str]:
    """What a reader must know of the design, the intervals and the conditions."""
    said = [*_design(outcomes, found), *_power(found["power"], len(outcomes.seeds), primary)]
    if outcomes.crossed:
        said.append(
            "Networks are crossed with seeds: paired differences are means over networks within a seed; the "
            "mixed model has both as random effects."
        )
    else:
        said.append("Networks are not crossed with seeds (one network per seed): no mixed model.")
    said += [
        f"Dose curve over {curve['level']} ({curve['protocol']}): {curve['note']}."
        for curve in found["dose"]
        if curve["note"]
    ]
    for condition, runs in outcomes.runs.items():
        own = dict.fromkeys(
            note
            for run in runs
            for note in (
                [run["notes"]] if isinstance(run.get("notes"), str) else run.get("notes") or []
            )
        )
        said += [f"{condition[1]} ({condition[0]}): {note}" for note in own]
    return said


def _design(outcomes: Outcomes, found: dict[str, Any]) -> list[str]:
    said = []
    n = len(outcomes.seeds)
    if n < CLAIM_SEEDS:
        said.append(
            f"{_counted(n, 'paired seed')} cannot carry a claim, which needs at least {CLAIM_SEEDS}."
        )
    if n < _FEW:
        said.append(
            f"With {_counted(n, 'value')} bootstrap intervals tend to be too narrow; judge by Student's."
        )
    trials = [
        run["n_trials"] for runs in outcomes.runs.values() for run in runs if "n_trials" in run
    ]
    if trials and min(trials) < CLAIM_TRIALS:
        said.append(
            f"{min(trials)} test trials leave much noise of trials in a difference; test with at least "
            f"{CLAIM_TRIALS:,}."
        )
    speed = found["co_primary"]
    if not speed and found["differences"]:
        said.append("No protocol trains every condition: learning speed is not compared.")
    elif speed and speed[0]["p_smallest"] * len(speed) >= found["family"]["alpha"]:
        said.append(
            f"Exchanging conditions within {n} seeds cannot give a p below "
            f"{speed[0]['p_smallest']:.2g}, so with {len(speed)} tests learning speed cannot be decided."
        )
    if any("valid" not in run for runs in outcomes.runs.values() for run in runs):
        said.append(
            "The operating point of some conditions was not measured; their validity is unknown."
        )
    return said


def _power(found: dict[str, Any], n: int, primary: Score) -> list[str]:
    known = [row for row in found["rows"] if isfinite(row["detectable"])]
    if not known:
        return []

    def span(name: str) -> str:
        low, high = (
            amount(pick(row[name] for row in known), primary, sign=False) for pick in (min, max)
        )
        return high if low == high else f"{low.removesuffix(' points')} to {high}"

    trials = ""
    if all(row["trial_noise"] is not None for row in known):
        trials = f", of which trials alone can give {span('trial_noise')}"
    return [
        f"With {_counted(n, 'seed')} the smallest difference found with power .8 at the first step of "
        f"Holm's method is {span('detectable')} (standard deviation of paired differences "
        f"{span('between_seed_sd')}{trials})."
    ]


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _label(row: dict[str, Any]) -> str:
    return f"{row['ablation']} ({row['protocol']})"


def _listed(rows: list[dict[str, Any]]) -> str:
    return ", ".join(_label(row) for row in rows)
