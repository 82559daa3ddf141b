"""Is a network like the living cortex? Judged on units, and on stimuli, that it was not trained to.

    v1builder judge RUN --out RUN/judge.md

Compared are, before and after a training (or of one network):

* mean rates, spontaneous rates, OSI and DSI of every cell type with those of held-out units, in trials like
  the recordings': 15 of 2 s in each of 8 directions, after gray;
* how synchronous the cells are: Fano factor by counting window, of single cells and of a population, and
  correlations of counts;
* what was not trained: the slope of the rate with contrast by class (Vip falls, Sst grows: Millman et al.
  2020, eLife 9:e55130), and rates on natural images by population;
* how far the distribution of weights moved, by pair of populations.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from v1builder.analysis.agreement import agreement_by_type, mean_score
from v1builder.analysis.invivo import types_of
from v1builder.analysis.synchrony import population_fano
from v1builder.experiments.finished import FinishedRun
from v1builder.inputs import input_sources
from v1builder.load import Network, group_cells, load_network
from v1builder.load.reference import IN_VIVO_UNITS, home_of, read_in_vivo_units
from v1builder.measures import Measurement
from v1builder.model import V1Network
from v1builder.model.device import device_of
from v1builder.model.observation import Observer, Segment
from v1builder.objectives.objective import core
from v1builder.objectives.weights import WeightsSettings
from v1builder.schema.errors import DataError, NetworkError
from v1builder.schema.files import hash_folder
from v1builder.schema.provenance import provenance
from v1builder.schema.recordings import JUDGE, recorded_units
from v1builder.tasks import GratingTuning, Task, TaskSettings, design_of, make_task
from v1builder.tasks.contrast_response import ContrastResponse
from v1builder.tasks.image_change_detection import ImageChangeDetection
from v1builder.train.evaluation import watched_trials
from v1builder.train.settings import Experiment
from v1builder.train.streams import stream

Array = NDArray[np.float64]
Progress = Callable[[str, int, int], None]

BEFORE, AFTER, NETWORK = "before", "after", "network"
#: Metric of the units, window of the trials, measure.
_OF_CELLS: Final = {
    "mean_rate_Hz": ("evoked", "mean_rate"),
    "spontaneous_rate_Hz": ("spontaneous", "mean_rate"),
    "osi": ("evoked", "osi_vector"),
    "dsi": ("evoked", "dsi_vector"),
}
#: Least mean score by metric.
AIMS: Final = {"mean_rate_Hz": 0.85, "osi": 0.80, "dsi": 0.80}
WEIGHTS_AIM: Final = 0.10
#: A population that fires more than so many times its recorded rate on natural images has run away.
TIMES_RECORDED: Final = 3.0
FANO_WINDOWS_MS: Final = (10.0, 20.0, 50.0, 100.0, 200.0)
FANO_CELLS: Final = 50
_AT_ONCE: Final = 16


@dataclass(frozen=True)
class Repeats:
    """How much is shown.

    Attributes:
        per_direction: gratings of 2 s; 15 in the recordings.
        per_contrast: gratings of 2 s at each of 6 contrasts and 8 directions.
        images: trials of sequences of photographs.
    """

    per_direction: int = 15
    per_contrast: int = 2
    images: int = 24


@dataclass
class _Together(Observer):
    """The spikes of some cells together, step by step."""

    cells: torch.Tensor
    parts: list[Array] = field(default_factory=list)

    def see(self, segment: Segment) -> None:
        """Sum over cells."""
        self.parts.append(segment.spikes[:, :, self.cells].sum(dim=2).double().cpu().numpy())


@dataclass(frozen=True)
class JudgedNetworks:
    """What is judged.

    Attributes:
        networks: by name.
        home: of the network that all come from.
        judged: [n_cells] whether a cell counts.
        dt: ms.
        notes: what one should know, for people.
    """

    networks: Mapping[str, Network]
    home: Path
    judged: NDArray[np.bool_]
    dt: float
    notes: tuple[str, ...] = ()


def subject_of(
    folder: Path | str,
    *,
    core_radius_um: float | None = None,
    ablation: str = "intact",
    protocol: str = "retrain",
    accelerator: str = "cpu",
) -> JudgedNetworks:
    """A network, or what a training made of one.

    Args:
        folder: of a network, or of a finished run of `train` or `compare`.
        core_radius_um: cells within it are judged; that of the experiment, or all of them, unless given.
        ablation: of the condition, in a comparison.
        protocol: likewise.
        accelerator: where the network is made; of an ablated one where it was.

    Raises:
        StorageError, ConfigError: a run is not finished, or has no such condition.
        NetworkError: the network is not valid.
    """
    folder = Path(folder)
    if not FinishedRun.is_one(folder):
        network = load_network(folder)
        home = home_of(folder)
        return JudgedNetworks({NETWORK: network}, home, core(network, core_radius_um), 1.0)
    finished = FinishedRun(folder, "judge", accelerator)
    condition = finished.condition(protocol, ablation)
    found = finished.learned(condition)
    experiment = finished.experiment
    origin = Path(experiment.network.path.format(seed=condition.seed))
    radius = experiment.core_radius_um if core_radius_um is None else core_radius_um
    return JudgedNetworks(
        {BEFORE: found.before, AFTER: found.classifier.network.export(found.before)},
        home_of(origin),
        core(found.before, radius),
        experiment.model.dt,
        _drawn_to_all(experiment),
    )


def _drawn_to_all(experiment: Experiment) -> tuple[str, ...]:
    kinds = [each.kind for each in experiment.objectives if getattr(each, "units", "") == "all"]
    if not kinds:
        return ()
    return (
        f"training was drawn to quantiles over all recorded units ({', '.join(kinds)}), held-out ones "
        'among them: set units = "targets"',
    )


def judge(
    subject: JudgedNetworks,
    trials: Repeats | None = None,
    *,
    seed: int = 1,
    accelerator: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Judge every network of a subject.

    Args:
        subject: its networks.
        trials: what they are shown.
        seed: of trials and input spikes.
        accelerator: where the networks compute: "cpu", "cuda", or "auto" for a GPU where there is one.
        progress: called with (what, done, total).

    Raises:
        DataError: there are no recorded units.
        NetworkError: a population that the recordings do not know, or no input that sees.
    """
    trials, show = trials or Repeats(), progress or (lambda _stage, _done, _total: None)
    device = device_of(accelerator)
    units = read_in_vivo_units(subject.home)
    if units is None:
        raise DataError.of(
            "the network has no recorded units to be judged by",
            subject.home / IN_VIVO_UNITS,
            "no such file",
            "copy it from a column that was built with this version",
        )
    held_out = pd.DataFrame(units[units["split"] == JUDGE])
    found = {
        name: _judged(name, network, subject, held_out, trials, seed, device, show)
        for name, network in subject.networks.items()
    }
    if AFTER in found:
        found[AFTER]["weights_moved"] = _weights_moved(subject)
    for result in found.values():
        result["aims"] = _aims(result)
    return {
        **provenance(
            "judge",
            network=hash_folder(subject.home),
            seed=seed,
            trials=vars(trials),
            dt=subject.dt,
            device=device.type,
            judged_cells=int(subject.judged.sum()),
        ),
        "notes": list(subject.notes),
        "networks": found,
    }


