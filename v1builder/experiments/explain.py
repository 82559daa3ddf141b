"""Which metric of dynamics explains what an ablation does to an outcome: of a finished comparison.

For every named metric and protocol, over all valid conditions: the slope of the outcome's change on the
metric's (`statistics.explaining`), what of the effects goes through the metric, how well half of the
conditions predict the other half (aim R^2 >= .5), and whether *interventions* on one aspect or dose of
heterogeneity that move the metric move the outcome to the side that the other conditions say, every one of
them in at least 80 % of seeds.

`explain_verdict` has what may then be said of a metric. Metrics are named in the experiment before anything
is run (`[measure] explain`); what is named later is explored, and says so.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from v1builder.experiments.explain_verdict import FOLLOWS, NOT, UNCLEAR, judge
from v1builder.experiments.measured import LEARNED_TABLE, TABLE, read_rows, together
from v1builder.experiments.outcomes import BASELINE
from v1builder.experiments.statistics.explaining import (
    CONDITIONS_MIN,
    Slope,
    mediated_share,
    mediation,
    predicted_halves,
    slopes,
    too_few,
)
from v1builder.experiments.statistics.family import holm
from v1builder.experiments.statistics.paired import t_interval
from v1builder.measures.groups import GROUP_LEVELS
from v1builder.schema.errors import ConfigError, StorageError, unknown_name
from v1builder.schema.records import read_record, write_record
from v1builder.train.metric import Metric

# Frames are Any inside: pandas' stubs give every selection the type of all that it could be.

#: Words of ablations that change a dose or one aspect and leave the rest.
INTERVENTIONS: Final = ("dose", "only", "all_but")
#: Share of seeds in which an intervention must move the outcome to the predicted side.
AGREEMENT_AIM: Final = 0.8
#: An intervention tells something only if it should move the outcome by so many standard deviations of its
#: paired change over seeds: then a cause moves it to the predicted side in 95 % of seeds.
_VISIBLE: Final = 1.645
#: Seeds below which signs are not counted: 3 of 3 is what a coin does in one of eight.
SIGNS_MIN: Final = 5
_SEED: Final = 0
_DECLARED: Final = "declared.json"
_AGAIN: Final = "remove the file and run compare again, which goes on from what is finished"


def declare(out: Path, metrics: Sequence[str]) -> None:
    """Write down what was named before anything was run; what stands there already is kept."""
    path = out / _DECLARED
    if not path.exists() and not (out / "comparison.json").exists():
        write_record(path, {"explain": list(metrics)})


def declared_first(out: Path, metrics: Sequence[str]) -> set[str]:
    """The metrics that were named before anything was run."""
    path = out / _DECLARED
    if not path.is_file():
        return set()
    return {*read_record(path, fix=_AGAIN, keys=("explain",))["explain"]} & {*metrics}


def explain_run(run: Path | str, metrics: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Explain a finished comparison.

    Args:
        run: its folder.
        metrics: further ones, which are explored; only those that the experiment names unless given.

    Raises:
        StorageError: the folder holds no finished comparison.
        ConfigError: a metric was not measured (the nearest is named), or none is named at all.
    """
    run = Path(run)
    path = run / "comparison.json"
    if not path.is_file():
        raise StorageError.of(
            "no finished comparison to explain", run, "no comparison.json", "run compare to its end"
        )
    comparison = read_record(path, fix=_AGAIN, keys=("experiment",))
    rows = together(*(read_rows(run, name) for name in (TABLE, LEARNED_TABLE)))
    named = comparison["experiment"].get("measure", {}).get("explain", [])
    names = list(dict.fromkeys([*named, *metrics]))
    if not names:
        raise ConfigError.of(
            "no metric is named that could explain anything", run, "", "give --select METRIC"
        )
    known = sorted(rows["measure"].unique())
    for name in metrics:
        if Metric.parse(name).measure not in known:
            raise ConfigError([unknown_name("metric", Metric.parse(name).measure, known, run)])
    return explain(comparison, rows, names, declared_first(run, names))


