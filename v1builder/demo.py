"""The main job once, small enough for a laptop: every stage with the command that runs it alone."""

import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from v1builder import pipeline
from v1builder.experiments.comparison import compare
from v1builder.fetch import fetch
from v1builder.report import write_report
from v1builder.schema.files import write_text
from v1builder.schema.run_folders import run_folder
from v1builder.train import load_experiment

RADIUS_UM = 50.0
#: What a demo makes; one of these is in every folder of one that was begun.
_HOLDS = ("store", "networks", "experiment.toml", "run")


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
        heading: shows a stage and the command that runs it alone.
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
    heading("1 fetch the published tables", f"v1builder fetch --out {out}/store")
    fetch(out / "store", source="snapshot")
    template = resources.files("v1builder") / "demo.toml"
    write_text(out / "experiment.toml", template.read_text(encoding="utf-8"))
    experiment = load_experiment(out / "experiment.toml")
    heading(
        "2 build and validate a network per seed",
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
        "3 train, ablate, retrain, compare",
        f"v1builder compare {out}/experiment.toml --out {out}/run",
    )
    compare(experiment, out / "run", progress=progress)
    heading("4 report", f"v1builder report {out}/run")
    return write_report(out / "run")
