"""The built wheel, outside the checkout: it must bring its data and run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with nothing but the unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    for command in (
        [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            folder / "dist",
            ROOT,
        ],
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            folder / "site",
        ],
    ):
        if "pip" in command:
            command.append(next((folder / "dist").glob("*.whl")))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def run(installed, cwd, *arguments):
    code = (
        "import v1builder, pathlib, sys; from v1builder.cli import main\n"
        f"assert pathlib.Path(v1builder.__file__).is_relative_to({str(installed)!r})\n"
        f"sys.argv = ['v1builder', *{[str(a) for a in arguments]!r}]; main()"
    )
    env = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


def test_the_wheel_builds_a_network_outside_the_checkout(installed, tmp_path):
    for arguments in (
        ["fetch", "--out", "store"],
        ["build", "--radius", "30", "--store", "store", "--out", "net"],
        ["validate", "net"],
        ["info", "net"],
    ):
        done = run(installed, tmp_path, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "e4other" in done.stdout
    assert "Teeter" in done.stdout


def test_the_wheel_carries_types_and_terms(installed):
    package = installed / "v1builder"
    assert (package / "py.typed").exists()
    assert (package / "data_manifests" / "LICENSE-DATA.md").exists()
    assert not (installed / "tests").exists()
