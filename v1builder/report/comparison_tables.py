"""Tables of a comparison as text for the page: results, learning, operating points.

Comparisons of earlier versions lack verdicts, tests of learning speed or operating points; what is not
there is shown as a dash.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

DASH: Final = "–"

#: What a protocol does, in a few words.
PROTOCOLS: Final = {
    "retrain": "trained after the ablation",
    "frozen": "ablated after training",
    "readout": "ablated after training, readout retrained",
    "finetune": "ablated after training, trained on",
}
_MOMENTS: Final = {"before": "ablated", "after": "matched", "trained": "trained"}

Row = dict[str, Any]


def named(protocol: str) -> str:
    """What the protocol does; a protocol without words as it is written."""
    return PROTOCOLS.get(protocol, protocol)


def primary_of(comparison: Row) -> str:
    """The outcome that is judged."""
    return comparison.get("family", {}).get("primary", {}).get("outcome", "accuracy")


def scores_of(comparison: Row) -> dict[str, Row]:
    """What the task judges answers by, the main score first, by name."""
    earlier = [
        {
            "name": "accuracy",
            "label": "accuracy",
            "unit": "proportion",
            "chance": comparison.get("chance", 0.0),
            "ceiling": 1.0,
        },
        {"name": "d_prime", "label": "d'", "unit": "1", "chance": 0.0, "ceiling": None},
    ]
    return {score["name"]: score for score in comparison.get("scores", earlier)}


def shown(comparison: Row) -> list[Row]:
    """Rows of the summary without conditions that only serve an attribution: these have no verdict."""
    judged = _by_condition(comparison.get("verdicts", []))
    return [
        row
        for row in comparison["summary"]
        if not judged or row["ablation"] == "intact" or (row["protocol"], row["ablation"]) in judged
    ]


def results(comparison: Row) -> list[Row]:
    """One row per condition: mean, paired difference, test and verdict of the primary outcome."""
    primary = primary_of(comparison)
    differences = _by_condition(comparison["differences"], primary)
    verdicts = _by_condition(comparison.get("verdicts", []))
    rows = []
    for row in shown(comparison):
        if row["metric"] != primary:
            continue
        condition = row["protocol"], row["ablation"]
        difference, verdict = differences.get(condition, {}), verdicts.get(condition, {})
        same_side = [d * difference["mean"] > 0 for d in difference.get("per_seed", [])]
        rows.append(
            {
                "ablation": row["ablation"],
                "protocol": named(row["protocol"]),
                "mean": number(row["mean"], ".3f"),
                "mean_interval": span(row["t_interval"], ".3f"),
                "difference": number(difference.get("mean"), "+z.3f"),
                "t": span(difference.get("t_interval", (None, None)), "+z.3f"),
                "bootstrap": span((difference.get("low"), difference.get("high")), "+z.3f"),
                "same_side": f"{sum(same_side)}/{len(same_side)}" if same_side else DASH,
                "d_z": number(difference.get("d_z"), "z.2f"),
                "p": number(difference.get("p_holm"), ".2g"),
                "p_tost": number(difference.get("p_tost_holm"), ".2g"),
                "verdict": verdict.get("verdict", DASH),
                "text": verdict.get("text", ""),
            }
        )
    return rows


def learning(comparison: Row) -> list[Row]:
    """One row per trained condition: steps to criterion, hazard ratio, test, other outcomes."""
    tests = _by_condition(comparison.get("co_primary", []))
    spikes = _by_condition(comparison["summary"], "spikes_per_trial")
    rows = []
    for row in shown(comparison):
        condition = row["protocol"], row["ablation"]
        if row["metric"] != "area_under_curve":
            continue
        runs = [c for c in comparison["cells"] if (c["protocol"], c["ablation"]) == condition]
        steps = [run.get("steps_to_criterion") for run in runs]
        test = tests.get(condition, {})
        rows.append(
            {
                "ablation": row["ablation"],
                "protocol": named(row["protocol"]),
                "reached": f"{sum(step is not None for step in steps)}/{len(steps)}",
                "median": _median_steps(steps),
                "hazard_ratio": number(test.get("hazard_ratio"), ".2g"),
                "interval": span((test.get("low"), test.get("high")), ".2g"),
                "p": number(test.get("p_holm"), ".2g"),
                "verdict": test.get("verdict", DASH),
                "note": test.get("note", ""),
                "area": number(row["mean"], ".3f"),
                "area_interval": span(row["t_interval"], ".3f"),
                "spikes": number(spikes.get(condition, {}).get("mean"), ".0f"),
            }
        )
    return rows


def _median_steps(steps: list[float | None]) -> str:
    """The median over runs, which is known even if some never reached the criterion."""
    middle = float(np.median([math.inf if step is None else step for step in steps]))
    return "not reached" if math.isinf(middle) else f"{middle:g}"


def operating_points(comparison: Row) -> list[Row]:
    """Means over seeds for every condition and moment, and whether the condition is inside the bars.

    Quantities by population are given as their range over populations; those of intact networks have no
    ratio.
    """
    by_condition: dict[tuple[str, str], list[Row]] = {}
    for cell in comparison["cells"]:
        if cell.get("operating_point"):
            by_condition.setdefault((cell["protocol"], cell["ablation"]), []).append(cell)
    rows, intact = [], []
    for (protocol, ablation), cells in by_condition.items():
        if ablation == "intact":
            measured = [cell["operating_point"] for cell in cells]
            if measured in intact:
                continue  # protocols share a baseline
            intact.append(measured)
        moments = [m for m in _MOMENTS if all(m in cell["operating_point"] for cell in cells)]
        if ablation == "intact" and "after" in moments:
            moments.remove("before")  # nothing is matched
        valid = all(cell.get("valid", True) for cell in cells)
        for place, moment in enumerate(moments):
            points = [cell["operating_point"][moment] for cell in cells]
            rows.append(
                {
                    "ablation": ablation,
                    "protocol": named(protocol),
                    "first": place == 0,
                    "n_moments": len(moments),
                    "moment": "untrained"
                    if (ablation, moment) == ("intact", "after")
                    else _MOMENTS[moment],
                    "valid": valid,
                    "rates": " / ".join(
                        _mean(points, name, ".2f") for name in ("spontaneous_Hz", "evoked_Hz")
                    ),
                    "ratio": _range(points, "rate_ratio", ".2f"),
                    "silent": _mean(points, "silent_share", ".1%"),
                    "cv": _mean(points, "rate_cv", ".2f"),
                    "top10": _mean(points, "top10_share", ".0%"),
                    "bias": _range(points, "bias_over_rheobase", "+z.1%"),
                    "charge": _range(points, "asc_charge", ".0f"),
                    "efficacy": _range(points, "efficacy", ".2f"),
                    "spared": _mean(points, "spared_share", ".1%"),
                }
            )
    return rows


def _mean(points: list[Row], name: str, form: str) -> str:
    known = [point[name] for point in points if point.get(name) is not None]
    return number(float(np.mean(known)) if known else None, form)


def _range(points: list[Row], name: str, form: str) -> str:
    """Lowest to highest population, each its mean over seeds; a plain number as such."""
    by_population: dict[str, list[float]] = {}
    for point in points:
        value = point.get(name)
        for key, own in (value if isinstance(value, dict) else {"": value}).items():
            if own is not None:
                by_population.setdefault(key, []).append(own)
    means = [float(np.mean(values)) for values in by_population.values()]
    if len(means) < 2:
        return number(means[0] if means else None, form)
    return span((min(means), max(means)), form)


def explanations(comparison: Row) -> list[Row]:
    """One row per metric that was to explain the outcome, and protocol."""
    rows = []
    for place, one in enumerate(comparison.get("explanation", [])):
        slope, r2 = one["slope"], one["out_of_sample"]
        tests = [each for each in one["interventions"] if each["informative"]]
        rows.append(
            {
                "metric": one["metric"],
                "unit": one["unit"],
                "protocol": named(one["protocol"]),
                "declared": one["declared"],
                "slope": number(slope["mean"], "+.3g"),
                "interval": span((slope["low"], slope["high"]), "+.3g"),
                "p": number(slope["p_holm"], ".2g"),
                "r2": number(r2["r2"], ".2f"),
                "r2_interval": span((r2["low"], r2["high"]), ".2f"),
                "mediated": number(one["mediated"], ".0%"),
                "agreement": number(one["agreement"], ".0%"),
                "tests": "; ".join(f"{e['ablation']} {e['n_agree']}/{e['n']}" for e in tests),
                "n": f"{one['n_conditions']} conditions, {one['n_seeds']} seeds",
                "verdict": one["verdict"],
                "text": one["text"],
                "name": f"explained-{place}",
                "drawn": len(one["points"]) > 1,
            }
        )
    return rows


def measured(comparison: Row) -> list[Row]:
    """One row per measure, window and condition: the whole network, and its difference from intact."""
    rows = []
    for row in comparison.get("measures", []):
        if row["level"] == "network" and "at" not in row:
            value = f"{number(row['mean'], '.3g')} ({span((row['low'], row['high']), '.3g')})"
            difference = DASH
            if "difference_mean" in row:
                ends = row["difference_low"], row["difference_high"]
                difference = f"{number(row['difference_mean'], '+z.3g')} ({span(ends, '+z.3g')})"
            rows.append(
                {name: row[name] for name in ("measure", "unit", "window", "ablation", "n")}
                | {
                    "protocol": named(row["protocol"]),
                    "phase": row.get("phase", "trained"),
                    "mean": row.get("reason") or value,
                    "difference": difference,
                }
            )
    return rows


def validity(comparison: Row) -> str:
    """One sentence on whether anything may be concluded."""
    cells = comparison["cells"]
    if not any("valid" in cell for cell in cells):
        return "The operating point was not measured: whether the conditions can be compared is not known."
    conditions = {(cell["protocol"], cell["ablation"]) for cell in cells}
    ablated = [condition for condition in conditions if condition[1] != "intact"]
    invalid = {(row["protocol"], row["ablation"]) for row in comparison.get("invalid", [])}
    if not invalid:
        return f"Valid: the operating points of all {len(ablated)} ablated conditions are inside the bars."
    return (
        f"Invalid: {len(invalid)} of {len(ablated)} ablated conditions are outside the bars of the operating "
        "point; nothing is concluded from them."
    )


def dose(curve: Row) -> str:
    """A dose curve in words."""
    if curve["peak"] is None:
        said = "no peak"
    else:
        low, high = curve["low"], curve["high"]
        bounds = "no bound" if low is None and high is None else span((low, high), ".2f")
        said = (
            f"peak at {curve['peak']:.2f} times the observed level (95 % interval {bounds}); "
            + (
                "the observed level is near optimal"
                if curve["near_optimal"]
                else "that the observed level is near optimal is not shown"
            )
        )
    left_out = ", ".join(f"{level:g}" for level in curve["left_out"])
    remarks = [curve["note"], f"invalid doses left out: {left_out}" if left_out else ""]
    return "; ".join(filter(None, [said, *remarks])) + "."


def number(value: float | None, form: str) -> str:
    """A number, or a dash where there is none."""
    return DASH if value is None else f"{value:{form}}"


def span(ends: Sequence[float | None], form: str) -> str:
    """An interval, or a dash where there is none."""
    low, high = ends
    if low is None and high is None:
        return DASH
    return f"{number(low, form)} to {number(high, form)}"


def _by_condition(rows: list[Row], metric: str | None = None) -> dict[tuple[str, str], Row]:
    return {
        (row["protocol"], row["ablation"]): row
        for row in rows
        if metric is None or row["metric"] == metric
    }
