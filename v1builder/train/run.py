"""From an experiment file and a seed to a trained, tested network."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from v1builder.lgn import LGN
from v1builder.load import Network, load_network
from v1builder.model import V1Network
from v1builder.schema.files import hash_folder, write_json
from v1builder.schema.names import LGN as LGN_POPULATION
from v1builder.schema.provenance import provenance
from v1builder.tasks import Readout, Task, make_task
from v1builder.train.checkpoint import read_metrics
from v1builder.train.loop import Classifier, Evaluation, Progress, evaluate, fit
from v1builder.train.losses import RateTargets, rate_targets, read_reference
from v1builder.train.parallel import Accelerator, Processes, start
from v1builder.train.settings import Experiment, TrainSettings


@dataclass(frozen=True)
class Subject:
    """What all networks of one seed have in common.

    Attributes:
        seed: names network (where the path holds {seed}), readout pools, trials and noise.
        network: as built.
        task: on the network's LGN.
        targets: in vivo rates, or None when rates are not regularised.
        hashes: SHA-256 of every file of the network.
    """

    seed: int
    network: Network
    task: Task
    targets: RateTargets | None
    hashes: dict[str, str]


def prepare(experiment: Experiment, seed: int) -> Subject:
    """Load the network and the task of one seed."""
    folder = experiment.network.path.format(seed=seed)
    network = load_network(folder)
    model = experiment.model
    # In a small column half of the LGN's units project nowhere and need not be evaluated.
    projecting = [e.source_index for e in network.edges.values() if e.source == LGN_POPULATION]
    active = np.unique(np.concatenate(projecting)).astype(np.int64)
    lgn = LGN(network.nodes[LGN_POPULATION], dt=model.dt, active=active)
    targets = (
        rate_targets(network, read_reference(folder)) if experiment.train.rate_weight > 0 else None
    )
    return Subject(
        seed, network, make_task(experiment.task, lgn, dt=model.dt), targets, hash_folder(folder)
    )


def make_classifier(experiment: Experiment, subject: Subject, network: Network) -> Classifier:
    """The untrained classifier of a network of this subject, intact or ablated."""
    settings = experiment.model
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
    )
    readout = Readout(
        network,
        n_classes=subject.task.n_classes,
        response=subject.task.response,
        pool_size=experiment.readout.pool_size,
        radius_um=experiment.readout.radius_um,
        seed=subject.seed,
    )
    return Classifier(model, readout)


def test(
    experiment: Experiment,
    subject: Subject,
    classifier: Classifier,
    processes: Processes | None = None,  # noqa: PT028  (no test of pytest's)
) -> Evaluation:
    """Test on the trials that neither training nor validation saw."""
    return evaluate(
        classifier,
        subject.task,
        split="test",
        n_trials=experiment.train.test_trials,
        batch_size=experiment.train.batch_size,
        seed=subject.seed,
        dt=experiment.model.dt,
        processes=processes,
    )


def train_network(
    experiment: Experiment,
    subject: Subject,
    network: Network,
    out: Path,
    *,
    resume: bool = False,
    made_by: dict[str, Any] | None = None,
    processes: Processes | None = None,
    progress: Progress | None = None,
) -> tuple[Classifier, dict[str, Any]]:
    """Train one network of a subject and test it.

    Returns:
        The trained classifier and its scores: accuracy, n_trials, n_correct, loss, rate_Hz,
        spikes_per_trial, learning_curve, area_under_curve, steps_to_criterion (None: not reached).
    """
    classifier = make_classifier(experiment, subject, network)
    fit(
        classifier,
        subject.task,
        experiment.train,
        seed=subject.seed,
        out=out,
        targets=subject.targets,
        resume=resume,
        made_by=made_by,
        processes=processes,
        progress=progress,
    )
    return classifier, {
        **score(test(experiment, subject, classifier, processes)),
        **learning(read_metrics(out), experiment.train),
    }


def score(evaluation: Evaluation) -> dict[str, Any]:
    """The numbers of a test, as data."""
    return {
        "accuracy": evaluation.accuracy,
        "n_trials": len(evaluation.correct),
        "n_correct": int(evaluation.correct.sum()),
        "loss": evaluation.loss,
        "rate_Hz": evaluation.rate.mean().item(),
        "spikes_per_trial": evaluation.spikes_per_trial,
    }


def learning(metrics: list[dict[str, Any]], settings: TrainSettings) -> dict[str, Any]:
    """Learning speed from the validations of a run.

    area_under_curve is the mean validation accuracy over training (trapezoidal, normalised by the number
    of steps); steps_to_criterion the first validated step at or above the criterion, None when never.
    """
    curve = [[m["step"], m["accuracy"]] for m in metrics if m["split"] == "validation"]
    pairs = itertools.pairwise(curve)
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairs)
    length = curve[-1][0] - curve[0][0]
    return {
        "learning_curve": curve,
        "area_under_curve": area / length if length else curve[-1][1],
        "steps_to_criterion": next(
            (s for s, accuracy in curve if accuracy >= settings.criterion), None
        ),
    }


def train(
    experiment: Experiment,
    out: Path | str,
    *,
    resume: bool = False,
    devices: int | None = None,
    nodes: int | None = None,
    accelerator: Accelerator | str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train the experiment's intact network with its first seed.

    With several processes the calling script is run by all of them, see `train.parallel.start`.

    Args:
        experiment: see `load_experiment`.
        out: run folder: metrics.jsonl, checkpoint.pt, result.json.
        resume: go on from the last checkpoint.
        devices: processes per machine that share every batch.
        nodes: machines.
        accelerator: "cpu" or "cuda".
        progress: called with (steps done, steps, last record).

    Returns:
        What result.json holds.
    """
    out = Path(out)
    processes = start(devices, nodes, accelerator)
    subject = prepare(experiment, experiment.seeds[0])
    _, scores = train_network(
        experiment,
        subject,
        subject.network,
        out,
        resume=resume,
        made_by={"network": subject.hashes},
        processes=processes,
        progress=progress,
    )
    result = {
        **scores,
        "seed": subject.seed,
        "provenance": provenance(
            "train", experiment=experiment.model_dump(mode="json"), network=subject.hashes
        ),
    }
    if processes.first:
        write_json(out / "result.json", result)
    processes.barrier()
    return result
