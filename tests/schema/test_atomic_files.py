import errno
import json
import os
import subprocess
import sys

import pytest

from v1builder.schema.errors import StorageError
from v1builder.schema.files import atomic_file, atomic_folder, hash_folder, write_json, write_text


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_file_leaves_the_old_one(tmp_path, error):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(error), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("context", [atomic_file, atomic_folder])
def test_no_space_is_one_clear_error_and_leaves_nothing(tmp_path, context):
    path = tmp_path / "out"
    with pytest.raises(StorageError, match="free some disk space"), context(path) as temporary:
        if context is atomic_folder:
            (temporary / "part").write_text("half")
        else:
            temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_is_kept(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("data")
    with pytest.raises(StorageError, match="already exists"), atomic_folder(out):
        pass
    with pytest.raises(ValueError, match="broken"), atomic_folder(out, overwrite=True) as temporary:
        (temporary / "new").write_text("x")
        raise ValueError("broken")
    assert hash_folder(out).keys() == {"precious"}
    with atomic_folder(out, overwrite=True) as temporary:
        (temporary / "new").write_text("x")
    assert hash_folder(out).keys() == {"new"}
    assert list(tmp_path.iterdir()) == [out]


def test_json_refuses_what_json_has_not(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []
    write_json(tmp_path / "x.json", {"b": 1, "a": [1.5]})
    assert list(json.loads((tmp_path / "x.json").read_text())) == ["b", "a"]


def test_a_build_that_runs_out_of_room_says_so_and_leaves_nothing(tmp_path):
    """A limit on file size stands for a full disk: HDF5 meets it in the middle of the edges."""
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
sys.argv = ["v1builder", "build", "--radius", "30", "--out", "net"]
from v1builder.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.count("error:") == 1
    assert "cannot write the output" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
