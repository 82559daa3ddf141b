"""The main job once, small enough for a laptop: every stage with the command that runs it alone.

Before the work begins a small part of it is done and timed, so that every stage can say about how long it
takes on this machine.
"""

import math
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import torch

from v1builder import pipeline
from v1builder.experiments.comparison import compare
from v1builder.fetch import fetch
from v1builder.report import write_report
from v1builder.schema.files import write_text
from v1builder.schema.run_folders import run_folder
from v1builder.train import Experiment, load_experiment, train

RADIUS_UM = 50.0
#: What a demo makes; one of these is in every folder of one that was begun.
_HOLDS = ("store", "networks", "experiment.toml", "run")
#: The smallest column there is, for the measurement, and its training.
_TRIED_RADIUS_UM: Final = 30.0
_TRIED: Final = {"steps": 4, "validate_every": 4, "validation_trials": 16, "test_trials": 16}
_TRIED_POOL: Final = 10
#: Conditions that are trained at once where there are so many cores. Steps of so small a network gain little
#: from a second thread, and each condition more takes 2 GB of memory.
_AT_ONCE: Final = 2
#: Seconds of a stage per second of what was tried: of a column per build of the smallest one, of a condition
#: of the comparison, on its share of the cores, per such training. From a whole demo on two idle cores (five
#: rounds of two conditions in 308 s) and three measurements there (4.8 to 5.8 s).
_BUILD_PER_BUILD: Final = 1.2
_CONDITION_PER_TRAINING: Final = 12.0


@dataclass(frozen=True)
class Speed:
    """What was measured of this machine, in seconds.

    Attributes:
        build: the smallest column is built.
        training: it is trained for a few steps.
    """

    build: float
    training: float

    def of_build(self, n_networks: int) -> float:
        """Seconds that building so many columns of the demo takes."""
        return _BUILD_PER_BUILD * n_networks * self.build

    def of_comparison(self, experiment: Experiment, workers: int) -> float:
        """Seconds that the comparison takes with so many workers: baselines, then all others."""
        settings, n_seeds = experiment.compare, len(experiment.seeds)
        others = len(settings.protocols) * (len(settings.ablations) - 1) * n_seeds
        rounds = math.ceil(n_seeds / workers) + math.ceil(others / workers)
        return _CONDITION_PER_TRAINING * rounds * self.training


def measure_speed(experiment: Experiment) -> Speed:
    """Build the smallest column and train it for a few steps, each twice: the first time compiles kernels.

    Args:
        experiment: of the demo.
    """
    build, training = 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for attempt in ("first", "second"):
            network = Path(folder) / f"network-{attempt}"
            started = time.perf_counter()
            pipeline.build(network, radius=_TRIED_RADIUS_UM, seed=1)
            build = time.perf_counter() - started
            tried = experiment.model_copy(
                update={
                    "network": experiment.network.model_copy(update={"path": str(network)}),
                    "readout": experiment.readout.model_copy(update={"pool_size": _TRIED_POOL}),
                    "train": experiment.train.model_copy(update=_TRIED),
                }
            )
            started = time.perf_counter()
            train(tried, Path(folder) / f"run-{attempt}")
            training = time.perf_counter() - started
    return Speed(build, training)


def said(seconds: float) -> str:
    """A duration as one says it, no more exact than it is known."""
    if seconds < 10:
        return "some seconds"
    if seconds < 90:
        return f"about {round(seconds, -1):.0f} seconds"
    return f"about {seconds / 60:.0f} minutes"


def run_demo(
    out: Path,
    *,
    overwrite: bool,
    heading: Callable[[str, str], None],
    progress: Callable[[str, int, int], None],
) -> Path:
    """Fetch, build and validate one network per seed, train, ablate, compare, report.

    Args:
        out: folder for everything: store, networks, experiment.toml, run.
        overwrite: go on where an earlier demo left its output.
        heading: shows a stage, about how long it takes here, and the command that runs it alone.
        progress: shows how far a stage is, called with (stage, done, total).

    Returns:
        Path of the report page.

    Raises:
        StorageError: `out` is not empty and `overwrite` is False, or holds something else; another process is
            at work there.
    """
    with run_folder(out, holds=_HOLDS, goes_on=overwrite, option="--overwrite"):
        return _demo(out, heading, progress)


def _demo(
    out: Path,
    heading: Callable[[str, str], None],
    progress: Callable[[str, int, int], None],
) -> Path:
    """What `run_demo` does in its folder."""
    # Same seed, same bytes: what an interrupted demo had already compared stays valid in `run`.
    for name in ("store", "networks"):
        shutil.rmtree(out / name, ignore_errors=True)
    template = resources.files("v1builder") / "demo.toml"
    write_text(out / "experiment.toml", template.read_text(encoding="utf-8"))
    experiment = load_experiment(out / "experiment.toml")
    heading(
        "0 measure this machine: some seconds; the first time about a minute, since kernels are compiled",
        "",
    )
    speed = measure_speed(experiment)
    workers = min(_AT_ONCE, torch.get_num_threads())
    build_s = speed.of_build(len(experiment.seeds))
    compare_s = speed.of_comparison(experiment, workers)
    heading(
        f"1 fetch the published tables: {said(0)} (all that follows: {said(build_s + compare_s)})",
        f"v1builder fetch --out {out}/store",
    )
    fetch(out / "store", source="snapshot")
    heading(
        f"2 build and validate a network per seed: {said(build_s)}",
        f"v1builder build --radius {RADIUS_UM:g} --seed 1 --out {out}/networks/seed-1",
    )
    for seed in experiment.seeds:
        pipeline.build(
            Path(experiment.network.path.format(seed=seed)),
            radius=RADIUS_UM,
            seed=seed,
            store=out / "store",
            progress=lambda stage, done, total, seed=seed: progress(
                f"seed {seed}: {stage}", done, total
            ),
        )
    heading(
        f"3 train, ablate, retrain, compare: {said(compare_s)}, every seed is shown in "
        f"{out}/run/report/index.html",
        f"v1builder compare {out}/experiment.toml --out {out}/run --workers {workers}",
    )
    compare(experiment, out / "run", workers=workers, pages=True, progress=progress)
    heading(f"4 report: {said(0)}", f"v1builder report {out}/run")
    return write_report(out / "run")