def explain(
    comparison: dict[str, Any],
    rows: pd.DataFrame,
    metrics: Sequence[str],
    declared: Collection[str] = (),
) -> list[dict[str, Any]]:
    """What each metric explains of the primary outcome, by protocol, as plain JSON.

    Args:
        comparison: cells, family and experiment of a comparison.
        rows: what was measured (`measured.measured_rows`).
        metrics: names, see `train.metric`.
        declared: those of them that were named before anything was run. Their slopes are one family (Holm).

    Returns:
        By protocol and metric: slope, within, out_of_sample, mediation and mediated, interventions and
        agreement, inseparable, points (changes of every condition), left_out, verdict and text.
    """
    outcome = comparison["family"]["primary"]["outcome"]
    margin = comparison["experiment"]["compare"]["margin"]
    label = comparison["family"]["primary"].get("label", outcome)
    found = []
    for protocol in dict.fromkeys(cell["protocol"] for cell in comparison["cells"]):
        cells = [cell for cell in comparison["cells"] if cell["protocol"] == protocol]
        tables = {name: _runs(cells, rows, Metric.parse(name), outcome) for name in metrics}
        for name, (runs, why) in tables.items():
            invalid = {cell["ablation"] for cell in cells if cell.get("valid") is False}
            one = {
                "protocol": protocol,
                "metric": name,
                "outcome": outcome,
                "label": label,
                "declared": name in declared,
                "left_out": sorted(invalid),
                "unit": _unit(rows, Metric.parse(name)),
            }
            found.append(one | _explained(runs, why, margin))
    for named_before in (True, False):
        own = [one for one in found if one["declared"] is named_before]
        for one, p in zip(own, holm([one["slope"]["p"] for one in own]), strict=True):
            one["slope"]["p_holm"] = float(p)
    for protocol in dict.fromkeys(one["protocol"] for one in found):
        judge([one for one in found if one["protocol"] == protocol])
    return [_plain(one) for one in found]


def _chosen(rows: Any, metric: Metric) -> Any:
    """The rows of a metric, of one level and window."""
    own = rows[
        (rows["measure"] == metric.measure)
        & (rows["group"] == metric.group)
        & (rows["phase"] == metric.phase)
        & rows["at"].isna()
    ]
    levels = [level for level in GROUP_LEVELS if level in set(own["level"])]
    own = own[own["level"] == levels[0]] if levels else own
    windows = list(dict.fromkeys(own["window"]))
    usual = "evoked" if "evoked" in windows else next(iter(windows), None)
    return own[own["window"] == (metric.window or usual)]


def _unit(rows: Any, metric: Metric) -> str:
    own = _chosen(rows, metric)
    return str(own["unit"].iloc[0]) if len(own) else "1"


def _runs(cells: list[dict[str, Any]], rows: Any, metric: Metric, outcome: str) -> tuple[Any, str]:
    """Condition, seed, metric and outcome of valid runs that have both, and why there are none."""
    own = _chosen(rows, metric)
    own = own[own["protocol"] == cells[0]["protocol"]]
    value = own.groupby(["ablation", "seed"])["value"].first().to_dict()
    table = pd.DataFrame(
        [
            {
                "condition": cell["ablation"],
                "seed": cell["seed"],
                "metric": value.get((cell["ablation"], cell["seed"]), np.nan),
                "outcome": cell.get(outcome, np.nan),
            }
            for cell in cells
            if cell.get("valid") is not False or cell["ablation"] == BASELINE
        ],
        columns=["condition", "seed", "metric", "outcome"],
    ).astype({"metric": float, "outcome": float})
    why = ""
    if not len(own):
        why = f"'{metric}' was not measured"
    elif own["value"].isna().all():
        why = "; ".join(dict.fromkeys(own["reason"])) or "no value"
    known: Any = table.dropna()
    paired = set(known.loc[known["condition"] == BASELINE, "seed"])
    return known[known["seed"].isin(paired)], why


def _changes(runs: Any) -> Any:
    """Every run minus the intact network of its seed."""
    base = runs[runs["condition"] == BASELINE].set_index("seed")
    others = runs[runs["condition"] != BASELINE].copy()
    for name in ("metric", "outcome"):
        others[name] = others[name] - others["seed"].map(base[name])
    return others.reset_index(drop=True)


def _explained(runs: Any, why: str, margin: float) -> dict[str, Any]:
    changes = _changes(runs)
    n_conditions, n_seeds = changes["condition"].nunique(), changes["seed"].nunique()
    over, within = (Slope(note=why), Slope(note=why)) if why else slopes(changes)
    prediction = predicted_halves(changes, seed=_SEED)
    through = []
    if not too_few(n_conditions, n_seeds, CONDITIONS_MIN) and not over.note:
        through = mediation(runs, BASELINE, seed=_SEED)
    signs = [_signs(changes, name, margin) for name in _interventions(changes)]
    told = [one for one in signs if one["informative"]]
    n_told = sum(one["n"] for one in told)
    agreement = sum(one["n_agree"] for one in told) / n_told if n_told else np.nan
    return {
        "n_conditions": int(n_conditions),
        "n_seeds": int(n_seeds),
        "slope": asdict(over) | {"p_holm": np.nan},
        "within": asdict(within),
        "out_of_sample": asdict(prediction) | {"note": why or prediction.note},
        "mediation": [asdict(one) for one in through],
        "mediated": mediated_share(through) if through else np.nan,
        "interventions": signs,
        "agreement": agreement,
        "points": _points(changes),
    }


