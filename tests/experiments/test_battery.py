"""Several tasks beside their baselines."""

import pytest
import torch
from typer.testing import CliRunner

from v1builder.cli import app
from v1builder.experiments.baselines import COLUMN, LGN, baselines
from v1builder.experiments.battery import run_battery
from v1builder.load import load_network
from v1builder.schema.errors import ConfigError
from v1builder.schema.records import read_record
from v1builder.train import load_experiment, prepare, subjects

EXPERIMENT = """
name = "one"
seeds = [1]
network.path = "{network}"
[task]
name = "{task}"
warm_up_ms = 0.0
[readout]
pool_size = 2
radius_um = "all"
populations = ["e*"]
[train]
steps = 1
batch_size = 4
validation_trials = 4
test_trials = 8
rate_weight = 0.0
"""
SHORT = """gray_before_ms = 20.0
on_ms = 60.0
gray_after_ms = 60.0
response_ms = [60, 140]
"""


@pytest.fixture
def files(tmp_path, small_column):
    tables = {
        "orientation": ("grating_tuning", SHORT + "n_directions = 2\ntemporal_frequency = 0\n"),
        "change": ("grating_change_detection", SHORT + "n_flashes = 2\n"),
    }
    paths = []
    for name, (task, more) in tables.items():
        text = EXPERIMENT.format(network=small_column, task=task)
        path = tmp_path / f"{name}.toml"
        path.write_text(text.replace("warm_up_ms = 0.0\n", f"warm_up_ms = 0.0\n{more}"))
        paths.append(path)
    return paths


def test_the_lgn_tells_orthogonal_gratings_apart_and_no_noise(files):
    """Two gratings at right angles, in the LGN: easy. With labels that are not theirs: chance."""
    experiment = load_experiment(files[0])
    subject = prepare(experiment, 1)
    found = baselines(experiment, subject, train_trials=96, test_trials=96)
    assert found["chance"] == 0.5
    assert found[LGN]["accuracy"] > 0.9
    assert 0.3 < found[COLUMN]["accuracy"] <= 1
    assert found[COLUMN]["n_features"] == len(experiment.readout.candidates(subject.network))
    seen = next(source for source in subject.task.sources.values() if source.sees)
    assert found[LGN]["n_features"] == seen.n_units
    again = baselines(experiment, subject, train_trials=96, test_trials=96)
    assert again == found
    draw = subject.task.draw

    def shuffled(n_trials, split, generator):
        trials = draw(n_trials, split, generator)
        order = torch.randperm(n_trials, generator=generator)
        return type(trials)(split, trials.condition, trials.target[order], trials.movies)

    subject.task.draw = shuffled
    by_chance = baselines(experiment, subject, train_trials=96, test_trials=96)
    assert abs(by_chance[LGN]["accuracy"] - 0.5) < 4 * 0.5 / 96**0.5


def test_a_battery_is_a_table_and_goes_on(files, tmp_path):
    out = tmp_path / "out"
    arguments = ["battery", *map(str, files), "--out", str(out), "--baseline-trials", "16"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    table = (out / "tasks.md").read_text()
    assert "| orientation |" in table
    assert "| change |" in table
    assert table in result.output
    record = read_record(out / "change" / "seed-1" / "battery.json", fix="")
    assert record["trained"]["d_prime_by_kind"]
    assert record["baselines"]["chance"] == 0.5
    assert record["seconds"] > 0
    checkpoint = out / "change" / "seed-1" / "checkpoint.pt"
    written = checkpoint.stat().st_mtime_ns
    rows = run_battery(files, out, baseline_trials=16)
    assert [row.experiment for row in rows] == ["orientation", "change"]
    assert rows[1].records == (record,)
    assert checkpoint.stat().st_mtime_ns == written
    files[1].write_text(files[1].read_text().replace("test_trials = 8", "test_trials = 4"))
    with pytest.raises(ConfigError, match="made by other settings"):
        run_battery(files, out, baseline_trials=16)


def test_a_network_is_read_once(files, tmp_path, monkeypatch):
    read = []

    def counted(path):
        read.append(path)
        return load_network(path)

    monkeypatch.setattr(subjects, "load_network", counted)
    run_battery(files, tmp_path / "out", baseline_trials=16)
    assert len(read) == 1  # two tasks in one network


def test_files_need_names_of_their_own(files):
    for paths in ([], [files[0], files[0]]):
        with pytest.raises(ConfigError, match="names of their own"):
            run_battery(paths, "nowhere")
