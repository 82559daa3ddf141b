"""What an experiment measures of a network: in the trials of its test, before training and after it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from v1builder.load import Network
from v1builder.measures import MEASURES, Measurement
from v1builder.model import V1Network
from v1builder.model.device import device_of
from v1builder.protocols import PROTOCOLS, run_protocols
from v1builder.tasks import Task, design_of
from v1builder.train.evaluation import watched_trials
from v1builder.train.learned import learned_rows
from v1builder.train.metric import TRAINED, UNTRAINED
from v1builder.train.settings import Experiment
from v1builder.train.streams import stream

Progress = Callable[[int], None]

#: Trials are those that nothing was trained on, whatever is trained elsewhere.
SPLIT = "test"


def measures_of(experiment: Experiment) -> tuple[str, ...]:
    """What is measured in trials of the task."""
    return tuple(name for name in experiment.measure.names if name in MEASURES)


def protocols_of(experiment: Experiment) -> tuple[str, ...]:
    """What has trials of its own."""
    return tuple(name for name in experiment.measure.names if name in PROTOCOLS)


def measured_in_test(experiment: Experiment) -> tuple[str, ...]:
    """The measures that watch the test of the trained network, for nothing: those of spikes.

    None of them where a number of trials is asked for, as before and after training is compared in the same.
    """
    settings = experiment.measure
    if settings.trials is not None or TRAINED not in settings.phases:
        return ()
    if experiment.model.neuron == "glifr":
        return ()
    return tuple(
        name
        for name in measures_of(experiment)
        if MEASURES[name].needs == ("spikes",) and not MEASURES[name].compares
    )


def measured_apart(experiment: Experiment, *, trained: bool) -> tuple[str, ...]:
    """The measures that ask for a run of their own."""
    if experiment.model.neuron == "glifr":  # a graded signal; there are no spikes to be measured
        return ()
    watched = measured_in_test(experiment) if trained else ()
    return tuple(name for name in measures_of(experiment) if name not in watched)


def compares(experiment: Experiment) -> bool:
    """Whether anything that is measured compares with the intact network."""
    return any(MEASURES[name].compares for name in measures_of(experiment))


def n_measured(experiment: Experiment) -> int:
    """Trials of a run of its own."""
    return experiment.measure.trials or experiment.train.test_trials


def measurement_of(
    experiment: Experiment,
    task: Task,
    network: Network,
    names: Sequence[str],
    reference: Measurement | None = None,
    in_vivo: pd.DataFrame | None = None,
) -> Measurement | None:
    """Measures of the task's windows in trials of the test; None for no measures.

    Args:
        experiment: of which groups.
        task: whose windows.
        network: with the cells.
        names: of measures.
        reference: what some of them compare with.
        in_vivo: recordings that some compare with (`load.reference.read_in_vivo`).

    Raises:
        ConfigError: a level is unknown.
        NetworkError: the cells cannot be grouped by a level.
    """
    if not names:
        return None
    design = design_of(task, network, SPLIT, in_vivo)
    return Measurement(
        names, design, task.measured, levels=experiment.measure.levels, reference=reference
    )


def measured_around(
    experiment: Experiment,
    task: Task,
    before: Network,
    model: V1Network,
    *,
    seed: int,
    observed: Network | None = None,
    trained: Sequence[str] | None = None,
    phases: Sequence[str] = (UNTRAINED, TRAINED),
    intact: Mapping[str, Network] | None = None,
    in_vivo: pd.DataFrame | None = None,
    progress: Progress | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """What is measured of a network before and after its training, beside its test.

    Args:
        experiment: what is measured.
        task: whose test it is.
        before: the network that was trained.
        model: the same with what it learned.
        seed: of trials and input spikes.
        observed: the network as built, where `before` is an ablated one.
        trained: names of what was learned, if not what the experiment says.
        phases: those that may be measured; of them those that the experiment wants are.
        intact: the intact network by phase, for measures that compare; none where `before` is intact.
        in_vivo: recordings that some measures compare with.
        progress: called with the number of trials that were run of each network.

    Returns:
        measures: rows of activity; learned: rows of what training changed (`learned.learned_rows`).
    """
    after = model.export(before)
    rows = []
    for phase, network in ((UNTRAINED, before), (TRAINED, after)):
        if phase in phases and phase in experiment.measure.phases:
            rows += measured_apart_rows(
                experiment,
                task,
                network,
                phase,
                seed=seed,
                reference=(intact or {}).get(phase),
                in_vivo=in_vivo,
                progress=progress,
            )
    names = experiment.model.trainable if trained is None else trained
    changed = learned_rows(before, after, observed or before, names, type(model.neuron))
    return {
        "measures": rows,
        "learned": [{**row.record(), "phase": phase} for phase, row in changed],
    }


def measured_apart_rows(
    experiment: Experiment,
    task: Task,
    network: Network,
    phase: str,
    *,
    seed: int,
    reference: Network | None = None,
    in_vivo: pd.DataFrame | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Rows of a network as it is, of all that is not measured in its test.

    Args:
        experiment: what is measured, in how many trials.
        task: whose test it is.
        network: not trained yet, or with what it learned.
        phase: in which it is.
        seed: of trials and input spikes: equal ones for all networks of a seed.
        reference: what measures that compare compare with: the intact network in the same phase. It is run
            where there are such measures.
        in_vivo: recordings that some measures compare with.
        progress: called with the number of trials that were run.
    """
    names = measured_apart(experiment, trained=phase == TRAINED)
    compared = [name for name in names if MEASURES[name].compares]
    beside = None
    if reference is not None and compared:
        beside = _measured(experiment, task, reference, compared, seed, None, in_vivo, progress)
    seen = _measured(experiment, task, network, names, seed, beside, in_vivo, progress)
    rows = records(seen, phase)
    protocols = protocols_of(experiment)
    if protocols:
        found = run_protocols(
            protocols,
            network,
            _model(experiment, network),
            draw=partial(stream, seed, "protocols"),
            levels=experiment.measure.levels,
        )
        rows += [{**row.record(), "phase": phase} for row in found]
    return rows


