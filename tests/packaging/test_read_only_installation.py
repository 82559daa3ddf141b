"""An installation that cannot be written, without a home: as in many containers."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import v1builder
from v1builder.schema import numba_cache

CODE = """
import sys
import numpy as np
import v1builder
from v1builder.build.random import start_stream
from v1builder.model.backends import get_backend
assert v1builder.__file__.startswith(sys.argv[1]), v1builder.__file__
start_stream(np.zeros(1, np.uint64), np.uint64(1), 0)
get_backend("fused")
"""


def test_kernels_are_compiled_where_nothing_but_a_temporary_folder_can_be_written(tmp_path):
    package = tmp_path / "lib" / "v1builder"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(v1builder.__file__).parent, package, ignore=ignore)
    for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").touch()  # a file, where also root can make no folder
    (tmp_path / "tmp").mkdir()
    environment = {
        **os.environ,
        "HOME": "/dev/null",
        "XDG_CACHE_HOME": "/dev/null",
        "TMPDIR": str(tmp_path / "tmp"),
        "PYTHONPATH": str(tmp_path / "lib"),
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "tmp").glob("v1builder-numba-*/**/*.nbi"))


def test_a_folder_that_others_can_write_is_not_used(tmp_path, monkeypatch):
    """What lies there is run."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = numba_cache._temporary_folder()
    assert own.parent == tmp_path
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert numba_cache._temporary_folder() == own
    own.chmod(0o777)
    other = numba_cache._temporary_folder()
    assert other not in (own, tmp_path)
    assert stat.S_IMODE(other.stat().st_mode) == 0o700
    own.rmdir()
    own.symlink_to(other)
    assert numba_cache._temporary_folder() not in (own, other)
