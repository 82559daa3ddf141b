"""Measures of a network as it is, intact and ablated, in the trials of a task: nothing is trained.

All networks see the same trials with the same input spikes, so differences between them are the networks'.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from v1builder.experiments.ablations import Ablation, parse_ablation
from v1builder.experiments.operating_table import bench_of
from v1builder.experiments.outcomes import BASELINE
from v1builder.experiments.partial import Partial, remove_partial
from v1builder.inputs import input_sources
from v1builder.load import Network, load_network
from v1builder.load.reference import home_of, read_in_vivo
from v1builder.measures import MEASURES, CurveRow, Measurement, MeasureRow
from v1builder.model import V1Network
from v1builder.model.device import device_of
from v1builder.protocols import PROTOCOLS, run_protocols
from v1builder.schema.config import Settings, parse_settings
from v1builder.schema.errors import ConfigError, raise_if_any, unknown_name
from v1builder.schema.files import hash_folder, write_json, write_text
from v1builder.schema.provenance import provenance
from v1builder.tasks import TASKS, AnyTask, Task, TaskSettings, design_of, make_task
from v1builder.train import load_experiment, stream
from v1builder.train.measuring import SPLIT, run_trials

Progress = Callable[[str, int, int], None]

#: Trials that are run at once, fewer where their input spikes would take more bytes than this.
_TRIALS_AT_ONCE: Final = 16
_INPUT_BYTES: Final = 1 << 29


class _OneTask(Settings):
    task: AnyTask


@dataclass(frozen=True)
class MeasuredNetworks:
    """What was measured of a network and its ablations.

    Attributes:
        rows: by ablation, "intact" for none.
        records: by ablation, what it did.
        made_by: what the rows depend on.
        curves: points of the curves of those measures that have one, by ablation.
    """

    rows: Mapping[str, Sequence[MeasureRow]]
    records: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Sequence[CurveRow]] = field(default_factory=dict)

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
        """Write OUT, the table as CSV; beside it, as .json, what made it and the same rows.

        Where there are curves, their points are in OUT with "-curves" in its name.
        """
        out, table = Path(out), self.table()
        write_text(out, table.to_csv(index=False, lineterminator="\n"))
        points = [
            {"ablation": ablation} | vars(row)
            for ablation, own in self.curves.items()
            for row in own
        ]
        if points:
            curves = pd.DataFrame(points).to_csv(index=False, lineterminator="\n")
            write_text(out.with_stem(f"{out.stem}-curves"), curves)
        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        document = {**self.made_by, "ablations": dict(self.records), "rows": rows}
        write_json(out.with_suffix(".json"), document)
        remove_partial(out)


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
    task: TaskSettings | None,
    *,
    select: Sequence[str] = (),
    ablations: Sequence[str] = (),
    n_trials: int = 20,
    levels: Sequence[str] | None = None,
    seed: int = 1,
    dt: float = 1.0,
    accelerator: str = "cpu",
    out: Path | str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> MeasuredNetworks:
    """Run trials of a task, and protocols, on a network and on every ablation of it, and measure them.

    An ablated network is the one that `ablate` writes with the same seed and options. Memory is that of one
    network, of the input spikes of a batch (512 MiB at most, or one trial's), of a segment of the run
    (`observe`) and of the measures.

    Args:
        folder: of the network, which must have inputs.
        task: whose trials are run, after its warm-up, and with the state carried where it says so; None where
            only protocols are selected, which need none.
        select: names of measures and of protocols; unless given all measures that need no synaptic currents,
            with which a run goes step by step.
        ablations: names, without "intact", which is measured anyhow.
        n_trials: number of trials of each network. The task draws them, as many of every class as of others.
        levels: groups of cells, see `Measurement`; unless given all but single cells.
        seed: of trials, input spikes and random ablations.
        dt: ms.
        accelerator: where networks compute: "cpu", "cuda", or "auto" for a GPU where there is one.
        out: where the table will be written. Networks that are done are kept beside it until it is, so that
            an interrupted call goes on.
        progress: called with (what, done, total).
        options: of `operating_table.bench_of`, for ablations.

    Raises:
        ConfigError: a task, measure, level or ablation is not valid.
        NetworkError: the network is not, or lacks what is measured or ablated.
    """
    show = progress or (lambda _stage, _done, _total: None)
    device = device_of(accelerator)
    names, protocols = _selected(select)  # what is wrong is said before anything long
    if names and task is None:
        raise ConfigError.of(
            "measures are of the trials of a task", "measure", ", ".join(names), "name a task"
        )
    parsed = [parse_ablation(name) for name in dict.fromkeys(ablations) if name != BASELINE]
    network = load_network(folder)
    for ablation in parsed:
        ablation.affected(network)
    made = None if task is None else make_task(task, input_sources(network, dt=dt), dt=dt)
    at_once = 0 if made is None else trials_at_once(made, n_trials)
    made_by = provenance(
        "measure",
        network=hash_folder(home_of(folder)),
        task=None if task is None else task.model_dump(mode="json"),
        notes=[] if made is None else list(made.notes),
        windows={
            name: {"steps": [window.steps.start, window.steps.stop], "conditions": window.conditions,
                   "change": window.change}
            for name, window in (made.measured.items() if made else ())
        },
        split=SPLIT,
        seed=seed,
        dt=dt,
        n_trials=n_trials,
        trials_at_once=at_once,
        options=options,
        device=device.type,
    )  # fmt: skip
    compares = any(MEASURES[each].compares for each in names)
    kept = None if out is None else Partial(Path(out), made_by | {"of": [names, protocols, levels]})
    rows: dict[str, list[MeasureRow]] = {}
    curves: dict[str, list[CurveRow]] = {}
    records: dict[str, dict[str, Any]] = {}
    intact: Measurement | None = None
    for name, one, record in _networks(
        network, parsed, show, seed=seed, dt=dt, accelerator=device.type, **options
    ):
        rows[name], curves[name], records[name] = [], [], record
        if kept is not None and name in kept and not (compares and name == BASELINE):
            rows[name] = [MeasureRow(**row) for row in kept[name]["rows"]]
            curves[name] = [CurveRow(**row) for row in kept[name]["curves"]]
            continue
        if names and made is not None:
            design = design_of(made, one, SPLIT, read_in_vivo(folder))
            measurement = Measurement(names, design, made.measured, levels=levels, reference=intact)
            if compares:
                intact = intact or measurement
            ports = "currents" in measurement.needs
            model = V1Network(one, dt=dt, trainable=[], keep_ports=ports).to(device)

            def done(n: int, name: str = name) -> None:
                show(name, n, n_trials)

            run_trials(
                model, made, measurement, n_trials=n_trials, at_once=at_once, seed=seed,
                progress=done,
            )  # fmt: skip
            rows[name] += measurement.rows()
            curves[name] = measurement.curves()
        if protocols:

            def shown(what: str, done: int, total: int, name: str = name) -> None:
                show(f"{name}, {what}", done, total)

            rows[name] += run_protocols(
                protocols,
                one,
                V1Network(one, dt=dt, trainable=[]).to(device),
                draw=partial(stream, seed, "protocols"),
                levels=levels,
                progress=shown,
            )
        if kept is not None:
            kept[name] = {
                "rows": [vars(row) for row in rows[name]],
                "curves": [vars(row) for row in curves[name]],
            }
    return MeasuredNetworks(rows, records, made_by, curves)


def _selected(select: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of measures and of protocols; where nothing is selected the measures that cost little."""
    unknown = [
        unknown_name("measure", name, [*MEASURES, *PROTOCOLS], "measure, select")
        for name in select
        if name not in MEASURES and name not in PROTOCOLS
    ]
    raise_if_any(unknown, ConfigError)
    names = [name for name in select if name in MEASURES]
    if not select:
        names = [name for name, kind in MEASURES.items() if "currents" not in kind.needs]
    return names, [name for name in select if name in PROTOCOLS]


def trials_at_once(task: Task, n_trials: int) -> int:
    """Trials of a batch: as many in each as fit, and as equal as they can be."""
    per_trial = task.n_steps * sum(source.n_units for source in task.sources.values())
    most = min(_TRIALS_AT_ONCE, max(1, _INPUT_BYTES // per_trial))
    return -(-n_trials // -(-n_trials // most))


def _networks(
    network: Network,
    ablations: Sequence[Ablation],
    show: Progress,
    **options: Any,
) -> Iterator[tuple[str, Network, dict[str, Any]]]:
    """The intact network, then every ablated one, with its name and the record of what was done to it."""
    yield BASELINE, network, {}
    if not ablations:
        return
    show("ablations", 0, len(ablations))
    bench = bench_of(network, **options)
    start = bench.start(network)
    for number, ablation in enumerate(ablations, start=1):
        ablated, record = bench.ablated(start, ablation)
        show("ablations", number, len(ablations))
        yield ablation.name, ablated, record


def _interval(row: MeasureRow) -> dict[str, float]:
    """The interval of a share of cells; NaN where there is none."""
    kind = MEASURES.get(row.measure)  # protocols have none
    if row.reason or kind is None or not kind.counts_cells:
        return {"low": np.nan, "high": np.nan}
    ends: Any = proportion_confint(round(row.value * row.n), row.n, method="wilson")
    return {"low": float(ends[0]), "high": float(ends[1])}
