"""Measures of a network as it is, intact and ablated, in the trials of a task: nothing is trained.

All networks see the same trials with the same input spikes, so differences between them are the networks'.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from v1builder.experiments.ablations import Ablation, parse_ablation
from v1builder.experiments.operating_table import bench_of
from v1builder.experiments.outcomes import BASELINE
from v1builder.inputs import input_sources
from v1builder.load import Network, load_network
from v1builder.measures import MEASURES, Measurement, MeasureRow, measure_named
from v1builder.model import V1Network
from v1builder.schema.config import Settings, parse_settings
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.schema.files import hash_folder, write_json, write_text
from v1builder.schema.provenance import provenance
from v1builder.tasks import TASKS, AnyTask, Task, TaskSettings, design_of, make_task
from v1builder.train import load_experiment, stream
from v1builder.train.evaluation import watched_trials

Progress = Callable[[str, int, int], None]

#: Trials that are run at once, fewer where their input spikes would take more bytes than this.
_TRIALS_AT_ONCE: Final = 16
_INPUT_BYTES: Final = 1 << 29
#: Trials are those that nothing was trained on, whatever is trained elsewhere.
_SPLIT: Final = "test"


class _OneTask(Settings):
    task: AnyTask


@dataclass(frozen=True)
class MeasuredNetworks:
    """What was measured of a network and its ablations.

    Attributes:
        rows: by ablation, "intact" for none.
        records: by ablation, what it did.
        made_by: what the rows depend on.
    """

    rows: Mapping[str, Sequence[MeasureRow]]
    records: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """One row per ablation, measure, window, level and group.

        A share of the n cells has the 95 % interval of Wilson, `low` to `high`: as if cells were drawn one by
        one, so it says nothing of what they have in common, such as the network they are of.
        """
        rows = [
            {"ablation": ablation} | vars(row) | _interval(row)
            for ablation, own in self.rows.items()
            for row in own
        ]
        columns = ["ablation", *MeasureRow.__dataclass_fields__]
        at = columns.index("value") + 1
        return pd.DataFrame(rows, columns=[*columns[:at], "low", "high", *columns[at:]])

    def write(self, out: Path | str) -> None:
        """Write OUT, the table as CSV; beside it, as .json, what made it and the same rows."""
        out, table = Path(out), self.table()
        write_text(out, table.to_csv(index=False, lineterminator="\n"))
        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        document = {**self.made_by, "ablations": dict(self.records), "rows": rows}
        write_json(out.with_suffix(".json"), document)


def task_named(text: str) -> tuple[TaskSettings, float]:
    """The task of that name with its defaults, or that of an experiment file; and the time step in ms.

    Raises:
        ConfigError: there is no such task (the nearest is named), it has settings without a default, or the
            file is not valid.
    """
    if text.endswith(".toml"):
        experiment = load_experiment(text)
        return experiment.task, experiment.model.dt
    if text not in TASKS:
        raise ConfigError([unknown_name("task", text, [*TASKS, "FILE.toml"], "measure, task")])
    return parse_settings({"task": {"name": text}}, _OneTask, "measure").task, 1.0


def measure_network(
    folder: Path | str,
    task: TaskSettings,
    *,
    select: Sequence[str] = (),
    ablations: Sequence[str] = (),
    n_trials: int = 20,
    levels: Sequence[str] | None = None,
    seed: int = 1,
    dt: float = 1.0,
    progress: Progress | None = None,
    **options: Any,
) -> MeasuredNetworks:
    """Run trials of a task on a network and on every ablation of it, and measure them.

    An ablated network is the one that `ablate` writes with the same seed and options. Memory is that of one
    network, of the input spikes of a batch (512 MiB at most, or one trial's), of a segment of the run
    (`observe`) and of the measures.

    Args:
        folder: of the network, which must have inputs.
        task: whose trials are run, after its warm-up, and with the state carried where it says so.
        select: names of measures; unless given all that need no synaptic currents, with which a run goes step
            by step.
        ablations: names, without "intact", which is measured anyhow.
        n_trials: number of trials of each network. The task draws them, as many of every class as of others.
        levels: groups of cells, see `Measurement`; unless given all but single cells.
        seed: of trials, input spikes and random ablations.
        dt: ms.
        progress: called with (what, done, total).
        options: of `operating_table.bench_of`, for ablations.

    Raises:
        ConfigError: a task, measure, level or ablation is not valid.
        NetworkError: the network is not, or lacks what is measured or ablated.
    """
    show = progress or (lambda _stage, _done, _total: None)
    names = list(select) or [
        name for name, kind in MEASURES.items() if "currents" not in kind.needs
    ]
    for name in names:
        measure_named(name)  # what is wrong is said before anything long
    parsed = [parse_ablation(name) for name in dict.fromkeys(ablations) if name != BASELINE]
    network = load_network(folder)
    made = make_task(task, input_sources(network, dt=dt), dt=dt)
    at_once = trials_at_once(made, n_trials)
    rows, records = {}, {}
    for name, one, record in _networks(network, parsed, seed, dt, show, options):
        measurement = Measurement(names, design_of(made, one, _SPLIT), made.measured, levels=levels)
        ports = "currents" in measurement.needs
        model = V1Network(one, dt=dt, trainable=[], keep_ports=ports)

        def done(n: int, name: str = name) -> None:
            show(name, n, n_trials)

        run_trials(
            model, made, measurement, n_trials=n_trials, at_once=at_once, seed=seed, progress=done
        )
        rows[name], records[name] = measurement.rows(), record
    home = Path(folder)
    made_by = provenance(
        "measure",
        network=hash_folder(home if home.is_dir() else home.parent),
        task=task.model_dump(mode="json"),
        notes=list(made.notes),
        windows={
            name: {"steps": [window.steps.start, window.steps.stop], "conditions": window.conditions,
                   "change": window.change}
            for name, window in made.measured.items()
        },
        split=_SPLIT,
        seed=seed,
        dt=dt,
        n_trials=n_trials,
        trials_at_once=at_once,
        options=options,
    )  # fmt: skip
    return MeasuredNetworks(rows, records, made_by)


def trials_at_once(task: Task, n_trials: int) -> int:
    """Trials of a batch: as many in each as fit, and as equal as they can be."""
    per_trial = task.n_steps * sum(source.n_units for source in task.sources.values())
    most = min(_TRIALS_AT_ONCE, max(1, _INPUT_BYTES // per_trial))
    return -(-n_trials // -(-n_trials // most))


def run_trials(
    model: V1Network,
    task: Task,
    measurement: Measurement,
    *,
    n_trials: int,
    at_once: int,
    seed: int,
    progress: Callable[[int], None],
) -> None:
    """Let measures watch trials of a task: those of a test with this seed and batch size.

    Args:
        model: of the network.
        task: draws trials and turns them into input spikes.
        measurement: what watches.
        n_trials: number of trials.
        at_once: trials of a batch; where the task carries the state, rows of trials that go on side by side.
        seed: of trials and input spikes.
        progress: called with the number of trials that were run.
    """
    trials = task.draw(n_trials, _SPLIT, stream(seed, _SPLIT, "trials"))
    noise, before = stream(seed, _SPLIT, "noise"), stream(seed, _SPLIT, "warm-up")
    done = 0
    progress(done)
    for batch, _, _ in watched_trials(
        model,
        task,
        trials,
        at_once=at_once,
        noise=noise,
        before=before,
        watching=lambda batch: [measurement.observer(batch.condition)],
    ):
        done += len(batch)
        progress(done)


def _networks(
    network: Network,
    ablations: Sequence[Ablation],
    seed: int,
    dt: float,
    show: Progress,
    options: Mapping[str, Any],
) -> Iterator[tuple[str, Network, dict[str, Any]]]:
    """The intact network, then every ablated one, with its name and the record of what was done to it."""
    yield BASELINE, network, {}
    if not ablations:
        return
    show("ablations", 0, len(ablations))
    bench = bench_of(network, seed=seed, dt=dt, **options)
    start = bench.start(network)
    for number, ablation in enumerate(ablations, start=1):
        ablated, record = bench.ablated(start, ablation)
        show("ablations", number, len(ablations))
        yield ablation.name, ablated, record


def _interval(row: MeasureRow) -> dict[str, float]:
    """The interval of a share of cells; NaN where there is none."""
    if row.reason or not MEASURES[row.measure].counts_cells:
        return {"low": np.nan, "high": np.nan}
    low, high = proportion_confint(round(row.value * row.n), row.n, method="wilson")
    return {"low": float(low), "high": float(high)}
