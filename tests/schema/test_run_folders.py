"""Folders of runs: one process at a time, and no run over another."""

import subprocess
import sys

import pytest

from v1builder.schema.errors import StorageError
from v1builder.schema.run_folders import run_folder

HOLDS = ("checkpoint.pt", "metrics.jsonl")


def test_one_process_at_a_time(tmp_path):
    with run_folder(tmp_path / "run", holds=HOLDS) as run:
        (run / "metrics.jsonl").touch()
        second = run_folder(tmp_path / "run", holds=HOLDS)
        with pytest.raises(StorageError, match="another process"), second:
            pass
    assert [path.name for path in run.iterdir()] == ["metrics.jsonl"]
    with run_folder(tmp_path / "run", holds=HOLDS):
        pass


def test_the_lock_and_the_temporaries_of_a_killed_process_are_no_hindrance(tmp_path):
    code = """
import os, sys
from v1builder.schema.files import atomic_file
from v1builder.schema.run_folders import run_folder
with run_folder(sys.argv[1], holds=("checkpoint.pt",)) as run:
    with atomic_file(run / "cells" / "result.json") as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), 9)
"""
    run = tmp_path / "run"
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", code, run], check=False).returncode == -9
        assert len(list(run.rglob("*.tmp-*"))) == 1
        for left in (run / "cells").rglob("*"):
            assert left.name.startswith(".result.json.tmp-")
        (run / "checkpoint.pt").touch()
    with run_folder(run, holds=HOLDS):
        assert list(run.rglob("*.tmp-*")) == []


def test_a_run_is_not_written_over_another_or_into_something_else(tmp_path):
    (tmp_path / "checkpoint.pt").touch()
    with (
        pytest.raises(StorageError, match="--resume"),
        run_folder(tmp_path, holds=HOLDS, goes_on=False),
    ):
        pass
    with run_folder(tmp_path, holds=HOLDS, goes_on=True):
        pass
    (tmp_path / "checkpoint.pt").rename(tmp_path / "thesis.tex")
    other = run_folder(tmp_path, holds=HOLDS, goes_on=True)
    with pytest.raises(StorageError, match=r"something else(.|\n)*thesis\.tex"), other:
        pass
    with (
        pytest.raises(StorageError, match="a file"),
        run_folder(tmp_path / "thesis.tex", holds=HOLDS),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_in_which_nothing_was_made_is_removed(tmp_path):
    with pytest.raises(ValueError, match="bad"), run_folder(tmp_path / "a" / "run", holds=HOLDS):
        raise ValueError("bad")
    assert list((tmp_path / "a").iterdir()) == []
