"""Planted metrics: one that causes the outcome, one that goes along with it, one that is unrelated."""

import json
import tomllib
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.mediation import Mediation

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.explain import (
    declare,
    declared_first,
    explain,
    explain_run,
    is_intervention,
)
from v1builder.experiments.measured import write_measured
from v1builder.experiments.statistics.explaining import mediation, predicted_halves, slopes
from v1builder.schema.errors import ConfigError
from v1builder.train.settings import CompareSettings, MeasureSettings

ABLATIONS = (
    "no_asc", "mean(population)", "mean(ei)", "shuffle_within", "er_pair", "flat_distance",
    "no_stp", "weights_shuffle",
)  # fmt: skip
#: What interventions do to the cause and to what goes along.
INTERVENTIONS = {
    "dose(0.5, population)": (-1.0, -1.0),
    "dose(1.5, population)": (1.0, 1.0),
    "only(tau_m, population)": (-1.2, 0.0),
    "only(threshold, population)": (0.0, -1.2),
}
NAMES = ("cause", "companion", "unrelated")
SLOPE = 0.05


def planted(seed, *, n_seeds=12, ablations=ABLATIONS, interventions=INTERVENTIONS):
    """A comparison: the score is 0.8 + SLOPE cause, and every ablation moves cause and companion alike.

    Runs differ by chance in all of them, and every metric is measured with some noise.
    """
    rng = np.random.default_rng(seed)
    moved = {"intact": (0.0, 0.0)}
    for name in ablations:
        size = rng.normal(0, 1)
        moved[name] = size, size + rng.normal(0, 0.15)
    moved |= interventions
    network = rng.normal(0, 1, (n_seeds, 3))
    cells, rows = [], []
    for ablation, (cause, companion) in moved.items():
        far = rng.normal(0, 1) if ablation != "intact" else 0.0
        for number in range(n_seeds):
            own = network[number] + (cause, companion, far) + rng.normal(0, 0.3, 3)
            accuracy = 0.8 + SLOPE * own[0] + rng.normal(0, 0.01)
            who = {"protocol": "retrain", "ablation": ablation, "seed": number + 1}
            cells.append(who | {"accuracy": accuracy, "valid": True})
            rows += [
                who | {"measure": name, "unit": "1", "phase": "trained", "window": "evoked",
                       "level": "network", "group": "network", "axis": "", "axis_unit": "",
                       "at": np.nan, "value": value, "n": 10, "reason": ""}
                for name, value in zip(NAMES, own + rng.normal(0, 0.1, 3), strict=True)
            ]  # fmt: skip
    comparison = {
        "cells": cells,
        "family": {"primary": {"outcome": "accuracy", "label": "accuracy"}},
        "experiment": {"compare": {"margin": 0.015}, "measure": {"explain": list(NAMES)}},
    }
    return comparison, pd.DataFrame(rows)


def explained(comparison, rows, names=NAMES):
    return {one["metric"]: one for one in explain(comparison, rows, names, names)}


@pytest.mark.parametrize("seed", range(5))
def test_a_cause_is_told_from_what_goes_along_with_it_and_from_what_does_not(seed):
    found = explained(*planted(seed))
    cause, companion, unrelated = (found[name] for name in NAMES)
    # Both go with the outcome, which is why a slope would not do.
    assert cause["slope"]["p_holm"] < 0.05
    assert companion["slope"]["p_holm"] < 0.05
    assert cause["out_of_sample"]["r2"] > 0.9
    assert cause["verdict"] == "explains"
    assert cause["slope"]["low"] < SLOPE < cause["slope"]["high"]
    assert cause["mediated"] > 0.8
    assert companion["verdict"] == "correlates only"
    assert "only(threshold, population)" in companion["text"]
    assert abs(companion["mediated"]) < 0.3
    assert unrelated["verdict"] in ("no relation shown", "correlates only", "not decided")
    assert unrelated["out_of_sample"]["r2"] < 0.5


