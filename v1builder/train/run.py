"""From an experiment file and a seed to a trained, tested network."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from v1builder.load import Network
from v1builder.measures import Measurement
from v1builder.model import V1Network
from v1builder.model.device import device_of
from v1builder.readout.linear import LinearSettings
from v1builder.schema.errors import StorageError
from v1builder.schema.provenance import provenance
from v1builder.schema.records import write_record
from v1builder.schema.run_folders import run_folder
from v1builder.tasks import Task
from v1builder.train.checkpoint import CHECKPOINT, METRICS, read_metrics
from v1builder.train.evaluation import Classifier, Evaluation, evaluate
from v1builder.train.fitted_readout import fit_readout
from v1builder.train.loop import Progress, fit
from v1builder.train.measuring import (
    measured_around,
    measured_in_test,
    measurement_of,
    records,
)
from v1builder.train.metric import TRAINED
from v1builder.train.parallel import Processes, start
from v1builder.train.settings import Experiment, TrainSettings
from v1builder.train.subjects import Subject, prepare, readouts

#: Keys of an experiment, besides train, on which a run depends.
_MAKES_A_RUN: Final = {"task", "also", "model", "readout", "objective", "core_radius_um"}


def make_classifier(
    experiment: Experiment, subject: Subject, network: Network, device: torch.device | None = None
) -> Classifier:
    """The untrained classifier of a network of this subject, intact or ablated.

    Args:
        experiment: with the model and the readout.
        subject: with the tasks and the seed.
        network: of the subject.
        device: where it computes; unless given as the experiment's `train.accelerator` says.
    """
    settings = experiment.model
    of_neuron: dict[str, Any] = dict(settings.neuron_settings)
    model = V1Network(
        network,
        dt=settings.dt,
        dtype=getattr(torch, settings.dtype),
        group_by=settings.group_by,
        trainable=settings.trainable,
        surrogate=settings.surrogate.build(),
        backend=settings.backend,
        detach_reset=settings.detach_reset,
        checkpoint_steps=settings.checkpoint_steps,
        memory_budget=settings.memory_budget,
        neuron=settings.neuron,
        sigma_V=settings.sigma_V,
        tau=settings.tau,
        **of_neuron,
    )
    tasks = [subject.task, *(each.task for each in subject.also)]
    readout, *also = readouts(experiment, subject.seed, tasks, network)
    device = device or device_of(experiment.train.accelerator)
    return Classifier(model, readout, also).to(device)


def test(
    experiment: Experiment,
    subject: Subject,
    classifier: Classifier,
    processes: Processes | None = None,  # noqa: PT028  (no test of pytest's)
    measurement: Measurement | None = None,  # noqa: PT028
) -> Evaluation:
    """Test on the trials that neither training nor validation saw.

    Args:
        experiment: how many, and with which batches.
        subject: with the task and the seed.
        classifier: trained or not.
        processes: that share the trials.
        measurement: sees the trials of this process, see `measuring.measurement_of`.
    """
    return evaluate(
        classifier,
        subject.task,
        split="test",
        n_trials=experiment.train.test_trials,
        batch_size=experiment.train.batch_size,
        seed=subject.seed,
        dt=experiment.model.dt,
        processes=processes,
        measurement=measurement,
    )


def train_network(
    experiment: Experiment,
    subject: Subject,
    classifier: Classifier,
    out: Path,
    *,
    tested: bool = True,
    resume: bool = False,
    made_by: dict[str, Any] | None = None,
    processes: Processes | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a classifier of a subject in place, in all its tasks, and test it.

    Returns:
        Its scores: those of `learning`, and where it is `tested` of `score_tested`. Those of further tasks
        are under "also" and their names.
    """
    if not (resume and (out / CHECKPOINT).exists()):
        _fit_readouts(experiment, subject, classifier)
    fit(
        classifier,
        subject.task,
        experiment.train,
        seed=subject.seed,
        out=out,
        also=[each.task for each in subject.also],
        objectives=[each.objectives for each in (subject, *subject.also)],
        resume=resume,
        made_by=made_by,
        processes=processes,
        progress=progress,
    )
    scores = score_tested(experiment, subject, classifier, processes) if tested else {}
    metrics = read_metrics(out)
    scores |= learning(metrics, experiment.train, subject.task.answer.primary.name)
    for each in subject.also:
        name, primary = each.task.name, each.task.answer.primary.name
        own = scores.setdefault("also", {}).setdefault(name, {})
        own |= learning(metrics, experiment.train, primary, name)
    return scores


def _fit_readouts(experiment: Experiment, subject: Subject, classifier: Classifier) -> None:
    """Let readouts that are to begin as the best ones of the untrained network do so."""
    settings = experiment.readout
    if not isinstance(settings, LinearSettings) or not settings.fit_trials:
        return
    subjects = (subject, *subject.also)
    for each, answering in zip(subjects, classifier.by_task(), strict=True):
        fit_readout(
            answering,
            each.task,
            n_trials=settings.fit_trials,
            at_once=experiment.train.batch_size,
            seed=subject.seed,
        )


