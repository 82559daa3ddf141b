"""Checksums of a network folder: every flipped bit of a file is found, and sha256sum agrees."""

import shutil
import subprocess

import numpy as np
import pytest

from v1builder.schema.checksums import CHECKSUMS, changed_files, write_checksums


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "edges.h5").write_bytes(np.arange(500.0).tobytes())
    (tmp_path / "provenance.json").write_text("{}")
    write_checksums(tmp_path)
    return tmp_path


@pytest.mark.parametrize("bit", [0, 12_345, 31_999])
def test_a_flipped_bit_is_named(folder, bit):
    assert changed_files(folder) == []
    path = folder / "network" / "edges.h5"
    damaged = bytearray(path.read_bytes())
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    (problem,) = changed_files(folder)
    assert problem.where == str(path)
    write_checksums(folder)
    assert changed_files(folder) == []


def test_a_damaged_list_is_said(folder):
    list_ = folder / CHECKSUMS
    list_.write_text(list_.read_text().replace("  ", " ", 1))
    (problem,) = changed_files(folder)
    assert f"{CHECKSUMS}, line 1" in problem.where


def test_what_was_added_or_has_no_list_is_no_concern(folder):
    (folder / "calibration.png").write_bytes(b"x")
    (folder / "provenance.json").unlink()
    assert changed_files(folder) == []
    (folder / CHECKSUMS).unlink()
    assert changed_files(folder) == []


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_the_standard_tool_agrees(folder):
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", CHECKSUMS], cwd=folder, capture_output=True, check=True
    )
    assert done.stdout.decode().splitlines() == ["network/edges.h5: OK", "provenance.json: OK"]
