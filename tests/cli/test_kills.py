"""Killed at any moment (kill -9) and run again: what a run that was never killed leaves, nothing else."""

import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from v1builder.schema.files import hash_folder

EXPERIMENT = """
name = "a test"
seeds = [1]
[network]
path = "{network}"
[task]
name = "orientation_discrimination"
max_delta = 40.0
n_deltas = 2
n_phases = 1
gray_before_ms = 10.0
on_ms = 60.0
gray_after_ms = 10.0
response_ms = [40.0, 80.0]
[readout]
pool_size = 10
[train]
steps = 4
batch_size = 4
validate_every = 2
validation_trials = 4
test_trials = 8
checkpoint_every = 1
[compare]
ablations = ["intact", "no_asc"]
protocols = ["frozen"]
matching = "raw"
matching_trials = 2
calibration_seconds = 2.0
"""

#: How often each command is killed; 30 in all.
_KILLS = 6
#: Commands that show nothing before they are done.
_AT_ONCE = ("fetch", "build")


def command(*arguments):
    return [sys.executable, "-m", "v1builder", *map(str, arguments)]


def run(*arguments):
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def killed(seconds, *arguments):
    """Whether it was killed before it ended by itself."""
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
    assert process.returncode == 0, said
    return False


def visible(folder: Path) -> dict[str, str]:
    """Hashes of what a person sees; what a killed process leaves begins with a dot."""
    found = hash_folder(folder) if folder.exists() else {}
    return {
        name: content(folder / name) if name.endswith(".pt") else sha256
        for name, sha256 in found.items()
        if not any(part.startswith(".") for part in Path(name).parts)
    }


def content(checkpoint: Path) -> str:
    """Hash of all names and numbers. A pickle's bytes also say which equal texts were one object."""
    digest = hashlib.sha256()

    def add(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                digest.update(repr(key).encode())
                add(inner)
        elif isinstance(value, list | tuple):
            digest.update(repr(len(value)).encode())
            for inner in value:
                add(inner)
        elif isinstance(value, torch.Tensor):
            digest.update(repr((value.dtype, value.shape)).encode())
            digest.update(value.numpy().tobytes())
        else:
            digest.update(repr(value).encode())

    add(torch.load(checkpoint, weights_only=True))
    return digest.hexdigest()


def arguments(name, work, out):
    experiment = work / "experiment.toml"
    return {
        "fetch": ("fetch", "--out", out),
        "build": ("build", "--radius", 30, "--out", out),
        "train": ("train", experiment, "--out", out, "--resume"),
        "compare": ("compare", experiment, "--out", out),
        "report": ("report", out),
    }[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fetch", "build", "train", "compare", "report"])
def test_a_command_that_was_killed_leaves_in_the_end_what_one_that_was_not_does(
    request, tmp_path, tmp_path_factory, name
):
    work, out = tmp_path_factory.mktemp("whole"), tmp_path / "out"
    whole = work / "out"
    if name not in _AT_ONCE:
        network = request.getfixturevalue("small_column")
        (work / "experiment.toml").write_text(EXPERIMENT.format(network=network))
    if name == "report":
        for folder in (whole, out):
            run(*arguments("compare", work, folder))
    start = time.monotonic()
    run(*arguments(name, work, whole))
    length = time.monotonic() - start
    expected = visible(whole)
    moments = random.Random(name)
    for _ in range(_KILLS):
        was_killed = killed(moments.uniform(0.02, 1.0) * length, *arguments(name, work, out))
        seen = visible(out)
        if name in _AT_ONCE:
            assert seen in ({}, expected)
        if not was_killed or (name in _AT_ONCE and seen):
            break
    else:
        run(*arguments(name, work, out))
    assert visible(out) == expected
    assert [path for path in tmp_path.rglob(".*") if ".tmp-" in path.name] == []
