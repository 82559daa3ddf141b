"""What is trained from where, by which learning rate, on a network of others: two populations of other names,
no LGN, no recordings, no positions.
"""

import dataclasses
import json

import numpy as np
import pytest
import torch
from handmade import make_foreign

from v1builder.experiments import compare
from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.condition import PROTOCOLS, Condition
from v1builder.experiments.export import trained_network
from v1builder.experiments.seed_run import choose_factor, read_validation
from v1builder.load import load_network, save_network
from v1builder.schema.errors import ConfigError, DataError
from v1builder.train import load_experiment
from v1builder.train.checkpoint import load_checkpoint, read_metrics

EXPERIMENT = """
name = "a test"
seeds = {seeds}
[network]
path = "{network}"
[task]
name = "orientation_discrimination"
n_deltas = 2
warm_up_ms = 20.0
gray_before_ms = 10.0
on_ms = 40.0
gray_after_ms = 10.0
response_ms = [10.0, 50.0]
[model]
trainable = ["v1_to_v1.weight", "bkg_to_v1.weight"]
[readout]
populations = ["Pyr*"]
pool_size = 6
radius_um = "all"
[train]
steps = {steps}
batch_size = 4
rate_weight = {rate_weight}
validate_every = 2
validation_trials = 8
test_trials = 8
[compare]
ablations = {ablations}
protocols = {protocols}
learning_rate_factors = {factors}
learning_rate_seeds = {rate_seeds}
matching = "{matching}"
matching_trials = 4
matching_measurements = 4
calibration_seconds = 2.0
"""


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign") / "network"
    save_network(make_foreign(), folder)
    return folder


@pytest.fixture
def experiment(tmp_path, foreign):
    def make(
        ablations=("intact", "mean(population)"),
        protocols=PROTOCOLS,
        *,
        seeds=(1,),
        steps=3,
        factors=(1.0,),
        rate_seeds=1,
        rate_weight=0.0,
        matching="rate",
        network=foreign,
    ):
        lists = {
            "ablations": ablations, "protocols": protocols, "seeds": seeds, "factors": factors
        }  # fmt: skip
        text = EXPERIMENT.format(
            **{name: json.dumps(list(values)) for name, values in lists.items()},
            network=network,
            steps=steps,
            rate_seeds=rate_seeds,
            rate_weight=rate_weight,
            matching=matching,
        )
        path = tmp_path / "experiment.toml"
        path.write_text(text)
        return load_experiment(path)

    return make


def found(comparison, protocol, ablation, seed=1):
    (one,) = [
        cell
        for cell in comparison["cells"]
        if (cell["protocol"], cell["ablation"], cell["seed"]) == (protocol, ablation, seed)
    ]
    return one


def folder_of(run, protocol, ablation, seed=1):
    return Condition(protocol, parse_ablation(ablation), seed).folder(run)


def learned(run, protocol, ablation, seed=1, factor=""):
    """State of the trained classifier of a condition."""
    saved = load_checkpoint(folder_of(run, protocol, ablation, seed) / factor, {})
    return saved["classifier"]


def readout_part(state):
    return {k: v for k, v in state.items() if k in ("readout.log_scale", "readout.bias")}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def done(tmp_path_factory, foreign):
    """A comparison of all protocols."""
    folder = tmp_path_factory.mktemp("protocols")
    path = folder / "experiment.toml"
    path.write_text(
        EXPERIMENT.format(
            ablations='["intact", "mean(population)"]', protocols=json.dumps(list(PROTOCOLS)),
            seeds="[1, 2]", factors="[1.0]", network=foreign, steps=3, rate_seeds=1,
            rate_weight=0.0, matching="rate",
        )
    )  # fmt: skip
    settings = load_experiment(path)
    return settings, folder / "run", compare(settings, folder / "run")


