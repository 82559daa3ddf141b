"""What the parts of a run on a device leave becomes one record and one page, also where a part was cut."""

import json
from pathlib import Path

import pytest


def left(folder, name, code, seconds, printed):
    (folder / f"{name}.status").write_text(f"{code} {seconds}\n")
    (folder / f"{name}.txt").write_text(printed)


@pytest.fixture
def gpu_page(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return pytest.importorskip("gpu_page")


def test_a_part_that_was_cut_says_so_and_takes_nothing_from_the_others(gpu_page, tmp_path):
    left(tmp_path, "tests", 0, 90, "....\n13 passed\n")
    left(tmp_path, "rollouts", 0, 80, "wrote\n")
    left(tmp_path, "columns", 124, 240, "")
    rollout = {"cells": 1000, "batch": 8, "mode": "forward", "steps": 500, "median_s": 0.025}
    failed = {"cells": 66000, "batch": 8, "mode": "forward", "error": "out of memory"}
    rollouts = {"machine": {"device": "a GPU"}, "results": [rollout, failed]}
    (tmp_path / "rollouts.json").write_text(json.dumps(rollouts))
    step = {"task": "images", "batch": 4, "share_of_inputs": 0.25, "peak_gpu_mb": 2048}
    step["seconds"] = {"forward": [0.1, 0.3, 0.2]}
    (tmp_path / "step-100.json").write_text(json.dumps(step))

    record = gpu_page.read(tmp_path)
    assert record["parts"]["columns"] == {"code": 124, "seconds": 240, "last": []}
    page = gpu_page.page(record)
    assert page.startswith("# a GPU\n")
    assert "| tests | 0 | 90 | 13 passed |" in page
    assert "| 1000 | 8 | forward | 50.0 |" in page  # us per step
    assert "| 66000 | 8 | forward | out of memory |" in page
    assert "R = 100 um, images, 4 trials" in page
    assert "| forward | 0.200 |" in page  # the median
    assert "| peak GiB | 2.00 |" in page
