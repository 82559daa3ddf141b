"""A comparison that measures before and after training, changes of weights, lesions; and a finished run."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from handmade import make_foreign

from v1builder.experiments import compare
from v1builder.experiments import measure_run as module
from v1builder.experiments.finished import FinishedRun
from v1builder.experiments.lesion import SILENCING_PA, control, score_without
from v1builder.experiments.measure_network import measure_network
from v1builder.experiments.measure_run import lesion_run, measure_run
from v1builder.load import save_network
from v1builder.report import write_report
from v1builder.schema.errors import ConfigError, StorageError
from v1builder.train import load_experiment

NAMES = ["mean_rate", "voltage_change", "excitation_share"]
EXPERIMENT = """
name = "a test"
seeds = [1, 2]
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
trainable = ["v1_to_v1.weight", "g"]
[readout]
populations = ["Pyr*"]
pool_size = 6
radius_um = "all"
[train]
steps = 2
batch_size = 4
rate_weight = 0.0
validate_every = 2
validation_trials = 4
test_trials = 4
[measure]
names = ["mean_rate", "voltage_change", "excitation_share"]
levels = ["network", "population"]
phases = ["untrained", "trained"]
trials = 4
explain = ["mean_rate", "mean_rate@untrained", "weight_change_rms"]
lesions = "population"
lesion_trials = 4
[compare]
ablations = ["intact", "no_asc"]
matching = "raw"
matching_trials = 2
background = "ratio"
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    sets = {"pyramidal": {"pop_name": ["PyrA", "PyrB"]}}
    save_network(replace(make_foreign(), node_sets=sets), folder / "network")
    (folder / "experiment.toml").write_text(EXPERIMENT.format(network=folder / "network"))
    experiment = load_experiment(folder / "experiment.toml")
    return folder, experiment, compare(experiment, folder / "run")


def test_rows_before_training_are_those_of_the_network_as_it_is(done):
    folder, experiment, _ = done
    rows = pd.read_csv(folder / "run" / "measures.csv")
    measured = measure_network(
        folder / "network", experiment.task, select=NAMES, n_trials=4,
        levels=["network", "population"], seed=1,
    )  # fmt: skip
    own = rows[
        (rows["phase"] == "untrained")
        & (rows["ablation"] == "intact")
        & (rows["seed"] == 1)
        & rows["measure"].isin(NAMES)
    ]
    assert set(own["protocol"]) == {"retrain"}
    expected = {(row.measure, row.window, row.group): row.value for row in measured.rows["intact"]}
    assert len(own) == len(expected)
    for row in own.itertuples():
        np.testing.assert_allclose(row.value, expected[row.measure, row.window, row.group])


def test_phases_are_those_of_the_protocol_and_trained_networks_differ(done):
    folder, _, comparison = done
    rows = pd.read_csv(folder / "run" / "measures.csv")
    by_protocol = rows.groupby("protocol")["phase"].agg(set).to_dict()
    assert by_protocol == {"retrain": {"untrained", "trained"}, "frozen": {"trained"}}
    rate = rows[(rows["measure"] == "mean_rate") & (rows["group"] == "network")]
    rate = rate[(rate["ablation"] == "intact") & (rate["protocol"] == "retrain")]
    wide = rate.pivot_table(index=["window", "seed"], columns="phase", values="value")
    assert (wide["untrained"] != wide["trained"]).any()
    assert all("measures" not in cell and "learned" not in cell for cell in comparison["cells"])


def test_what_was_learned_is_in_the_results(done):
    folder, _, comparison = done
    rows = pd.read_csv(folder / "run" / "learned.csv")
    assert set(rows["phase"]) == {"training", "observed", "untrained", "trained"}
    change = rows[(rows["measure"] == "weight_change_rms") & (rows["level"] == "network")]
    assert (change.loc[change["protocol"] == "retrain", "value"] > 0).all()
    g = rows[(rows["measure"] == "dispersion_g") & (rows["group"] == "network")]
    g = g[(g["protocol"] == "retrain") & (g["ablation"] == "intact")]
    wide = g.pivot_table(index="seed", columns="phase", values="value")
    assert (wide["observed"] == wide["untrained"]).all()
    assert (wide["trained"] != wide["untrained"]).all()
    summary = [r for r in comparison["learned"] if r["measure"] == "weight_change_rms"]
    assert {r["level"] for r in summary} <= {"network", "class pair"}


def test_two_conditions_explain_nothing_and_say_so(done):
    _, _, comparison = done
    found = {(one["protocol"], one["metric"]): one for one in comparison["explanation"]}
    assert len(found) == 2 * 3
    for one in found.values():
        assert one["declared"]
        assert one["verdict"] == "not decided"
        assert one["slope"]["mean"] is None
        assert one["slope"]["note"]
    assert found["frozen", "mean_rate@untrained"]["slope"]["note"] == (
        "'mean_rate@untrained' was not measured"
    )


def test_lesions_have_controls_of_their_size(done):
    folder, _, _ = done
    rows = pd.read_csv(folder / "run" / "measures.csv")
    lesion = rows[(rows["measure"] == "lesion") & (rows["protocol"] == "retrain")]
    others = rows[(rows["measure"] == "lesion_control") & (rows["protocol"] == "retrain")]
    sizes = make_foreign().cells.attributes["pop_name"]
    names, n = np.unique(sizes, return_counts=True)
    assert dict(zip(lesion["group"], lesion["n"], strict=True)) == dict(zip(names, n, strict=True))
    assert lesion["n"].tolist() == others["n"].where(others["value"].notna(), lesion["n"]).tolist()