def _judged(
    name: str,
    network: Network,
    subject: JudgedNetworks,
    units: pd.DataFrame,
    trials: Repeats,
    seed: int,
    device: torch.device,
    show: Progress,
) -> dict[str, Any]:
    types = np.where(subject.judged, types_of(network.cells), "")
    model = V1Network(network, dt=subject.dt, trainable=[]).to(device)
    signs = network.cells.attributes["ei"].astype(str)
    excitatory = np.flatnonzero((signs == "e") & subject.judged)
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.permutation(excitatory)[:FANO_CELLS])
    together = _Together(torch.from_numpy(sample))

    def run(
        task: TaskSettings, measures: Sequence[str], n: int, *watching: Observer
    ) -> tuple[Measurement, Task]:
        return _run(name, model, network, task, measures, n, subject.dt, seed, show, watching)

    tuning = GratingTuning()
    n = 8 * trials.per_direction
    shown, task = run(tuning, ["mean_rate", "osi_vector", "dsi_vector"], n, together)
    measured = {
        metric: _by_cell(shown, measure, window) for metric, (window, measure) in _OF_CELLS.items()
    }
    table = agreement_by_type(measured, types, units)
    counts = np.concatenate(_joined(together.parts, task.n_steps))
    fano = {
        window: population_fano(
            counts[:, steps], [round(ms / subject.dt) for ms in FANO_WINDOWS_MS]
        )
        for window, steps in (("spontaneous", task.spontaneous), ("evoked", task.evoked))
    }
    n = 48 * trials.per_contrast
    contrasts, _ = run(ContrastResponse(), ["contrast_slope"], n)
    images, _ = run(ImageChangeDetection(), ["mean_rate"], trials.images)
    return {
        "by_type": table.astype(object).where(table.notna(), None).to_dict("records"),
        "scores": {metric: mean_score(table, metric) for metric in _OF_CELLS},
        "population_fano": {
            window: {f"{length * subject.dt:g} ms": value for length, value in by_length.items()}
            for window, by_length in fano.items()
        },
        "population_cells": len(sample),
        "contrast_slope": _class_means(
            network, subject.judged, _by_cell(contrasts, "contrast_slope", "evoked")
        ),
        "images": _on_images(
            network, subject.judged, _by_cell(images, "mean_rate", "evoked"), units
        ),
    }