def test_every_protocol_has_its_own_pair(done):
    settings, _run, comparison = done
    assert [(c["protocol"], c["ablation"]) for c in comparison["cells"] if c["seed"] == 1] == [
        (protocol, ablation) for protocol in PROTOCOLS for ablation in settings.compare.ablations
    ]
    # The frozen intact network is the trained one; that of the others is trained from there.
    baseline = found(comparison, "retrain", "intact")
    same = {k: v for k, v in found(comparison, "frozen", "intact").items() if k != "protocol"}
    assert same == {k: v for k, v in baseline.items() if k != "protocol"}
    for protocol in ("readout", "finetune"):
        again = found(comparison, protocol, "intact")
        assert again["learning_curve"][0][0] == 0
        start, end = again["operating_point"]["before"], baseline["operating_point"]["trained"]
        own = {"rate_ratio": dict.fromkeys(start["population_Hz"], 1.0)}  # to its own start
        assert start == end | own
    for cell in comparison["cells"]:
        has = {"before", "after"} | ({"trained"} if "learning_curve" in cell else set())
        assert set(cell["operating_point"]) == has, (cell["protocol"], cell["ablation"])
        assert ("learning_curve" in cell) == (
            cell["protocol"] != "frozen" or cell["ablation"] == "intact"
        )
        assert isinstance(cell["valid"], bool)
        assert cell["valid"] == (not cell["invalid_because"])
        assert cell["learning_rate_factor"] == 1.0
        if cell["ablation"] != "intact":
            (record,) = cell["ablation_record"]
            assert record["name"] == "mean(population)"
            assert record["carry"] == "psp"
            # The mean of a population of one model is that model, until training moves its background.
            untrained = cell["protocol"] == "retrain"
            assert cell["calibration"]["tuned_models"] == (3 if untrained else 4)
            assert cell["matching"]["n_measurements"] <= 4
    pairs = {(row["protocol"], row["ablation"]) for row in comparison["verdicts"]}
    assert pairs == {(protocol, "mean(population)") for protocol in PROTOCOLS}


def test_the_readout_protocol_trains_nothing_but_the_readout(done, foreign):
    _settings, run, _comparison = done
    intact = learned(run, "retrain", "intact")
    for ablation in ("intact", "mean(population)"):
        state = learned(run, "readout", ablation)
        fresh = {"readout.log_scale": torch.tensor(np.log(5.0)), "readout.bias": torch.zeros(2)}
        assert not any(torch.equal(state[k], fresh[k].to(state[k])) for k in fresh)
        assert not equal(readout_part(state), readout_part(intact))
    # The network it was read from is the trained one, ablated: that of the frozen protocol.
    frozen, _ = trained_network(run, protocol="frozen", ablation="mean(population)")
    readout, _ = trained_network(run, protocol="readout", ablation="mean(population)")
    trained, _ = trained_network(run)
    built = load_network(foreign)
    for name in ("v1_to_v1", "bkg_to_v1"):
        np.testing.assert_allclose(readout.edges[name].weight, frozen.edges[name].weight, rtol=1e-6)
        moved = trained.edges[name].weight / built.edges[name].weight
        assert np.abs(moved - 1).max() > 1e-3, name  # there was something to keep
        own = readout.edges[name].weight / trained.edges[name].weight
        assert np.abs(own - 1).max() > 1e-3, name  # and it was carried to the mean cells
    again, _ = trained_network(run, protocol="readout", ablation="intact")
    for name, edges in trained.edges.items():
        np.testing.assert_allclose(again.edges[name].weight, edges.weight, rtol=1e-6)


def test_finetune_starts_from_trained_weights_and_readout(experiment, tmp_path):
    settings, run = experiment(), tmp_path / "run"
    compare(settings, run)
    for ablation in ("intact", "mean(population)"):
        # Validation before the first step is on the trials of the last validation of the baseline.
        first = read_metrics(folder_of(run, "finetune", ablation))[0]
        assert (first["step"], first["split"]) == (0, "validation")
        end = [m for m in read_metrics(folder_of(run, "retrain", "intact")) if "accuracy" in m][-1]
        if ablation == "intact":
            for score in ("loss", "accuracy", "rate_Hz"):
                assert first[score] == pytest.approx(end[score], rel=1e-5)
        assert not equal(
            readout_part(learned(run, "finetune", ablation)),
            readout_part(learned(run, "retrain", "intact")),
        )
    frozen, _ = trained_network(run, protocol="frozen", ablation="mean(population)")
    tuned, _ = trained_network(run, protocol="finetune", ablation="mean(population)")
    moved = np.log(tuned.edges["v1_to_v1"].weight / frozen.edges["v1_to_v1"].weight)
    # Three steps of Adam at .01 move a logarithm by at most .03 or so; another start would differ by more.
    assert 0 < np.abs(moved).max() < 0.04