def test_silenced_cells_do_not_spike_and_come_back(done):
    folder, _, _ = done
    run = FinishedRun(folder / "run", "lesion")
    found = run.learned(run.condition("retrain", "intact", 1))
    model, task = found.classifier.network, found.subject.task
    seen = []
    hook = model.register_forward_hook(
        lambda _m, _i, rollout: seen.append(rollout.spikes.sum((0, 1)))
    )
    before = model.bias_current.clone()
    cells = np.array([0, 5, 7])
    score_without(run.experiment, task, found.classifier, cells, seed=1)
    hook.remove()
    spikes = torch.stack(seen).sum(0)
    assert spikes.sum() > 0
    assert spikes[cells].sum() == 0
    assert torch.equal(model.bias_current, before)
    assert SILENCING_PA < 0
    drawn = control(np.arange(10, 30), 5, 1, "e4")
    assert len(set(drawn.tolist())) == 5
    assert drawn.min() >= 10
    assert np.array_equal(drawn, control(np.arange(10, 30), 5, 1, "e4"))
    assert not np.array_equal(drawn, control(np.arange(10, 30), 5, 2, "e4"))
    assert len(control(np.arange(3), 5, 1, "e4")) == 0


def test_a_finished_run_is_measured_as_its_comparison_did(done, tmp_path):
    folder, _, _ = done
    out = tmp_path / "again.csv"
    table = measure_run(
        folder / "run", out, select=NAMES, ablations=["intact"],
        protocols=["retrain"], n_trials=4, levels=["network", "population"],
    )  # fmt: skip
    rows = pd.read_csv(folder / "run" / "measures.csv")
    key = ["ablation", "seed", "phase", "measure", "window", "group"]
    own = rows[(rows["protocol"] == "retrain") & (rows["ablation"] == "intact")]
    own = own[own["measure"].isin(NAMES)].set_index(key)["value"]
    again = table[table["measure"].isin(NAMES)].set_index(key)["value"]
    np.testing.assert_allclose(again.loc[own.index], own)
    assert not out.with_name("again.csv.partial").exists()
    assert json.loads(out.with_suffix(".json").read_text())["measure"]["trials"] == 4


def test_a_run_that_was_stopped_goes_on(done, tmp_path, monkeypatch):
    folder, _, _ = done
    measured, calls = module.measured_around, []

    def stops(*arguments, **more):
        calls.append(more["seed"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measured(*arguments, **more)

    monkeypatch.setattr(module, "measured_around", stops)
    how = {
        "select": ["mean_rate"],
        "ablations": ["intact"],
        "protocols": ["retrain"],
        "n_trials": 2,
    }
    with pytest.raises(KeyboardInterrupt):
        measure_run(folder / "run", tmp_path / "a.csv", **how)
    measure_run(folder / "run", tmp_path / "a.csv", **how)
    assert calls == [1, 2, 2]
    measure_run(folder / "run", tmp_path / "b.csv", **how)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_lesions_of_a_finished_run(done, tmp_path):
    folder, _, _ = done
    table = lesion_run(folder / "run", tmp_path / "lesions.csv", seeds=[1], n_trials=4)
    rows = pd.read_csv(folder / "run" / "measures.csv")
    own = rows[
        (rows["seed"] == 1) & (rows["protocol"] == "retrain") & (rows["ablation"] == "intact")
    ]
    own = own[own["measure"].str.startswith("lesion")]
    np.testing.assert_allclose(table["value"], own["value"])


def test_the_cells_of_a_node_set_can_be_silenced(done, tmp_path):
    folder, _, _ = done
    how = {"level": "pyramidal", "seeds": [1], "n_trials": 4}
    table = lesion_run(folder / "run", tmp_path / "set.csv", **how)
    n = np.isin(make_foreign().cells.attributes["pop_name"], ["PyrA", "PyrB"]).sum()
    assert table["measure"].tolist() == ["lesion", "lesion_control"]
    assert table["group"].tolist() == ["pyramidal"] * 2
    assert table["n"].iloc[0] == n
    with pytest.raises(ConfigError, match="did you mean 'pyramidal'"):
        lesion_run(folder / "run", tmp_path / "no.csv", **(how | {"level": "pyramids"}))


def test_the_page_has_a_figure_of_every_measure(done):
    folder, _, _ = done
    page = write_report(folder / "run").read_text()
    figures = set(re.findall(r'<div class="canvas" id="([^"]+)"', page))
    # nothing changes in a window, so it has no value
    assert not {name for name in figures if "voltage_change" in name}
    for name in ("mean_rate", "weight_change_rms", "dispersion_g", "lesion"):
        assert {f"measure-{name}-ablation", f"measure-{name}-group"} & figures
        assert f"<summary>{name}" in page
    assert "What explains it" in page
    assert "Student&#39;s 95 % interval over 2 seeds" in page


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"select": ["mean_rat"]}, "did you mean 'mean_rate'"),
        ({"ablations": ["no_asq"]}, "did you mean 'no_asc'"),
        ({"ablations": ["no_stp"]}, "choose one of frozen: intact"),
        ({"protocols": ["finetun"]}, "did you mean 'finetune'"),
    ],
)
def test_what_there_is_not(done, tmp_path, how, message):
    folder, _, _ = done
    with pytest.raises(ConfigError, match=message):
        measure_run(folder / "run", tmp_path / "no.csv", **how)
    with pytest.raises(StorageError, match="no finished run to measure"):
        measure_run(tmp_path, tmp_path / "no.csv")
