"""A damaged file of a comparison: it is named, and without it the condition is run again."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.seed_run import SeedRun, read_result, read_validation
from v1builder.report.page import write_report
from v1builder.schema.errors import NetworkError, StorageError
from v1builder.schema.records import write_record
from v1builder.train.settings import Experiment

INTACT = parse_ablation("intact")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose conditions are made at once; `made` counts them."""
    module = "v1builder.experiments.seed_run"
    monkeypatch.setattr(f"{module}.Bench", lambda *_, **__: None)
    monkeypatch.setattr(f"{module}.group_cells", lambda *_: None)
    experiment = Experiment(
        name="x", network={"path": "n"}, task={"name": "orientation_discrimination"}
    )
    subject = SimpleNamespace(
        seed=1, task=None, network=SimpleNamespace(cells=None), hashes={"a": "b"}
    )
    run = SeedRun(experiment, subject, tmp_path, lambda *_: None)
    run.made = 0

    def make(_condition, _factor):
        run.made += 1
        return {"accuracy": 0.75, "operating_point": {}}

    monkeypatch.setattr(run, "_make", make)
    return run


def flipped(text):
    """With another digit."""
    return (
        text.replace("0.75", "0.85") if "0.75" in text else text.replace('"dt": 1.0', '"dt": 1.5')
    )


@pytest.mark.parametrize("name", ["result.json", "made_by.json"])
@pytest.mark.parametrize("damage", ["", "{", "[]", "null", "[" * 50_000, "\0", "{}", flipped])
def test_a_damaged_file_is_named_and_made_again_once_it_is_removed(run, tmp_path, name, damage):
    first = run.result("retrain", INTACT)
    assert run.result("retrain", INTACT) == first
    assert run.made == 1
    (path,) = tmp_path.rglob(name)
    text = path.read_text()
    path.write_text(damage(text) if callable(damage) else damage)
    assert path.read_text() != text
    if (name, damage) == ("made_by.json", "{}"):  # that is of other settings
        assert run.result("retrain", INTACT) == first
        return
    with pytest.raises(StorageError, match="remove it") as error:
        run.result("retrain", INTACT)
    assert error.value.problems[0].where == str(path)
    path.unlink()
    assert run.result("retrain", INTACT) == first
    assert run.made == 2


def test_what_is_no_file_is_not_waited_for(run, tmp_path):
    run.result("retrain", INTACT)
    (path,) = tmp_path.rglob("result.json")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StorageError, match="not a file"):
        run.result("retrain", INTACT)


@pytest.mark.parametrize("score", [None, "0.5", [0.5]])
def test_a_score_that_is_none_is_damage(tmp_path, score):
    write_record(tmp_path / "validation.json", {"score": score})
    with pytest.raises(StorageError, match=r"validation\.json"):
        read_validation(tmp_path, 1.0)
    with pytest.raises(StorageError, match=r"result\.json"):
        read_result(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": []}', "{"])
def test_a_damaged_comparison_is_not_reported(tmp_path, text):
    (tmp_path / "comparison.json").write_text(text)
    with pytest.raises(NetworkError, match=r"comparison\.json"):
        write_report(tmp_path)


def test_a_comparison_with_another_number_is_not_reported(tmp_path):
    keys = ("cells", "summary", "differences", "experiment", "sources", "provenance")
    write_record(tmp_path / "comparison.json", {**dict.fromkeys(keys), "n": 0.75})
    path = tmp_path / "comparison.json"
    path.write_text(path.read_text().replace("0.75", "0.95"))
    with pytest.raises(NetworkError, match="not as it was written"):
        write_report(tmp_path)


def test_a_damaged_example_is_named(tmp_path):
    from v1builder.report.trial import read_trial

    assert read_trial(tmp_path) is None
    np.savez(tmp_path / "example_trial.npz", x=np.zeros(3))
    with pytest.raises(NetworkError, match=r"example_trial\.npz"):
        read_trial(tmp_path)
    (tmp_path / "example_trial.npz").write_bytes(json.dumps({}).encode())
    with pytest.raises(NetworkError, match=r"example_trial\.npz"):
        read_trial(tmp_path)
