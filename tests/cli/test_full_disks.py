"""Whole commands on a disk that is too small: one message; with room they end as if nothing had been."""

import json
import shutil
import subprocess
import sys

import pytest
from test_kills import EXPERIMENT, content

#: Mounts a disk of $1 kB at $2, runs the command, gives the disk more room, runs it again with $3.
SCRIPT = """
mount -t tmpfs -o size=${1}k tmpfs "$2" || exit 77
more="$3"; disk="$2"; keep="$4"; shift 4
"$@"; echo "status $?"
mount -o remount,size=200m "$disk"
"$@" $more; echo "status $?"
cp -r "$disk/out" "$keep"
"""


def on_a_disk(kilobytes, tmp_path, command, again=""):
    """What a command said on a disk of this size, at tmp_path/disk, and then with room."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, for a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    arguments = [kilobytes, disk, again, tmp_path / "kept", *command]
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("small disks cannot be mounted here")
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert "status 1" in done.stdout
    assert "status 0" in done.stdout
    assert said.count("No space left on device") == 1
    assert said.count("error: cannot write the output") == 1
    return tmp_path / "kept"


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [8, 3000])  # a checkpoint has 1.7 MB; two are there at a time
def test_a_training_on_a_full_disk_loses_nothing(small_column, tmp_path, kilobytes):
    experiment = tmp_path / "experiment.toml"
    experiment.write_text(EXPERIMENT.format(network=small_column))
    train = [sys.executable, "-m", "v1builder", "train", experiment, "--out"]
    subprocess.run([*train, tmp_path / "whole"], check=True, capture_output=True)
    kept = on_a_disk(kilobytes, tmp_path, [*train, tmp_path / "disk/out"], "--resume")
    whole = tmp_path / "whole"
    for name in ("metrics.jsonl", "result.json"):
        assert (kept / name).read_bytes() == (whole / name).read_bytes()
    assert content(kept / "checkpoint.pt") == content(whole / "checkpoint.pt")


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [8, 150, 300])  # reports of 192 kB
def test_a_simulation_on_a_full_disk_is_one_message(small_network_folder, tmp_path, kilobytes):
    config = {
        "run": {"tstop": 2000.0, "dt": 1.0},
        "network": str(small_network_folder / "circuit_config.json"),
        "output": {"output_dir": str(tmp_path / "disk/out")},
        "reports": {"voltage": {"cells": "all", "variable_name": "V_m"}},
    }
    path = tmp_path / "simulation.json"
    path.write_text(json.dumps(config))
    kept = on_a_disk(kilobytes, tmp_path, [sys.executable, "-m", "v1builder", "simulate", path])
    assert sorted(file.name for file in kept.iterdir()) == ["spikes.h5", "voltage.h5"]
