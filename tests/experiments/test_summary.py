"""From results of runs to declared tests, verdicts and a sentence."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from v1builder.experiments.summary import summarise
from v1builder.schema.errors import ConfigError

STEPS = (10, 20, 30, 40)


def result(protocol, ablation, seed, accuracy, step=20, **more):
    curve = [[s, accuracy] for s in STEPS]
    trained = {"learning_curve": curve, "area_under_curve": accuracy, "steps_to_criterion": step}
    return {
        "protocol": protocol,
        "ablation": ablation,
        "seed": seed,
        "accuracy": float(accuracy),
        "n_trials": 2048,
        "spikes_per_trial": 100.0,
        "rate_Hz": 3.0,
        "valid": True,
        "invalid_because": [],
        **({} if protocol == "frozen" and ablation != "intact" else trained),
        **more,
    }


EFFECTS = {"intact": 0.0, "planted": -0.05, "better": 0.05, "sham": 0.0, "noisy": 0.0}


def experiment(effects=EFFECTS, protocols=("retrain", "frozen"), n=20, steps=None, **more):
    """Networks of different quality, differences with a standard deviation of 1.5 points ("noisy": 8)."""
    rng = np.random.default_rng(2)
    quality = rng.normal(0.75, 0.05, n)
    made = []
    for protocol in protocols:
        for name, effect in effects.items():
            x = rng.normal(size=n)
            x = 0 * x if name == "intact" else (x - x.mean()) / x.std(ddof=1)
            values = quality + effect + (0.08 if name == "noisy" else 0.015) * x
            for i in range(n):
                step = steps(name, i) if steps else 20
                made.append(result(protocol, name, i + 1, values[i], step, **more))
    return made


def verdicts(found):
    return {(row["protocol"], row["ablation"]): row["verdict"] for row in found["verdicts"]}


def primary(found):
    return [row for row in found["differences"] if row["role"] == "primary"]


def test_verdicts_of_planted_effects():
    found = summarise(experiment())
    expected = {"planted": "helps", "better": "hurts", "sham": "equivalent", "noisy": "not decided"}
    assert verdicts(found) == {
        (protocol, name): what
        for protocol in ("retrain", "frozen")
        for name, what in expected.items()
    }
    text = found["sentence"]
    assert text.startswith(
        "Accuracy over 20 paired seeds: lower when ablated: planted (retrain) -5.0 "
    )
    assert "higher when ablated: better (retrain) +5.0 points" in text
    assert "equivalent to intact within 1.5 points: sham (retrain), sham (frozen)" in text
    assert "not decided: noisy (retrain), noisy (frozen)" in text
    assert "A claim needs" not in text
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_family_is_every_protocol_and_ablation():
    results = experiment()
    found = summarise(results)
    rows = primary(found)
    assert found["family"]["primary"]["n_tests"] == len(rows) == 8
    p = []
    for row in rows:
        pair = [
            [
                r["accuracy"]
                for r in results
                if (r["protocol"], r["ablation"]) == (row["protocol"], a)
            ]
            for a in ("intact", row["ablation"])
        ]
        p.append(stats.ttest_rel(*pair).pvalue)
    order = np.argsort(p)
    expected, largest = np.empty(8), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, (8 - rank) * p[place])
        expected[place] = min(1.0, largest)
    assert [row["p_holm"] for row in rows] == pytest.approx(expected)
    assert "all 8 (protocol, ablation)" in found["family"]["declared"]
    assert "4 tests" in found["family"]["declared"]  # of steps to criterion: one protocol trains


def test_only_declared_outcomes_have_p_values():
    found = summarise(experiment())
    described = [row for row in found["differences"] if row["role"] == "descriptive"]
    assert {row["metric"] for row in described} == {
        "area_under_curve",
        "spikes_per_trial",
        "rate_Hz",
    }
    assert not any("p_t" in row or "verdict" in row for row in described)
    assert {r["protocol"] for r in described if r["metric"] == "area_under_curve"} == {"retrain"}


def test_an_invalid_seed_makes_its_condition_invalid_and_no_other():
    results = experiment()
    for r in results:
        if (r["protocol"], r["ablation"], r["seed"]) == ("retrain", "planted", 7):
            r.update(valid=False, invalid_because=["silent share 9 points above intact"])
    found = summarise(results)
    assert verdicts(found)["retrain", "planted"] == "invalid"
    assert verdicts(found)["frozen", "planted"] == "helps"
    assert found["invalid"] == [
        {
            "protocol": "retrain",
            "ablation": "planted",
            "seeds": [7],
            "because": ["silent share 9 points above intact"],
        }
    ]
    assert "Nothing is concluded from planted (retrain)" in found["sentence"]
    assert "planted (retrain) -5.0" not in found["sentence"]
    assert found["co_primary"][0]["verdict"] == "invalid"
    assert found["family"]["primary"]["n_tests"] == 8  # declared before


def test_an_invalid_baseline_leaves_nothing_to_conclude():
    results = experiment(protocols=("retrain",))
    results[0]["valid"] = False
    assert set(verdicts(summarise(results)).values()) == {"invalid"}


def test_slow_learners():
    """Intact runs learn in 10 or 20 steps; half of the planted ones never do, the others late."""

    def steps(name, i):
        if name == "planted":
            return None if i % 2 else 40
        return 10 * (1 + i % 2) if i % 3 else 20

    found = summarise(experiment({"intact": 0, "planted": -0.01, "sham": 0.0}, steps=steps))
    planted, sham = found["co_primary"]
    assert (planted["verdict"], sham["verdict"]) == ("helps", "not decided")
    assert (planted["reached"], planted["reached_baseline"], planted["runs"]) == (10, 20, 20)
    assert planted["p_holm"] == pytest.approx(2 * planted["p"])
    assert sham["p"] == 1.0  # the same steps in every seed
    assert "Learning is slower when ablated: planted (retrain)." in found["sentence"]
    by = {(row["protocol"], row["ablation"]): row for row in found["verdicts"]}
    assert by["retrain", "planted"]["learning_verdict"] == "helps"
    assert "10 of 20 runs reached the criterion, 20 intact" in by["retrain", "planted"]["text"]
    assert by["frozen", "planted"]["learning_verdict"] is None


def test_censored_at_the_last_validation():
    results = experiment({"intact": 0, "x": 0}, ("retrain",), n=6, steps=lambda name, i: None)
    found = summarise(results)
    assert found["co_primary"][0]["hazard_ratio"] is None
    assert "no run reached the criterion" in found["co_primary"][0]["note"]


def test_few_seeds_and_trials_are_said():
    found = summarise(experiment(n=3, n_trials=256, steps=lambda name, i: 10 * (1 + i)))
    assert found["sentence"].endswith("A claim needs at least 20 seeds.")
    text = " ".join(found["notes"])
    assert "3 paired seeds cannot carry a claim" in text
    assert "256 test trials" in text
    assert "learning speed cannot be decided" in text
    assert "bootstrap intervals tend to be too narrow" in text
    single = summarise([r for r in experiment(n=2) if r["seed"] == 1])
    assert set(verdicts(single).values()) == {"not decided"}
    assert "over 1 paired seed: nothing was decided in 8 comparisons" in single["sentence"]
    json.dumps(single, allow_nan=False)


def test_power_is_beside_the_verdict():
    found = summarise(experiment({"intact": 0, "a": 0, "b": 0}, ("retrain",)))
    row = found["power"]["rows"][0]
    assert found["power"]["alpha"] == 0.025
    assert row["between_seed_sd"] == pytest.approx(0.015)
    assert row["trial_noise"] == pytest.approx(math.sqrt(2 * 0.75 * 0.25 / 2048), rel=0.03)
    assert 0.005 < row["detectable"] < 0.015
    assert any("power .8" in note for note in found["notes"])


def test_dose_curves_of_the_conditions():
    doses = {"mean(population)": 0.0, "dose(0.5, population)": 0.5, "intact": 1.0}
    doses |= {"dose(1.5, population)": 1.5, "dose(2, population)": 2.0}
    effects = {name: -0.2 * (dose - 1) ** 2 for name, dose in doses.items()}
    effects = {"intact": effects.pop("intact"), **effects, "mean(ei)": -0.01}
    results = experiment(effects, ("retrain",))
    (curve,) = summarise(results)["dose"]
    assert (curve["level"], curve["doses"]) == ("population", [0.0, 0.5, 1.0, 1.5, 2.0])
    assert curve["peak"] == pytest.approx(1.0, abs=0.05)
    assert curve["near_optimal"]
    assert np.shape(curve["per_seed"]) == (20, 5)
    for r in results:
        r["valid"] = r["ablation"] in ("intact", "mean(population)")
    (curve,) = summarise(results)["dose"]
    assert curve["peak"] is None
    assert curve["left_out"] == [0.5, 1.5, 2.0]
    assert "2 valid doses" in curve["note"]
    assert summarise(experiment())["dose"] == []


def test_networks_crossed_with_seeds():
    """Paired differences are means over networks; the mixed model has both."""
    results = [
        result("retrain", name, seed, 0.8 + effect + 0.01 * seed + 0.02 * network, network=network)
        | {"accuracy": 0.8 + effect + 0.01 * seed + 0.02 * network + 0.001 * (seed * network % 3)}
        for name, effect in (("intact", 0.0), ("x", -0.05))
        for seed in range(5)
        for network in (1, 2, 3, 4)
    ]
    found = summarise(results)
    (model,) = found["mixed"]
    assert model["effects"][0]["mean"] == pytest.approx(-0.05)
    assert model["effects"][0]["p"] is None  # all differences are equal
    assert "94 to 99 %" in model["note"]
    assert len(primary(found)[0]["per_seed"]) == 5
    assert found["co_primary"][0]["runs"] == 20
    plain = summarise(experiment())
    assert plain["mixed"] == []
    assert any("not crossed" in note for note in plain["notes"])


def test_d_prime_as_the_primary_outcome():
    results = [r | {"d_prime": 2 * stats.norm.ppf(r["accuracy"])} for r in experiment(n=20)]
    found = summarise(results, primary="d_prime", margin=0.1)
    assert {row["metric"] for row in primary(found)} == {"d_prime"}
    assert verdicts(found)["retrain", "planted"] == "helps"
    assert found["sentence"].startswith(
        "D' over 20 paired seeds: lower when ablated: planted (retrain) -0."
    )
    assert "points" not in found["sentence"]
    assert any(
        r["metric"] == "accuracy" and r["role"] == "descriptive" for r in found["differences"]
    )


def test_notes_of_runs_are_kept_once():
    results = experiment({"intact": 0, "x": 0}, ("retrain",), n=3, notes=["rates at the floor"])
    assert summarise(results)["notes"].count("x (retrain): rates at the floor") == 1


def test_results_without_an_operating_point():
    """Older ones: taken as they are, with a word about it."""
    results = [{k: v for k, v in r.items() if "valid" not in k} for r in experiment()]
    found = summarise(results)
    assert verdicts(found)["retrain", "planted"] == "helps"
    assert any("was not measured" in note for note in found["notes"])


def test_conditions_of_an_attribution_are_described_and_not_tested():
    """Dozens of coalitions for Shapley values would leave nothing of the level of the declared tests."""
    results = experiment()
    found = summarise(results, untested=["noisy", "sham"])
    assert found["family"]["primary"]["n_tests"] == 4
    assert {ablation for _, ablation in verdicts(found)} == {"planted", "better"}
    noisy = [row for row in found["differences"] if row["ablation"] == "noisy"]
    assert {row["role"] for row in noisy} == {"descriptive"}
    assert "accuracy" in {row["metric"] for row in noisy}
    assert "sham" not in found["sentence"]


def test_wrong_input():
    with pytest.raises(ConfigError, match="did you mean 'd_prime'"):
        summarise(experiment(n=2), primary="d_prim")
    with pytest.raises(ConfigError, match="not every result has"):
        summarise(experiment(n=2), primary="d_prime")
    with pytest.raises(ConfigError, match="same seeds"):
        summarise(experiment(n=3)[:-1])
    with pytest.raises(ConfigError, match="same seeds"):
        summarise([result("retrain", "x", 1, 0.5)])


def test_intact_alone():
    found = summarise(experiment({"intact": 0.0}, ("retrain",), n=2))
    assert found["sentence"] == "Only the intact network was run; nothing is compared."
    assert found["verdicts"] == []
