"""A disk that fills while edges are written: a message and an orderly end of the process, no signal."""

import shutil
import subprocess
import sys

import pytest

CODE = """
import sys
import numpy as np
from v1builder.schema.errors import StorageError
from v1builder.sonata.edges import EdgeWriter
n = 1000
columns = {"syn_weight": np.float32}
try:
    with EdgeWriter(sys.argv[1], "a_to_a", "a", "a", n, n, columns) as writer:
        for target in range(n):
            ids = np.full(n, target)
            writer.write(np.arange(n), ids, np.zeros(n), syn_weight=np.ones(n))
except StorageError as error:
    print("said", error.problems[0].got)
"""


@pytest.mark.parametrize("kilobytes", [1000, 3700])
def test_edges_on_a_disk_that_is_too_small(tmp_path, kilobytes):
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, for a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size={kilobytes}k tmpfs {disk} || exit 77"
    script = f'{mount}; "$0" -c "$1" {disk}/e.h5; echo "status $?"; ls -A {disk}'
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, sys.executable, CODE],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("small disks cannot be mounted here")
    assert done.stdout.splitlines() == ["said No space left on device", "status 0"], done.stderr
    assert "Traceback" not in done.stderr
