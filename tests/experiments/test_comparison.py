"""A whole comparison on the smallest real column: paired, resumable, and honest about matching."""

import json
import shutil

import pandas as pd
import pytest

from v1builder.experiments import compare
from v1builder.experiments.operating_table import measure
from v1builder.report import write_report
from v1builder.schema.errors import ConfigError
from v1builder.train import load_experiment

EXPERIMENT = """
name = "a test"
seeds = [1, 2]
[network]
path = "{network}"
[task]
name = "orientation_discrimination"
max_delta = 40.0
n_deltas = 2
gray_before_ms = 10.0
on_ms = 60.0
gray_after_ms = 10.0
response_ms = [40.0, 80.0]
[readout]
pool_size = 10
[train]
steps = 2
batch_size = 4
validate_every = 1
validation_trials = 4
test_trials = 8
[compare]
ablations = {ablations}
matching = "{matching}"
matching_trials = 2
matching_measurements = 3
calibration_seconds = 2.0
"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory, small_column):
    path = tmp_path_factory.mktemp("comparison") / "experiment.toml"

    def make(ablations=("intact", "no_asc"), matching="rate", **compare):
        text = EXPERIMENT.format(
            network=small_column, ablations=json.dumps(list(ablations)), matching=matching
        )
        path.write_text(text + "".join(f"{k} = {json.dumps(v)}\n" for k, v in compare.items()))
        return load_experiment(path)

    return make


@pytest.fixture(scope="module")
def finished(experiment, tmp_path_factory):
    """A finished comparison and its folder, which is to be copied before it is changed."""
    run = tmp_path_factory.mktemp("finished") / "run"
    return compare(experiment(), run), run


def by_cell(comparison):
    return {(c["protocol"], c["ablation"], c["seed"]): c for c in comparison["cells"]}


def test_an_ablation_that_changes_nothing_changes_nothing(experiment, tmp_path):
    """The sharpest test of pairing: equal trials, noise, pools and weights give equal results."""
    settings = experiment(["intact", "dose(1, population)"], matching="raw")
    cells = by_cell(compare(settings, tmp_path / "run"))
    for seed in (1, 2):
        intact = cells["retrain", "intact", seed]
        for protocol in ("retrain", "frozen"):
            same = cells[protocol, "dose(1, population)", seed]
            for score in ("accuracy", "n_correct", "spikes_per_trial"):
                assert same[score] == pytest.approx(intact[score], abs=1e-12)
            assert set(same["calibration"]["median_factor"].values()) == {1.0}
            assert set(same["operating_point"]["before"]["rate_ratio"].values()) <= {1.0, None}
            assert same["valid"]
        assert (
            intact["learning_curve"]
            == cells["retrain", "dose(1, population)", seed]["learning_curve"]
        )
    differing = cells["retrain", "intact", 1], cells["retrain", "intact", 2]
    assert differing[0]["spikes_per_trial"] != differing[1]["spikes_per_trial"]


def test_a_comparison_is_complete_and_can_be_reported(experiment, finished):
    comparison, run = finished
    assert set(by_cell(comparison)) == {
        (protocol, ablation, seed)
        for protocol in ("retrain", "frozen")
        for ablation in ("intact", "no_asc")
        for seed in (1, 2)
    }
    matched = by_cell(comparison)["retrain", "no_asc", 1]["matching"]
    assert len(matched["populations"]) == 22
    assert sum(p["matched"] for p in matched["populations"]) == matched["n_matched"]
    assert matched["n_measurements"] <= 3
    assert by_cell(comparison)["retrain", "intact", 1]["matching"] is None
    assert len(comparison["rates"]) == 22
    assert comparison["provenance"]["networks"].keys() == {1, 2}
    rows = pd.read_csv(run / "measures.csv")
    assert set(rows["seed"]) == {1, 2}
    assert set(rows["measure"]) == set(experiment().measure.names)
    silent = rows[(rows["measure"] == "silent_share") & (rows["group"] == "network")]
    assert len(silent) == 2 * 2 * 2 * 2  # protocols, ablations, seeds, windows
    assert silent["value"].between(0, 1).all()
    compared = [r for r in comparison["measures"] if r["ablation"] == "no_asc"]
    assert all(r["difference_n"] == 2 for r in compared if r["measure"] == "mean_rate")
    page = write_report(run).read_text()
    assert "no_asc" in page
    assert "<td>silent_share</td>" in page


def test_finished_cells_are_not_run_again_changed_ones_are(experiment, finished, tmp_path):
    first, run = finished[0], tmp_path / "run"
    shutil.copytree(finished[1], run)
    results = sorted(run.glob("cells/**/result.json"))
    stamps = [path.stat().st_mtime_ns for path in results]
    kept = results[0].parent.parent / "seed-2" / "result.json"
    kept.unlink()
    again = compare(experiment(), run)
    assert again == first
    changed = [p for p, s in zip(results, stamps, strict=True) if p.stat().st_mtime_ns != s]
    assert changed == [kept]
    raw = compare(experiment(matching="raw"), run)
    assert by_cell(first)["retrain", "no_asc", 1]["matching"] is not None
    assert by_cell(raw)["retrain", "no_asc", 1]["matching"] is None


def test_an_interrupted_comparison_goes_on_and_ends_the_same(experiment, finished, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(stage, done, _total):
        if stage.startswith("seed 2 retrain: intact") and done == 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        compare(experiment(), tmp_path / "parts", progress=stop)
    assert not (tmp_path / "parts" / "comparison.json").exists()
    assert compare(experiment(), tmp_path / "parts") == finished[0]


def test_nothing_is_concluded_from_cells_under_weights_of_other_cells(experiment, tmp_path):
    """shuffle_within with weights left in pA: the same cells in other places, and another network."""
    settings = experiment(["intact", "shuffle_within"], "raw", carry="none", protocols=["frozen"])
    compare(settings, tmp_path / "run")
    comparison = json.loads((tmp_path / "run" / "comparison.json").read_text())
    cells = by_cell(comparison)
    for seed in (1, 2):
        shuffled = cells["frozen", "shuffle_within", seed]
        assert shuffled["valid"] is False
        assert any("e23Cux2" in reason for reason in shuffled["invalid_because"])
        assert any("are silent" in reason for reason in shuffled["invalid_because"])
        assert "calibration" not in shuffled
        assert cells["frozen", "intact", seed]["valid"] is True
    (row,) = comparison["invalid"]
    assert (row["protocol"], row["ablation"]) == ("frozen", "shuffle_within")
    assert row["seeds"] == [1, 2]
    assert row["because"] == cells["frozen", "shuffle_within", 1]["invalid_because"]
    (verdict,) = comparison["verdicts"]
    assert verdict["verdict"] == "invalid"
    assert "nothing is concluded" in verdict["text"]
    assert "shuffle_within (frozen)" in comparison["sentence"]
    assert "operating point" in comparison["sentence"]
    assert any('carry = "none"' in note for note in comparison["notes"])


@pytest.mark.slow
def test_the_negative_control_is_valid_when_weights_are_carried(small_column):
    """shuffle_within as experiments do it by default: three seeds, 32 trials of each condition."""
    carried, raw = (
        measure([small_column] * 3, ["shuffle_within"], n_trials=32, carry=carry)[1]
        for carry in ("psp", "none")
    )
    assert carried.valid, carried.reasons
    assert not raw.valid
    assert abs(carried.mean("silent_share")) < 0.01
    assert raw.mean("silent_share") > 0.15


def test_an_unknown_ablation_is_found_before_anything_is_trained(experiment, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'no_asc'"):
        compare(experiment(["intact", "no_acs"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