def _measured(
    experiment: Experiment,
    task: Task,
    network: Network,
    names: Sequence[str],
    seed: int,
    reference: Measurement | None,
    in_vivo: pd.DataFrame | None,
    progress: Progress | None,
) -> Measurement | None:
    """Measures that have seen a run of the network."""
    measurement = measurement_of(experiment, task, network, names, reference, in_vivo)
    if measurement is None:
        return None
    model = _model(experiment, network, keep_ports="currents" in measurement.needs)
    run_trials(
        model,
        task,
        measurement,
        n_trials=n_measured(experiment),
        at_once=experiment.train.batch_size,
        seed=seed,
        progress=progress or (lambda _done: None),
    )
    return measurement


def _model(experiment: Experiment, network: Network, *, keep_ports: bool = False) -> V1Network:
    """A network that nothing is learned in, where the experiment computes."""
    settings = experiment.model
    of_neuron: dict[str, Any] = dict(settings.neuron_settings)
    return V1Network(
        network,
        dt=settings.dt,
        trainable=[],
        backend=settings.backend,
        neuron=settings.neuron,
        keep_ports=keep_ports,
        sigma_V=settings.sigma_V,
        tau=settings.tau,
        **of_neuron,
    ).to(device_of(experiment.train.accelerator))


def records(measurement: Measurement | None, phase: str) -> list[dict[str, Any]]:
    """The rows as JSON values, with the phase they were measured in; of curves every point, `at` its axis."""
    if measurement is None:
        return []
    rows = [*measurement.rows(), *measurement.curves()]
    return [{**row.record(), "phase": phase} for row in rows]


def run_trials(
    model: V1Network,
    task: Task,
    measurement: Measurement,
    *,
    n_trials: int,
    at_once: int,
    seed: int,
    progress: Progress,
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
    trials = task.draw(n_trials, SPLIT, stream(seed, SPLIT, "trials"))
    noise, before = stream(seed, SPLIT, "noise"), stream(seed, SPLIT, "warm-up")
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
