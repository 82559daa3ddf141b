"""The gradient of one batch, shared between the processes that run this file: EXPERIMENT OUT."""

import sys
from pathlib import Path

import torch

from v1builder.train import load_experiment, prepare, stream
from v1builder.train.loop import backward
from v1builder.train.parallel import Processes, start
from v1builder.train.run import make_classifier


def batch_gradient(path: Path | str, processes: Processes) -> dict[str, torch.Tensor]:
    """Gradient of every parameter and the metrics of the first batch of an experiment's first seed."""
    experiment = load_experiment(path)
    subject = prepare(experiment, 1)
    classifier = make_classifier(experiment, subject, subject.network)
    trials = subject.task.draw(experiment.train.batch_size, "train", stream(1, "t"))
    inputs = subject.task.inputs(trials, stream(1, "n"))
    assert subject.targets is not None
    targets = subject.targets.to(next(classifier.network.parameters()))
    parts = backward(classifier, trials, inputs, targets, experiment.train, processes)
    gradients = {k: p.grad for k, p in classifier.named_parameters() if p.grad is not None}
    return gradients | {k: torch.tensor(v, dtype=torch.float64) for k, v in parts.items()}


if __name__ == "__main__":
    there = start()
    found = batch_gradient(sys.argv[1], there)
    if there.first:
        torch.save(found, sys.argv[2])