def score_tested(
    experiment: Experiment,
    subject: Subject,
    classifier: Classifier,
    processes: Processes | None = None,
) -> dict[str, Any]:
    """The scores of a test, and the rows of what was measured in it (in one process only).

    Where there are further tasks, "also" holds by their names the scores of each, its main_score and notes.
    """
    alone = processes is None or processes.count == 1
    names = measured_in_test(experiment) if alone else ()
    measurement = measurement_of(
        experiment, subject.task, subject.network, names, in_vivo=subject.reference
    )
    scores = score(test(experiment, subject, classifier, processes, measurement))
    scores["measures"] = records(measurement, TRAINED)
    if subject.also:
        scores["also"] = {}
    for each, answering in zip(subject.also, classifier.by_task()[1:], strict=True):
        own = score(test(experiment, each, answering, processes))
        scores["also"][each.task.name] = {
            **own, "main_score": _main_score(each.task, own), "notes": list(each.notes)
        }  # fmt: skip
    return scores


def _main_score(task: Task, scores: dict[str, Any]) -> dict[str, Any]:
    """Which of the scores is the task's main one."""
    main = task.answer.primary
    return {"name": main.name, "label": main.label, "value": scores[main.name]}


def score(evaluation: Evaluation) -> dict[str, Any]:
    """The numbers of a test, as data.

    Returns:
        n_trials, loss, rate_Hz, spikes_per_trial, and what the task says of the answers
        (`tasks.Answer.score`).
    """
    return {
        **evaluation.scores,
        "n_trials": len(evaluation.trials),
        "loss": evaluation.loss,
        "rate_Hz": evaluation.rate.mean().item(),
        "spikes_per_trial": evaluation.spikes_per_trial,
    }


def learning(
    metrics: list[dict[str, Any]], settings: TrainSettings, score: str, task: str | None = None
) -> dict[str, Any]:
    """Learning speed from the validations of a run.

    area_under_curve is the mean validation score over training (trapezoidal, normalised by the number
    of steps); steps_to_criterion the first validated step at or above the criterion, None when never.

    Args:
        metrics: lines of the run.
        settings: with the criterion.
        score: name of the task's main score.
        task: name of a further task; the main one unless given.
    """
    own = [m for m in metrics if m["split"] == "validation" and m.get("task") == task]
    curve = [[m["step"], m[score]] for m in own]
    pairs = itertools.pairwise(curve)
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairs)
    length = curve[-1][0] - curve[0][0]
    return {
        "learning_curve": curve,
        "area_under_curve": area / length if length else curve[-1][1],
        "steps_to_criterion": next(
            (step for step, reached in curve if reached >= settings.criterion), None
        ),
    }


def train(
    experiment: Experiment,
    out: Path | str,
    *,
    resume: bool = False,
    devices: int | None = None,
    nodes: int | None = None,
    accelerator: str | None = None,
    progress: Progress | None = None,
    subject: Subject | None = None,
) -> dict[str, Any]:
    """Train the experiment's intact network with its first seed.

    With several processes the calling script is run by all of them, see `train.parallel.start`.

    Args:
        experiment: see `load_experiment`.
        out: run folder: metrics.jsonl, checkpoint.pt, result.json.
        resume: go on from the last checkpoint.
        devices: processes per machine that share every batch.
        nodes: machines.
        accelerator: "cpu", "cuda" or "auto"; that of the experiment's [train] when None.
        progress: called with (steps done, steps, last record).
        subject: of the first seed, where it is prepared already.

    Returns:
        What result.json holds.

    Raises:
        StorageError: `out` holds another run (unless `resume`) or something else, another process trains
            there, a checkpoint is damaged, or the file system refused.
        V1BuilderError: as `prepare` and `fit`.
    """
    processes = start(devices, nodes, accelerator or experiment.train.accelerator)
    with _only_run(Path(out), resume, processes):
        prepared = subject or prepare(experiment, experiment.seeds[0])
        return _train(experiment, prepared, Path(out), resume, processes, progress)


@contextmanager
def _only_run(out: Path, resume: bool, processes: Processes) -> Iterator[None]:
    """The folder of a run, which the first of the processes keeps for itself."""
    with ExitStack() as held:
        refused = None
        if processes.first:
            try:
                held.enter_context(run_folder(out, holds=(CHECKPOINT, METRICS), goes_on=resume))
            except StorageError as error:
                refused = error
        if processes.any(refused is not None):
            raise refused or StorageError.of("the first of the processes was refused", out)
        yield


def _train(
    experiment: Experiment,
    subject: Subject,
    out: Path,
    resume: bool,
    processes: Processes,
    progress: Progress | None,
) -> dict[str, Any]:
    """What `train` does in its folder."""
    classifier = make_classifier(experiment, subject, subject.network, processes.device)
    scores = train_network(
        experiment,
        subject,
        classifier,
        out,
        resume=resume,
        made_by={
            "network": subject.hashes,
            "experiment": experiment.model_dump_json(include=_MAKES_A_RUN),
        },
        processes=processes,
        progress=progress,
    )
    if processes.count == 1:
        found = measured_around(
            experiment.computed_on(processes.device.type),
            subject.task,
            subject.network,
            classifier.network,
            seed=subject.seed,
            in_vivo=subject.reference,
        )
        scores["measures"] += found["measures"]
        scores["learned"] = found["learned"]
    result = {
        **scores,
        "main_score": _main_score(subject.task, scores),
        "seed": subject.seed,
        "notes": [*experiment.notes(), *subject.notes],
        "provenance": provenance(
            "train",
            experiment=experiment.model_dump(mode="json"),
            network=subject.hashes,
            computed_by=classifier.network.computed_by(),
        ),
    }
    if processes.first:
        write_record(out / "result.json", result)
    processes.barrier()
    return result
