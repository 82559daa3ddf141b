"""Several tasks, each learned by the same kind of network, beside what it is to be held against.

For every experiment file and each of its seeds the intact network is trained and tested, and the baselines
are measured (`experiments.baselines`). What is finished is kept: a run that was interrupted goes on.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from v1builder.experiments.baselines import COLUMN, LGN, baselines
from v1builder.schema.errors import ConfigError
from v1builder.schema.files import write_text
from v1builder.schema.provenance import provenance
from v1builder.schema.records import read_record, write_record
from v1builder.train import Experiment, Subject, load_experiment, train
from v1builder.train.checkpoint import CHECKPOINT
from v1builder.train.subjects import Subjects

Progress = Callable[[str, int, int], None]

RECORD = "battery.json"


@dataclass(frozen=True)
class TaskRow:
    """A task, over seeds.

    Attributes:
        experiment: name of the experiment file.
        task: name.
        records: of every seed: seed, n_cells, steps, batch_size, trained (scores), baselines, seconds (None
            where training was resumed) and peak_GiB of the training.
    """

    experiment: str
    task: str
    records: tuple[dict[str, Any], ...]

    def scores(self, name: str) -> list[float]:
        """Main score by seed: of "trained", or of a baseline; empty where there is none."""
        main = self.records[0]["baselines"]["score"]
        found = [
            record["trained"] if name == "trained" else record["baselines"][name]
            for record in self.records
        ]
        return [one[main] for one in found if one is not None]


def run_battery(
    files: Sequence[Path | str],
    out: Path | str,
    *,
    baseline_trials: int = 1024,
    accelerator: str | None = None,
    progress: Progress | None = None,
) -> list[TaskRow]:
    """Train every experiment's intact network with each of its seeds, and measure its baselines.

    Args:
        files: experiment files; their names are names of folders in `out`.
        out: gets FILE/seed-K/ with the training's files and battery.json, and tasks.md.
        baseline_trials: for a baseline to learn from, and as many to be tested with.
        accelerator: "cpu", "cuda" or "auto"; that of each experiment's [train] when None.
        progress: called with (what, done, total).

    Raises:
        ConfigError: no file, or two of one name.
        V1BuilderError: as `train.prepare`, before anything is trained.
    """
    out = Path(out)
    paths = [Path(file) for file in files]
    names = [path.stem for path in paths]
    if not paths or len(set(names)) < len(names):
        raise ConfigError.of(
            "experiment files of a battery have names of their own",
            "battery",
            ", ".join(names) or "no file",
            "name every file once, each with another name",
        )
    experiments = dict(zip(names, map(load_experiment, paths), strict=True))
    subjects = Subjects()
    # What is missing is missed now. The first experiment last, so that its first seed is still there.
    for experiment in reversed(list(experiments.values())):
        subjects.check(experiment)
    rows = []
    for name, experiment in experiments.items():
        records = tuple(
            _seed(
                experiment.model_copy(update={"seeds": (seed,)}),
                subjects.of(experiment, seed),
                out / name / f"seed-{seed}",
                baseline_trials,
                accelerator,
                progress,
                f"{name}, seed {seed}",
            )
            for seed in experiment.seeds
        )
        rows.append(TaskRow(name, experiment.task.name, records))
        write_text(out / "tasks.md", markdown(rows))
    return rows


def _seed(
    experiment: Experiment,
    subject: Subject,
    folder: Path,
    baseline_trials: int,
    accelerator: str | None,
    progress: Progress | None,
    what: str,
) -> dict[str, Any]:
    """The record of one seed, as it was left or made now."""
    (seed,) = experiment.seeds
    here = experiment.computed_on(accelerator)
    made_by = {
        "experiment": here.model_dump(mode="json", exclude={"network"}),
        "network": subject.hashes,
        "baseline_trials": baseline_trials,
    }
    file = folder / RECORD
    if file.exists():
        fix = f"remove {file}: the baselines are then measured again"
        record = read_record(file, fix=fix, keys=("made_by", "trained", "baselines"))
        if record["made_by"] == made_by:
            return record

    def report(part: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(f"{what}: {part}", done, total) if progress else None

    measuring, training = report("baselines"), report("training")
    _forget_peak()
    resumed, start = (folder / CHECKPOINT).exists(), time.perf_counter()
    result = train(
        experiment,
        folder,
        resume=True,
        accelerator=accelerator,
        progress=lambda done, total, _: training(done, total),
        subject=subject,
    )
    seconds, peak = time.perf_counter() - start, _peak_GiB()
    found = baselines(
        here,
        subject,
        train_trials=baseline_trials,
        test_trials=baseline_trials,
        progress=lambda _, done, total: measuring(done, total),
    )
    record = {
        "seed": seed,
        "n_cells": subject.network.n_cells,
        "steps": experiment.train.steps,
        "batch_size": experiment.train.batch_size,
        "trained": {name: value for name, value in result.items() if name not in _LONG},
        "baselines": found,
        "seconds": None if resumed else round(seconds, 1),
        "peak_GiB": peak,
        "made_by": made_by,
        "provenance": provenance("battery"),
    }
    write_record(file, record)
    return record


def _forget_peak() -> None:
    """Let the peak of this process's memory begin anew; where that cannot be done it goes on."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_GiB() -> float | None:
    """Most memory that was resident since, GiB; None where the system does not say (not Linux)."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 2**20, 2)


#: Of a training's result, what result.json has and a table of many tasks does not need.
_LONG = ("measures", "provenance", "notes", "learning_curve", "main_score")


def markdown(rows: Sequence[TaskRow]) -> str:
    """The table of all tasks: means over seeds, and of the trained network every seed."""
    lines = [
        "| task | cells | trained, mean (seeds) | untrained column, linear | LGN, linear | chance | "
        "trained, d' or 75 % threshold | steps x trials | minutes | GiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        trained, first = row.scores("trained"), row.records[0]
        minutes = [one["seconds"] / 60 for one in row.records if one["seconds"] is not None]
        cells = [
            row.experiment,
            f"{first['n_cells']}",
            f"{np.mean(trained):.3f} ({', '.join(f'{score:.3f}' for score in trained)})",
            _mean(row.scores(COLUMN)),
            _mean(row.scores(LGN)),
            f"{first['baselines']['chance']:.3g}",
            _sensitivity([one["trained"] for one in row.records]),
            f"{first['steps']} x {first['batch_size']}",
            f"{np.mean(minutes):.1f}" if minutes else "-",
            f"{max(one['peak_GiB'] or 0 for one in row.records):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _sensitivity(trained: Sequence[dict[str, Any]]) -> str:
    """The field's measure, by seed: the threshold where there is one, else d', else nothing."""
    if "psychometric" in trained[0]:
        found = [one["psychometric"]["threshold_75"] for one in trained]
        return ", ".join("-" if one is None else f"{one:.1f} deg" for one in found)
    values = [one["d_prime"] for one in trained if one.get("d_prime") is not None]
    return ", ".join(f"{value:.2f}" for value in values) or "-"


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f}" if values else "-"