def test_a_metric_that_has_nothing_to_do_with_it_has_a_slope_as_often_as_it_may():
    """Conditions are the units, so eight seeds of each do not make a slope of chance sure."""
    rng, n, found = np.random.default_rng(1), 40, 0
    for _ in range(n):
        metric, outcome = rng.normal(0, 1, (2, 6))  # by condition
        noise = rng.normal(0, 0.05, (2, 6, 8))
        table = pd.DataFrame(
            [
                {"condition": f"c{i}", "seed": s, "metric": metric[i] + noise[0, i, s],
                 "outcome": outcome[i] + noise[1, i, s]}
                for i in range(6)
                for s in range(8)
            ]
        )  # fmt: skip
        found += slopes(table)[0].p < 0.05
    assert found <= 5  # 2 are expected; runs as units find nearly all


def test_interventions_that_move_both_tell_nothing_apart():
    """With the doses alone the companion is as good as the cause, and each names the other."""
    both = {name: INTERVENTIONS[name] for name in list(INTERVENTIONS)[:2]}
    found = explained(*planted(0, interventions=both))
    assert found["cause"]["verdict"] == found["companion"]["verdict"] == "explains"
    assert found["cause"]["inseparable"] == ["companion"]
    assert found["companion"]["inseparable"] == ["cause"]
    assert "cannot be told from companion" in found["cause"]["text"]


@pytest.mark.parametrize("seed", [132, 198])
def test_what_was_never_moved_without_the_cause_is_not_called_one(seed):
    """Draws in which the intervention on the companion alone predicts too little to tell anything."""
    found = explained(*planted(seed))
    told = {each["ablation"]: each["outcome"] for each in found["companion"]["interventions"]}
    assert told["only(threshold, population)"] == ""
    assert "follows" in told.values()
    assert found["cause"]["verdict"] == "explains"
    assert found["companion"]["verdict"] == "not decided"
    assert "also moved cause, which accuracy follows alone as well" in found["companion"]["text"]


