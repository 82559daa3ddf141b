"""A whole comparison on the smallest real column: paired, resumable, and honest about matching."""

import json

import pytest

from v1builder.experiments import compare
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


@pytest.fixture
def experiment(tmp_path, small_column):
    def make(ablations=("intact", "no_asc"), matching="rate"):
        path = tmp_path / "experiment.toml"
        text = EXPERIMENT.format(
            network=small_column, ablations=json.dumps(list(ablations)), matching=matching
        )
        path.write_text(text)
        return load_experiment(path)

    return make


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
        assert (
            intact["learning_curve"]
            == cells["retrain", "dose(1, population)", seed]["learning_curve"]
        )
    differing = cells["retrain", "intact", 1], cells["retrain", "intact", 2]
    assert differing[0]["spikes_per_trial"] != differing[1]["spikes_per_trial"]


def test_a_comparison_is_complete_and_can_be_reported(experiment, tmp_path):
    run = tmp_path / "run"
    comparison = compare(experiment(), run)
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
    assert "no_asc" in write_report(run).read_text()


def test_finished_cells_are_not_run_again_changed_ones_are(experiment, tmp_path):
    run = tmp_path / "run"
    first = compare(experiment(), run)
    results = sorted(run.glob("cells/**/result.json"))
    stamps = [path.stat().st_mtime_ns for path in results]
    kept = results[0].parent.parent / "seed-2" / "result.json"
    kept.unlink()
    again = compare(experiment(), run)
    assert again == first
    changed = [p for p, s in zip(results, stamps, strict=True) if p.stat().st_mtime_ns != s]
    assert changed == [kept]
    longer = experiment()
    longer = longer.model_copy(
        update={"compare": longer.compare.model_copy(update={"matching_measurements": 4})}
    )
    measured = by_cell(compare(longer, run))["retrain", "no_asc", 1]["matching"]["n_measurements"]
    assert measured == 4
    raw = compare(experiment(matching="raw"), run)
    assert by_cell(raw)["retrain", "no_asc", 1]["matching"] is None


def test_an_interrupted_comparison_goes_on_and_ends_the_same(experiment, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(stage, done, _total):
        if stage.startswith("seed 2 retrain: intact") and done == 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        compare(experiment(), tmp_path / "parts", progress=stop)
    assert not (tmp_path / "parts" / "comparison.json").exists()
    assert compare(experiment(), tmp_path / "parts") == compare(experiment(), tmp_path / "whole")


def test_an_unknown_ablation_is_found_before_anything_is_trained(experiment, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'no_asc'"):
        compare(experiment(["intact", "no_acs"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
