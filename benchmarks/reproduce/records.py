"""One small file for every run: what came out, and what made it."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.reproduce.experiment import Experiment, Say

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def record_file(out: Path, experiment: Experiment, size: str, mode: str, seed: int) -> Path:
    """Where a run is written."""
    return out / experiment.name / size / f"{mode.replace(' ', '_')}-{seed}.json"


def stored(file: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The record of a run with these settings; None where there is none, or one with others."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if record.get("settings") == settings else None


def settings_of(size: Any) -> dict[str, Any]:
    """Settings as a file gives them back."""
    return json.loads(json.dumps(asdict(size)))


def make(
    experiment: Experiment, size: str, mode: str, seed: int, out: Path, say: Say
) -> dict[str, Any]:
    """The record of a run: that in the file, or a new one.

    Args:
        experiment: to be run.
        size: name of its settings.
        mode: one of its modes.
        seed: of the run.
        out: folder of all records.
        say: progress.
    """
    given = experiment.sizes[size]
    settings = settings_of(given)
    file = record_file(out, experiment, size, mode, seed)
    found = stored(file, settings)
    if found is not None:
        say("there already")
        return found
    wall, cpu = time.perf_counter(), time.process_time()
    results = experiment.run(mode, seed, given, say)
    record = {
        "experiment": experiment.name,
        "size": size,
        "mode": mode,
        "seed": seed,
        "settings": settings,
        "results": results,
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "made_with": made_with(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in record.items())
    part.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    part.replace(file)
    return record


def read_records(out: Path, experiment: Experiment, size: str) -> list[dict[str, Any]]:
    """The records of an experiment that were made with the settings it has now, by mode and seed."""
    settings = settings_of(experiment.sizes[size])
    files = sorted((out / experiment.name / size).glob("*.json"))
    found = [record for file in files if (record := stored(file, settings)) is not None]
    known = [record for record in found if record["mode"] in experiment.modes]
    return sorted(known, key=lambda one: (experiment.modes.index(one["mode"]), one["seed"]))


def made_with() -> dict[str, str]:
    """Versions, machine and time."""
    return {
        "v1builder": _commit(),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "numpy", "numba", "scipy")},
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "date": datetime.now(UTC).date().isoformat(),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    command: Sequence[str] = ("git", "-C", str(HERE), "rev-parse", "--short", "HEAD")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or _version("v1builder")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
