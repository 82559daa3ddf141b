"""Commands that write ablated and trained networks, and the table of operating points."""

import json
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
from handmade import make_foreign

from v1builder.experiments.ablations import parse_ablation
from v1builder.load import load_network, save_network
from v1builder.load.carrying import background_ratio
from v1builder.load.psp import unit_psp
from v1builder.sonata import validate
from v1builder.train import load_experiment, prepare
from v1builder.train.checkpoint import load_checkpoint
from v1builder.train.run import make_classifier

EXPERIMENT = """
name = "a test"
seeds = [2, 1]
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
trainable = ["v1_to_v1.weight", "bkg_to_v1.weight", "g"]
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
[compare]
ablations = ["intact", "mean(population)"]
protocols = ["frozen"]
matching_trials = 4
matching_measurements = 3
calibration_seconds = 2.0
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A network of others, fast to run."""
    folder = tmp_path_factory.mktemp("foreign") / "network"
    save_network(make_foreign(), folder)
    return folder


@pytest.fixture
def experiment(net, tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text(EXPERIMENT.format(network=net))
    return path


def assert_valid(folder, like):
    """As valid as the hand-made network, whose synapses have no component files."""
    assert [one.what for one in validate(folder)] == [one.what for one in validate(like)]


def same(one, other, names=("C_m", "g", "V_th", "V_reset", "t_ref", "asc_amps", "asc_decay")):
    """Parameters and weights of two networks; edges may lie in another order."""
    for name in names:
        a, b = (n.membrane.per_cell(name) for n in (one, other))
        np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(one.bias_current, other.bias_current, rtol=1e-6, atol=1e-12)
    assert one.edges.keys() == other.edges.keys()
    for name, edges in one.edges.items():
        columns = []
        for e in (edges, other.edges[name]):
            order = np.lexsort((e.weight, e.receptor, e.source_index, e.target_index))
            columns.append(
                [getattr(e, k)[order] for k in ("source_index", "target_index", "weight")]
            )
        for a, b in zip(*columns, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)


def test_ablate_writes_the_carried_network_and_its_operating_point(v1builder, net, tmp_path):
    out = tmp_path / "mean"
    code, said, err = v1builder(
        "ablate", net, "mean(population)", "--out", out, "--background", "ratio", "--trials", 2
    )
    assert (code, err) == (0, "")
    assert "| mean(population) |" in said
    assert f"network: {out}" in said
    assert_valid(out, net)
    intact, ablated = load_network(net), load_network(out)
    assert len(ablated.membrane.labels) == 4
    same(ablated, parse_ablation("mean(population)")(intact))
    np.testing.assert_allclose(
        np.sort(unit_psp(ablated).of(ablated.edges["v1_to_v1"]) * ablated.edges["v1_to_v1"].weight),
        np.sort(unit_psp(intact).of(intact.edges["v1_to_v1"]) * intact.edges["v1_to_v1"].weight),
        rtol=1e-5,
    )
    np.testing.assert_allclose(background_ratio(ablated), background_ratio(intact), rtol=1e-5)
    table = (out / "operating_point.md").read_text()
    assert "| intact |" in table
    assert "| mean(population) |" in table
    made_by = json.loads((out / "provenance.json").read_text())
    assert [one["name"] for one in made_by["ablations"]] == ["mean(population)"]


def test_ablate_tunes_the_background_unless_asked_otherwise(v1builder, net, tmp_path):
    for background in ("calibrated", "ratio"):
        arguments = ["ablate", net, "mean(population) | no_asc", "--trials", 2]
        code, _, err = v1builder(
            *arguments, "--out", tmp_path / background, "--background", background
        )
        assert (code, err) == (0, "")
    tuned, ratio = (load_network(tmp_path / name) for name in ("calibrated", "ratio"))
    for network in (tuned, ratio):
        assert not network.membrane.values["asc_amps"].any()
    assert np.abs(background_ratio(tuned) / background_ratio(ratio) - 1).max() > 0.05
    record = json.loads((tmp_path / "calibrated" / "provenance.json").read_text())
    assert record["background_calibration"]["tuned_models"] == 4
    assert [one["name"] for one in record["ablations"]] == ["mean(population)", "no_asc"]


def test_operating_point_writes_a_table_and_its_numbers(v1builder, net, tmp_path):
    out = tmp_path / "deep" / "table.md"
    code, said, err = v1builder(
        "operating-point", net, net, "--out", out, "--ablation", "shuffle_within",
        "--ablation", "dose(0.5, population)", "--trials", 2, "--background", "ratio",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert f"table: {out}" in said
    rows = json.loads(out.with_suffix(".json").read_text())
    assert [row["ablation"] for row in rows] == [
        "intact", "shuffle_within", "dose(0.5, population)"
    ]  # fmt: skip
    assert all(len(row["points"]) == 2 for row in rows)
    text = out.read_text()
    assert text.startswith("# Operating points of 2 networks")
    for row in rows:
        assert f"| {row['ablation']} |" in text
        rate = np.mean([point["evoked_Hz"] for point in row["points"]])
        assert f" / {rate:.2f} |" in text


def test_export_of_a_training_is_the_trained_network(v1builder, experiment, net, tmp_path):
    run, out = tmp_path / "run", tmp_path / "trained"
    assert v1builder("train", experiment, "--out", run)[0] == 0
    code, said, err = v1builder("export", run, "--out", out)
    assert (code, err) == (0, "")
    assert f"network: {out}" in said
    assert_valid(out, net)
    settings = load_experiment(experiment)
    subject = prepare(settings, 2)  # the first seed
    classifier = make_classifier(settings, subject, subject.network)
    classifier.load_state_dict(load_checkpoint(run, {})["classifier"])
    exported = load_network(out)
    same(exported, classifier.network.export(subject.network))
    assert not np.allclose(exported.membrane.per_cell("g"), subject.network.membrane.per_cell("g"))
    for arguments, message in (
        (["--ablation", "no_asc"], "a run of train has no conditions"),
        (["--seed", "7"], "the run has one seed"),
    ):
        code, _, err = v1builder("export", run, "--out", tmp_path / "no", *arguments)
        assert (code, err.count("error:")) == (1, 1)
        assert message in err
        assert not (tmp_path / "no").exists()
    code, _, err = v1builder("export", run, "--out", out)
    assert code == 1
    assert "--overwrite" in err


def test_export_of_a_condition_is_what_was_tested(v1builder, experiment, net, tmp_path):
    run = tmp_path / "run"
    assert v1builder("compare", experiment, "--out", run)[0] == 0
    out = tmp_path / "frozen"
    arguments = ["--protocol", "frozen", "--ablation", "mean( population )", "--seed", 1]
    code, _, err = v1builder("export", run, "--out", out, *arguments)
    assert (code, err) == (0, "")
    assert_valid(out, net)
    ablated = load_network(out)
    assert len(ablated.membrane.labels) == 4
    cells = json.loads((run / "comparison.json").read_text())["cells"]
    (cell,) = [c for c in cells if (c["ablation"], c["seed"]) == ("mean(population)", 1)]
    bias = {p["population"]: p["bias_pA"] for p in cell["matching"]["populations"]}
    names = ablated.cells.attributes["pop_name"]
    np.testing.assert_allclose(ablated.bias_current, [bias[n] for n in names], rtol=1e-9)
    # The frozen intact network is the trained one.
    for protocol in ("frozen", "retrain"):
        assert v1builder("export", run, "--out", tmp_path / protocol, "--overwrite",
                         "--protocol", protocol)[0] == 0  # fmt: skip
    same(load_network(tmp_path / "frozen"), load_network(tmp_path / "retrain"))
    for more, message in (
        (["--ablation", "no_asc"], "choose one of frozen: intact, frozen: mean(population)"),
        (["--seed", "9"], "seeds 2, 1"),
        (["--protocol", "forzen"], "did you mean 'frozen'"),
        (["--ablation", "mean(populatoin)"], "did you mean 'population'"),
    ):
        code, _, err = v1builder("export", run, "--out", tmp_path / "no", *more)
        assert (code, err.count("error:")) == (1, 1), more
        assert message in err
        assert not (tmp_path / "no").exists()


def test_an_unfinished_run_cannot_be_exported(v1builder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    code, _, err = v1builder("export", tmp_path / "run", "--out", tmp_path / "no")
    assert (code, err.count("error:")) == (1, 1)
    assert "no finished run to export" in err
    assert not (tmp_path / "no").exists()
    (tmp_path / "run" / "comparison.json").write_text("{")
    code, _, err = v1builder("export", tmp_path / "run", "--out", tmp_path / "no")
    assert (code, err.count("error:")) == (1, 1)
    assert "damaged" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["mean(population)", "--carry", "spp"], "did you mean 'psp'"),
        (["mean(population)", "--background", "calibratd"], "did you mean 'calibrated'"),
        (["maen(population)"], "did you mean 'mean'"),
        (["mean(populaton)"], "did you mean 'population'"),
        (["mean"], "write mean(level)"),
        (["only(treshold, population)"], "did you mean 'threshold'"),
        (["dose(2.5, population)"], "choose alpha from 0 to 2"),
        (["dose(-1, population)"], "choose alpha from 0 to 2"),
        (["dose(nan, population)"], "choose alpha from 0 to 2"),
        (["dose(half, population)"], "alpha must be a number"),
        (["no_stp"], "no short-term plasticity"),
        (["shuffle_within", "--seed", "-1"], "seed"),
        (["shuffle_within |"], "cannot read the ablation"),
    ],
)
def test_a_bad_ablation_is_one_message_and_leaves_nothing(
    v1builder, net, tmp_path, arguments, expected
):
    code, _, err = v1builder("ablate", net, *arguments, "--out", tmp_path / "no", "--trials", 2)
    assert code == 1
    assert err.count("error:") == 1
    assert expected in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_asked_for_before_the_work(v1builder, net, tmp_path):
    out = tmp_path / "net"
    out.mkdir()
    (out / "precious").write_text("data")
    code, _, err = v1builder("ablate", net, "no_asc", "--out", out)
    assert (code, err.count("error:")) == (1, 1)
    assert "--overwrite" in err
    assert (out / "precious").read_text() == "data"
    code, _, err = v1builder("ablate", net, "no_asc", "--out", out, "--overwrite", "--trials", 2)
    assert (code, err) == (0, "")
    assert not (out / "precious").exists()
    assert_valid(out, net)


def test_a_network_that_is_none(v1builder, tmp_path):
    for arguments in (
        ["ablate", "nowhere", "no_asc", "--out", tmp_path / "no"],
        ["operating-point", "nowhere", "--out", tmp_path / "no.md"],
        ["export", "nowhere", "--out", tmp_path / "no"],
    ):
        code, _, err = v1builder(*arguments)
        assert (code, err.count("error:")) == (1, 1)
        assert "nowhere" in err
    assert list(tmp_path.iterdir()) == []


def test_the_version(v1builder):
    assert v1builder("--version")[:2] == (0, version("v1builder"))


def test_the_package_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "v1builder", "--version"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, version("v1builder"))
    wrong = subprocess.run(
        [sys.executable, "-m", "v1builder", "validate", "nowhere"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert wrong.returncode == 1
    assert "error:" in wrong.stderr
    assert "Traceback" not in wrong.stderr
