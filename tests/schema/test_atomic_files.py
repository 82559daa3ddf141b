import errno
import json
import os
import subprocess
import sys

import pytest

from v1builder.schema import files
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


def run_python(code, *arguments):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], text=True)


def killed(code, *arguments):
    process = run_python(code, *arguments)
    assert process.wait(60) == -9
    return process


_HALF_A_FOLDER = """
import os, sys
from v1builder.schema.files import atomic_folder
with atomic_folder(sys.argv[1], overwrite=True) as folder:
    (folder / "half").write_text("x")
    os.kill(os.getpid(), 9)
"""
_HALF_A_FILE = """
import os, sys
from v1builder.schema.files import atomic_file
with atomic_file(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_goes_with_the_next_one(tmp_path):
    write_text(tmp_path / "net" / "old", "whole")
    write_text(tmp_path / "file.txt", "whole")
    killed(_HALF_A_FOLDER, tmp_path / "net")
    killed(_HALF_A_FILE, tmp_path / "file.txt")
    assert (tmp_path / "net" / "old").read_text() == "whole"
    assert (tmp_path / "file.txt").read_text() == "whole"
    assert len(list(tmp_path.glob(".*.tmp-*"))) == 2
    with atomic_folder(tmp_path / "net", overwrite=True) as folder:
        (folder / "new").write_text("x")
    write_text(tmp_path / "file.txt", "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.txt", "net"]


def test_a_file_that_another_process_is_writing_is_left_alone(tmp_path):
    with atomic_file(tmp_path / "x") as first:
        first.write_text("first")
        write_text(tmp_path / "x", "second")
        assert first.exists()
    assert (tmp_path / "x").read_text() == "first"


def test_two_writers_of_one_folder_the_second_is_refused_and_the_first_is_kept(tmp_path):
    out = tmp_path / "net"
    with atomic_folder(out) as folder:
        (folder / "first").write_text("x")
        for overwrite in (False, True):
            second = atomic_folder(out, overwrite=overwrite)
            with pytest.raises(StorageError, match="another process"), second:
                pass
    assert hash_folder(out).keys() == {"first"}
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_that_appeared_meanwhile_is_kept(tmp_path):
    """By something that asks for no lock."""
    out = tmp_path / "net"
    with pytest.raises(StorageError, match="already exists"), atomic_folder(out) as folder:
        (folder / "mine").write_text("x")
        write_text(out / "theirs", "x")
    assert hash_folder(out).keys() == {"theirs"}
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_overwriting_never_leaves_nothing_under_the_name(tmp_path, monkeypatch, can_exchange):
    """Killed between any two steps: the name has the old folder or the new, at latest with the next one."""
    out = tmp_path / "net"
    write_text(out / "old", "x")
    steps = []

    class KilledError(BaseException):
        pass

    def step(function):
        def wrapped(*arguments, **options):
            if len(steps) == kill_at:
                raise KilledError
            steps.append(function)
            return function(*arguments, **options)

        return wrapped

    if not can_exchange:
        monkeypatch.setattr(files, "exchange", lambda *_: False)
    monkeypatch.setattr(files.Path, "rename", step(files.Path.rename))
    kill_at = 1 if not can_exchange else 0
    if can_exchange:
        monkeypatch.setattr(files, "exchange", step(files.exchange))
    with pytest.raises(KilledError), atomic_folder(out, overwrite=True) as folder:
        (folder / "new").write_text("x")
    assert out.exists() == can_exchange
    kill_at = 100
    with pytest.raises(StorageError, match="already exists"), atomic_folder(out):
        pass
    if can_exchange:
        assert hash_folder(out).keys() == {"old"}
    with atomic_folder(out, overwrite=True) as folder:
        (folder / "new").write_text("x")
    assert hash_folder(out).keys() == {"new"}
    assert list(tmp_path.iterdir()) == [out]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "net").symlink_to(tmp_path / "disk" / "net")
    (tmp_path / "file").symlink_to(tmp_path / "disk" / "file")
    with atomic_folder(tmp_path / "net") as folder:
        (folder / "x").write_text("x")
    write_text(tmp_path / "file", "x")
    assert (tmp_path / "net").is_symlink()
    assert (tmp_path / "file").is_symlink()
    assert sorted(p.name for p in (tmp_path / "disk").iterdir()) == ["file", "net"]


@pytest.mark.parametrize("context", [atomic_file, atomic_folder])
def test_an_output_that_is_no_file_is_not_replaced(tmp_path, context, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="neither"), context(tmp_path / "pipe"):
        pass
    monkeypatch.chdir(tmp_path)
    for name in (".", "..", tmp_path.parent):
        with pytest.raises(StorageError, match="working directory"), context(name):
            pass
