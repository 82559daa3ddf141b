"""Measures of the networks of a finished run, before and after training: nothing is trained again.

All networks of a seed see the same trials with the same input spikes. What is finished is kept beside the
table until all is, so that the same command goes on where it was stopped.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from v1builder.experiments.finished import FinishedRun
from v1builder.experiments.lesion import lesion_rows
from v1builder.experiments.measured import measured_rows
from v1builder.experiments.partial import Partial, remove_partial
from v1builder.measures import MEASURES, measure_named
from v1builder.schema.files import sha256_of, write_json, write_text
from v1builder.schema.provenance import provenance
from v1builder.train.measuring import compares, measured_around
from v1builder.train.settings import Experiment, MeasureSettings

Progress = Callable[[str, int, int], None]


def measure_run(
    run: Path | str,
    out: Path | str,
    *,
    select: Sequence[str] = (),
    protocols: Sequence[str] = (),
    ablations: Sequence[str] = (),
    seeds: Sequence[int] = (),
    n_trials: int = 64,
    levels: Sequence[str] | None = None,
    accelerator: str = "cpu",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Measure conditions of a finished run, and what training changed in them.

    Args:
        run: folder of `train` or of `compare`.
        out: CSV file; what made it as .json beside it.
        select: measures; unless given all that need no synaptic currents, with which a run goes step by step.
        protocols: of a comparison; all unless given.
        ablations: likewise.
        seeds: likewise.
        n_trials: of the test's kind, of each network.
        levels: groups of cells; unless given all but single cells.
        accelerator: where the networks compute, wherever they were trained.
        progress: called with (what, done, total).

    Returns:
        The rows, see `measured.measured_rows`.

    Raises:
        StorageError: the folder holds no finished run.
        ConfigError: a measure, level or condition is unknown.
    """
    names = tuple(select) or tuple(
        name for name, kind in MEASURES.items() if "currents" not in kind.needs
    )
    for name in names:
        measure_named(name)  # what is wrong is said before anything long
    finished = FinishedRun(run, "measure", accelerator)
    settings = MeasureSettings(
        names=names,
        levels=None if levels is None else tuple(levels),
        phases=("untrained", "trained"),
        trials=n_trials,
    )
    experiment = finished.experiment.model_copy(update={"measure": settings})

    def measured(condition: Any, show: Callable[[int, int], None]) -> list[dict[str, Any]]:
        found = finished.learned(condition)
        rows = measured_around(
            experiment,
            found.subject.task,
            found.before,
            found.classifier.network,
            seed=condition.seed,
            observed=found.subject.network,
            trained=() if condition.protocol in ("frozen", "readout") else None,
            phases=condition.phases,
            intact=finished.intact(condition) if compares(experiment) else None,
            in_vivo=found.subject.reference,
            progress=lambda done: show(done, n_trials),
        )
        return [*rows["measures"], *rows["learned"]]

    chosen = finished.conditions(protocols, ablations, seeds)
    return _over_conditions("measure", finished, experiment, chosen, Path(out), measured, progress)


def lesion_run(
    run: Path | str,
    out: Path | str,
    *,
    level: str = "population",
    protocols: Sequence[str] = ("retrain",),
    ablations: Sequence[str] = ("intact",),
    seeds: Sequence[int] = (),
    n_trials: int = 256,
    accelerator: str = "cpu",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Silence every group of cells of trained networks, and as many others at random (`lesion`).

    Args:
        run: folder of `train` or of `compare`.
        out: CSV file; what made it as .json beside it.
        level: of the groups: layer, class, population, or the name of a node set.
        protocols: of a comparison.
        ablations: of a comparison.
        seeds: all unless given.
        n_trials: test trials of each lesion.
        accelerator: where the networks compute, wherever they were trained.
        progress: called with (what, done, total).

    Returns:
        The rows, see `measured.measured_rows`.

    Raises:
        StorageError: the folder holds no finished run.
        ConfigError: a level or a condition is unknown.
    """
    finished = FinishedRun(run, "lesion", accelerator)
    settings = MeasureSettings(names=(), lesions=level, lesion_trials=n_trials)
    experiment = finished.experiment.model_copy(update={"measure": settings})

    def lesioned(condition: Any, show: Callable[[int, int], None]) -> list[dict[str, Any]]:
        found = finished.learned(condition)
        return lesion_rows(
            experiment,
            found.subject.task,
            found.classifier,
            level,
            found.before,
            seed=condition.seed,
            progress=show,
        )

    chosen = finished.conditions(protocols, ablations, seeds)
    return _over_conditions("lesion", finished, experiment, chosen, Path(out), lesioned, progress)


def _over_conditions(
    command: str,
    finished: FinishedRun,
    experiment: Experiment,
    conditions: Sequence[Any],
    out: Path,
    rows_of: Callable[[Any, Callable[[int, int], None]], list[dict[str, Any]]],
    progress: Progress | None,
) -> pd.DataFrame:
    """The rows of all conditions, those that an interrupted run left taken over; written to OUT."""
    show = progress or (lambda _stage, _done, _total: None)
    made_by = provenance(
        command,
        run={finished.file.name: sha256_of(finished.file)},
        measure=experiment.measure.model_dump(mode="json"),
        device=experiment.train.accelerator,
    )
    partial = Partial(out, made_by)
    results = []
    for condition in conditions:
        name = condition.title

        def shown(done: int, total: int, name: str = name) -> None:
            show(name, done, total)

        if name not in partial:
            partial[name] = rows_of(condition, shown)
        who = {"protocol": condition.protocol, "ablation": condition.ablation.name}
        results.append(who | {"seed": condition.seed, "measures": partial[name]})
    table = measured_rows(results)
    write_text(out, table.to_csv(index=False, lineterminator="\n"))
    write_json(out.with_suffix(".json"), made_by | {"conditions": [c.title for c in conditions]})
    remove_partial(out)
    return table