def test_prediction_of_the_other_half_is_that_of_a_line():
    """Without noise 1; of a metric of noise below 0 or near it; and as a loop over halves computes it."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=7)
    y = 2 * x + rng.normal(0, 0.5, 7)
    table = pd.DataFrame(
        [
            {"condition": f"c{i}", "seed": s, "metric": x[i], "outcome": y[i]}
            for i in range(7)
            for s in (1, 2, 3)
        ]
    )
    error = total = 0.0
    for half in combinations(range(7), 3):
        rest = [i for i in range(7) if i not in half]
        slope, intercept = np.polyfit(x[list(half)], y[list(half)], 1)
        error += ((y[rest] - slope * x[rest] - intercept) ** 2).sum()
        total += ((y[rest] - y[list(half)].mean()) ** 2).sum()
    assert predicted_halves(table, seed=0).r2 == pytest.approx(1 - error / total)
    exact = table.assign(outcome=2 * table["metric"])
    assert predicted_halves(exact, seed=0).r2 == pytest.approx(1)


def test_mediation_is_the_product_of_two_slopes_and_that_of_statsmodels():
    """Indirect effect = change of the metric in the condition x slope of the outcome on the metric."""
    comparison, rows = planted(4, n_seeds=30, ablations=ABLATIONS[:1], interventions={})
    runs = pd.DataFrame(comparison["cells"])[["ablation", "seed", "accuracy"]].merge(
        rows[rows["measure"] == "cause"][["ablation", "seed", "value"]]
    )
    runs = runs.set_axis(["condition", "seed", "outcome", "metric"], axis=1)
    (one,) = mediation(runs, "intact", seed=1)
    means = runs.groupby("condition")["metric"].mean()
    # Noise of the measured metric (sd .1) beside its chance differences (.3) takes a tenth of the slope.
    expected = 0.9 * SLOPE * (means[one.condition] - means["intact"])
    assert one.indirect == pytest.approx(expected, rel=0.15)
    given = np.column_stack(
        [runs["condition"] == one.condition, pd.get_dummies(runs["seed"])]
    ).astype(float)
    reference = Mediation(
        OLS(runs["outcome"].to_numpy(), np.column_stack([given, runs["metric"]])),
        OLS(runs["metric"].to_numpy(), given),
        (0, 0),
        given.shape[1],
    ).fit(n_rep=400, rng=np.random.default_rng(0))
    row = reference.summary().loc["ACME (average)"]
    size = one.high - one.low
    assert one.indirect == pytest.approx(row["Estimate"], abs=0.15 * size)
    assert one.low == pytest.approx(row["Lower CI bound"], abs=0.3 * size)
    assert one.high == pytest.approx(row["Upper CI bound"], abs=0.3 * size)


def test_too_few_conditions_or_seeds_give_reasons_and_no_numbers():
    few = explained(*planted(0, ablations=ABLATIONS[:1], interventions={}))["cause"]
    assert few["slope"]["mean"] is None
    assert few["slope"]["note"] == "1 conditions with both values, fewer than 4"
    assert few["out_of_sample"]["r2"] is None
    assert (few["mediated"], few["agreement"]) == (None, None)
    assert few["verdict"] == "not decided"
    two = explained(*planted(0, n_seeds=2))["cause"]
    assert two["slope"]["note"] == "2 seeds with both values, fewer than 3"
    four = explained(*planted(0, n_seeds=4))["cause"]
    assert all(one["agreement"] is None for one in four["interventions"])
    assert four["verdict"] == "not decided"
    comparison, rows = planted(0)
    missing = explained(comparison, rows, ("fano_factor",))["fano_factor"]
    assert missing["slope"]["note"] == "'fano_factor' was not measured"
    rows[["value", "reason"]] = np.nan, "too few trials"
    assert explained(comparison, rows)["cause"]["slope"]["note"] == "too few trials"


def test_conditions_outside_the_bars_are_left_out():
    comparison, rows = planted(0)
    for cell in comparison["cells"]:
        if cell["ablation"] == "no_asc":
            cell["valid"] = False
    found = explained(comparison, rows)["cause"]
    assert found["left_out"] == ["no_asc"]
    assert found["n_conditions"] == len(ABLATIONS) + len(INTERVENTIONS) - 1
    assert "no_asc" not in [point["ablation"] for point in found["points"]]


def test_the_settings_of_the_page_are_valid():
    page = (Path(__file__).parents[2] / "docs" / "explaining.md").read_text()
    settings = tomllib.loads(page.split("```toml")[1].split("```")[0])
    assert len(MeasureSettings.model_validate(settings["measure"]).explain) == 4
    names = CompareSettings.model_validate(settings["compare"]).ablations
    assert sum(is_intervention(parse_ablation(name).name) for name in names) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fano_facto", "did you mean 'fano_factor'"),
        ("cv_isi", "add it to measure.names"),
        ("fano_factor@untrained", 'add "untrained" to measure.phases'),
        ("fano_factor@trianed", "did you mean 'trained'"),
        ("fano_factor[", "cannot be read"),
    ],
)
def test_a_metric_that_is_not_measured_is_refused_before_anything_is_run(text, message):
    with pytest.raises(ValueError, match=message):
        MeasureSettings(names=("fano_factor", "mean_rate"), explain=(text,))


def test_what_was_named_later_is_explored(tmp_path):
    declare(tmp_path, ["cause"])
    declare(tmp_path, ["cause", "companion"])  # the comparison goes on with another experiment file
    comparison, rows = planted(0, n_seeds=5)
    write_measured(rows, tmp_path)
    comparison["experiment"]["measure"]["explain"] = ["cause"]
    (tmp_path / "comparison.json").write_text(json.dumps(comparison))
    found = {one["metric"]: one for one in explain_run(tmp_path, ["companion"])}
    assert declared_first(tmp_path, ["cause", "companion"]) == {"cause"}
    assert [found[name]["declared"] for name in ("cause", "companion")] == [True, False]
    with pytest.raises(ConfigError, match="did you mean 'companion'"):
        explain_run(tmp_path, ["compagnon"])