def test_the_best_validated_learning_rate_is_taken_and_its_training_reused(experiment, tmp_path):
    factors, run = (0.333, 1.0, 3.0), tmp_path / "run"
    settings = experiment(
        protocols=("retrain", "frozen", "finetune"), seeds=(1, 2, 3), factors=factors, rate_seeds=2
    )
    comparison = compare(settings, run)
    conditions = [
        ("retrain", "intact"), ("retrain", "mean(population)"),
        ("finetune", "intact"), ("finetune", "mean(population)"),
    ]  # fmt: skip
    for protocol, ablation in conditions:
        mean = {}
        for factor in factors:
            validated = []
            for seed in (1, 2):
                name = "" if factor == 1 else f"lr-x{factor:.3g}"
                folder = folder_of(run, protocol, ablation, seed) / name
                last = [m for m in read_metrics(folder) if m["split"] == "validation"][-1]
                assert last["step"] == 3
                assert read_validation(folder, 1.0) == last["accuracy"]
                validated.append(last["accuracy"])
            mean[factor] = np.mean(validated)
        taken = {
            found(comparison, protocol, ablation, s)["learning_rate_factor"] for s in (1, 2, 3)
        }
        best = max(mean.values())
        near = min((f for f in factors if mean[f] == best), key=lambda f: abs(np.log(f)))
        assert taken == {near}
        # Seed 3 is trained with that factor alone, and the result is that of a single rate.
        folders = {
            p.parent.name for p in folder_of(run, protocol, ablation, 3).rglob("checkpoint.pt")
        }
        assert folders == {"seed-3" if near == 1 else f"lr-x{near:.3g}"}
        factor_folder = "" if near == 1 else f"lr-x{near:.3g}"
        steps = read_metrics(folder_of(run, protocol, ablation, 1) / factor_folder)
        assert sum(m["split"] == "train" for m in steps) == 3  # trained once
    assert {found(comparison, "frozen", "mean(population)")["learning_rate_factor"]} == {1.0}


def test_what_follows_training_is_made_again_after_another_learning_rate(experiment, tmp_path):
    """A frozen network must be that of the baseline which it is compared with."""
    run = tmp_path / "run"
    first = compare(experiment(protocols=("retrain", "frozen"), factors=(1.0,)), run)
    other = compare(experiment(protocols=("retrain", "frozen"), factors=(3.0,)), run)
    whole = compare(experiment(protocols=("retrain", "frozen"), factors=(3.0,)), tmp_path / "new")
    name = ("frozen", "mean(population)")
    assert found(first, *name)["loss"] != found(whole, *name)["loss"]
    assert other["cells"] == whole["cells"]


def test_the_choice_of_a_learning_rate():
    assert choose_factor({0.333: 0.7, 1.0: 0.72, 3.0: 0.9}) == 3.0
    assert choose_factor({0.333: 0.7, 1.0: 0.6, 3.0: 0.6}) == 0.333
    assert choose_factor({0.25: 0.7, 1.0: 0.7, 3.0: 0.7}) == 1.0
    assert choose_factor({0.25: 0.7, 3.0: 0.7}) == 3.0  # nearer to 1 as a ratio
    with pytest.raises(ConfigError, match="no learning rate"):
        choose_factor({})


def test_a_network_of_others_is_compared_without_recordings(done, foreign):
    _settings, _run, comparison = done
    assert not (foreign / "reference").exists()
    populations = ["IntA", "IntB", "PyrA", "PyrB"]
    assert [row["population"] for row in comparison["rates"]] == populations
    assert not any("median" in row for row in comparison["rates"])
    for cell in comparison["cells"]:
        if cell["matching"]:
            assert [p["population"] for p in cell["matching"]["populations"]] == populations
    assert any("no input sees" in note for note in comparison["notes"])


def test_rates_without_recordings_are_missed_before_anything_is_trained(experiment, tmp_path):
    with pytest.raises(DataError, match="rate_weight = 0") as error:
        compare(experiment(rate_weight=0.1), tmp_path / "run")
    assert len(error.value.problems) == 1
    assert not (tmp_path / "run").exists()


def test_another_network_is_noticed(experiment, foreign, tmp_path):
    """Same settings, same path, other weights: nothing stored is used."""
    network = load_network(foreign)
    save_network(network, tmp_path / "net")
    settings = experiment(network=tmp_path / "net", protocols=("frozen",), matching="raw")
    first = compare(settings, tmp_path / "run")
    edges = network.edges["bkg_to_v1"]
    stronger = dataclasses.replace(edges, weight=1.1 * edges.weight)
    changed = dataclasses.replace(network, edges=network.edges | {"bkg_to_v1": stronger})
    save_network(changed, tmp_path / "net", overwrite=True)
    second = compare(settings, tmp_path / "run")
    for ablation in ("intact", "mean(population)"):
        a, b = (found(c, "frozen", ablation)["rate_Hz"] for c in (first, second))
        assert a != b