def _run(
    name: str,
    model: V1Network,
    network: Network,
    settings: TaskSettings,
    measures: Sequence[str],
    n_trials: int,
    dt: float,
    seed: int,
    show: Progress,
    watching: Sequence[Observer],
) -> tuple[Measurement, Task]:
    """Trials of a task, watched."""
    task = make_task(settings, input_sources(network, dt=dt), dt=dt)
    if not any(source.sees for source in task.sources.values()):
        raise NetworkError.of(
            "a network that does not see cannot be judged", "judge", task.notes[-1], "add an LGN"
        )
    measurement = Measurement(
        measures, design_of(task, network, "test"), task.measured, levels=["cell"]
    )
    done, stage = 0, f"{name}, {task.name}"
    show(stage, done, n_trials)
    for batch, _, _ in watched_trials(
        model,
        task,
        task.draw(n_trials, "test", stream(seed, "judge", "trials")),
        at_once=_AT_ONCE,
        noise=stream(seed, "judge", "noise"),
        before=stream(seed, "judge", "warm-up"),
        watching=lambda batch: [measurement.observer(batch.condition), *watching],
    ):
        done += len(batch)
        show(stage, done, n_trials)
    return measurement, task


def _joined(parts: Sequence[Array], n_steps: int) -> list[Array]:
    """Whole trials [trial, step], of segments one after the other."""
    batches, batch, seen = [], [], 0
    for part in parts:
        batch.append(part)
        seen += part.shape[1]
        if seen == n_steps:
            batches.append(np.concatenate(batch, axis=1))
            batch, seen = [], 0
    return batches


def _by_cell(measurement: Measurement, measure: str, window: str) -> Array:
    """[n_cells] NaN where a cell has no value."""
    return np.array(
        [row.value for row in measurement.rows() if (row.measure, row.window) == (measure, window)]
    )


def _class_means(
    network: Network, judged: NDArray[np.bool_], values: Array
) -> dict[str, float | None]:
    groups = group_cells(network.cells, "class")
    found = {}
    for index, label in enumerate(groups.labels):
        own = values[(groups.of_cell == index) & judged]
        own = own[np.isfinite(own)]
        found[label] = float(own.mean()) if len(own) else None
    return found


def _on_images(
    network: Network, judged: NDArray[np.bool_], rates: Array, units: pd.DataFrame
) -> dict[str, dict[str, float | None]]:
    """By population: mean rate on images, and the recorded mean rate on gratings."""
    groups = group_cells(network.cells, "population")
    found: dict[str, dict[str, float | None]] = {}
    for index, label in enumerate(groups.labels):
        own = rates[(groups.of_cell == index) & judged]
        if not len(own):
            continue
        try:
            recorded = float(recorded_units(units, label, "mean_rate_Hz").values.mean())
        except DataError:  # held out units of a class may be none
            recorded = None
        found[label] = {"rate_Hz": float(own.mean()), "recorded_Hz": recorded}
    return found


def _weights_moved(subject: JudgedNetworks) -> float:
    """Earth mover's distance of the recurrent weights from those before, see `objectives.weights`."""
    before, after = (subject.networks[name] for name in (BEFORE, AFTER))
    name = next(n for n, e in before.edges.items() if e.source == before.simulated)
    return WeightsSettings(edges=(name,)).moved(before, after)


def _aims(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is aimed at, what was found, and whether that is enough (None where nothing can be said)."""
    rows = []
    for metric, least in AIMS.items():
        value = result["scores"][metric]
        met = None if value is None else value >= least
        rows.append({"aim": f"mean 1 - KS of {metric}", "least": least, "value": value, "met": met})
    moved = result.get("weights_moved")
    if moved is not None:
        met = moved <= WEIGHTS_AIM
        rows.append({"aim": "weights moved", "most": WEIGHTS_AIM, "value": moved, "met": met})
    times = [
        row["rate_Hz"] / row["recorded_Hz"]
        for row in result["images"].values()
        if row["recorded_Hz"]
    ]
    worst = max(times, default=None)
    met = None if worst is None else worst <= TIMES_RECORDED
    rows.append(
        {
            "aim": "largest rate on images / recorded",
            "most": TIMES_RECORDED,
            "value": worst,
            "met": met,
        }
    )
    slopes = result["contrast_slope"]
    vip, sst = slopes.get("Vip"), slopes.get("Sst")
    signs = None if vip is None or sst is None else vip < 0 < sst
    rows.append(
        {"aim": "contrast slope Vip < 0 < Sst", "value": None, "met": signs, "vip": vip, "sst": sst}
    )
    return rows
