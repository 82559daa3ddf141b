"""`v1builder explain` and `v1builder lesion`: what they print, and what they refuse."""

import json

import numpy as np
import pytest

from v1builder.experiments.measured import measured_rows, write_measured


@pytest.fixture
def run(tmp_path):
    """A finished comparison of five conditions in which the rate is what makes the score."""
    rng = np.random.default_rng(0)
    cells = []
    for ablation, change in zip(("intact", "a", "b", "c", "d"), (0, 1, 2, -1, -2), strict=True):
        for seed in (1, 2, 3):
            rate = 5 + change + rng.normal(0, 0.1)
            row = {"measure": "mean_rate", "unit": "Hz", "window": "evoked", "level": "network",
                   "group": "network", "value": rate, "n": 9, "reason": ""}  # fmt: skip
            cells.append({"protocol": "retrain", "ablation": ablation, "seed": seed,
                          "accuracy": 0.5 + 0.05 * rate, "measures": [row]})  # fmt: skip
    write_measured(measured_rows(cells), tmp_path)
    comparison = {
        "cells": cells,
        "family": {"primary": {"outcome": "accuracy", "label": "accuracy"}},
        "experiment": {"compare": {"margin": 0.015}},
    }
    (tmp_path / "comparison.json").write_text(json.dumps(comparison))
    return tmp_path


def test_explain_prints_the_table_and_writes_it(v1builder, run):
    code, said, err = v1builder("explain", run, "--select", "mean_rate")
    assert (code, err) == (0, "")
    assert "| mean_rate (explored) | retrain | 0.05 (0.05 to 0.05) |" in said
    assert "no intervention moved it so far that accuracy would be seen to follow" in said
    (found,) = json.loads((run / "explanation.json").read_text())
    assert found["slope"]["mean"] == pytest.approx(0.05)
    assert found["out_of_sample"]["r2"] is None
    assert found["out_of_sample"]["note"] == "4 conditions with both values, fewer than 6"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "--select", "mean_rat"], "did you mean 'mean_rate'"),
        (["explain", "--select", "mean_rate@late"], "unknown phase 'late'"),
        (["explain"], "no metric is named"),
    ],
)
def test_what_explain_refuses(v1builder, run, arguments, message):
    code, _, err = v1builder(arguments[0], run, *arguments[1:])
    assert (code, err.count("error:")) == (1, 1)
    assert message in err


def test_what_is_no_run_is_neither_explained_nor_lesioned(v1builder, tmp_path):
    for arguments in (["explain", tmp_path], ["lesion", tmp_path, "--out", tmp_path / "a.csv"]):
        code, _, err = v1builder(*arguments)
        assert (code, err.count("error:")) == (1, 1)
        assert "no finished" in err