def _interventions(changes: Any) -> list[str]:
    return [name for name in dict.fromkeys(changes["condition"]) if is_intervention(name)]


def is_intervention(ablation: str) -> bool:
    """Whether all parts of an ablation's name are doses or aspects."""
    parts = [part.strip().partition("(")[0] for part in ablation.split("|")]
    return all(part in INTERVENTIONS for part in parts)


def _signs(changes: Any, name: str, margin: float) -> dict[str, Any]:
    """Whether an intervention moves the outcome to the side that the metric says.

    The slope is that of the means of the conditions that are no interventions, or where these are too few of
    all others but this one.
    """
    means = changes.groupby("condition", sort=False)[["metric", "outcome"]].mean()
    fitted = means[[not is_intervention(str(other)) for other in means.index]]
    if len(fitted) < CONDITIONS_MIN:
        fitted = means.drop(index=name)
    own = changes[changes["condition"] == name]
    n, low, high = len(own), *t_interval(own["metric"].to_numpy())
    found: dict[str, Any] = {
        "ablation": name,
        "metric_change": float(means.loc[name, "metric"]),
        "outcome_change": float(means.loc[name, "outcome"]),
        "predicted": np.nan,
        "n": n,
        "n_agree": 0,
        "agreement": np.nan,
        "low": np.nan,
        "high": np.nan,
        "informative": False,
        "outcome": "",
        "note": "",
    }
    if len(fitted) < 2 or np.ptp(fitted["metric"].to_numpy()) == 0:
        return found | {"note": "no other conditions to predict from"}
    slope = np.polyfit(fitted["metric"], fitted["outcome"], 1)[0]
    predicted = float(slope * means.loc[name, "metric"])
    found["predicted"] = predicted
    if n < SIGNS_MIN:
        return found | {"note": f"{n} seeds, fewer than {SIGNS_MIN}"}
    if not low * high > 0:
        return found | {"note": "it does not move the metric"}
    if abs(predicted) < margin:
        return found | {"note": f"predicts less than {margin:g}, too little to see"}
    spread = _seed_spread(changes)
    if abs(predicted) < _VISIBLE * spread:
        return found | {
            "note": f"predicts {predicted:.2g}, too little beside a spread over seeds of {spread:.2g}"
        }
    agree = int((np.sign(own["outcome"]) == np.sign(predicted)).sum())
    ends: Any = proportion_confint(agree, n, method="wilson")
    moved = np.array(t_interval(own["outcome"].to_numpy())) * np.sign(predicted)
    follows = FOLLOWS if moved.min() > 0 else UNCLEAR
    return found | {
        "n_agree": agree,
        "agreement": agree / n,
        "low": float(ends[0]),
        "high": float(ends[1]),
        "informative": True,
        "outcome": follows if agree / n >= AGREEMENT_AIM else NOT,
    }


def _seed_spread(changes: Any) -> float:
    """Standard deviation of the outcome's change over seeds, pooled over conditions."""
    variance = changes.groupby("condition")["outcome"].var(ddof=1)
    return float(np.sqrt(variance.mean()))


def _points(changes: Any) -> list[dict[str, Any]]:
    """Mean change of metric and outcome of every condition, with t intervals over seeds."""
    points = []
    for name, own in changes.groupby("condition", sort=False):
        point: dict[str, Any] = {"ablation": str(name), "n": len(own)}
        for what in ("metric", "outcome"):
            low, high = t_interval(own[what].to_numpy())
            point |= {what: float(own[what].mean()), f"{what}_low": low, f"{what}_high": high}
        points.append(point | {"intervention": is_intervention(str(name))})
    return points


def markdown(found: Sequence[dict[str, Any]]) -> str:
    """Explanations as a table for people, and each verdict in words."""

    def number(value: float | None, form: str) -> str:
        return "-" if value is None else f"{value:{form}}"

    lines = [
        "| metric | protocol | slope (95 %) | p (Holm) | R^2 out of sample | mediated | signs | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        slope, r2 = one["slope"], one["out_of_sample"]["r2"]
        ends = f" ({number(slope['low'], '.3g')} to {number(slope['high'], '.3g')})"
        lines.append(
            f"| {one['metric']}{'' if one['declared'] else ' (explored)'} | {one['protocol']} "
            f"| {number(slope['mean'], '.3g')}{ends} | {number(slope['p_holm'], '.2g')} "
            f"| {number(r2, '.2f')} | {number(one['mediated'], '.0%')} "
            f"| {number(one['agreement'], '.0%')} | {one['verdict']} |"
        )
    lines += ["", *(f"- {one['metric']}, {one['protocol']}: {one['text']}" for one in found)]
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    """JSON has neither NaN nor infinity: what is not defined is None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if np.isfinite(value) else None
    return value
