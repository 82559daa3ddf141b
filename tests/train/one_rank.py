"""The gradient of one batch, shared between the processes that run this file: EXPERIMENT OUT."""

import sys
from pathlib import Path

import torch

from v1builder.train import load_experiment, prepare
from v1builder.train.lesson import backward, draw_batch
from v1builder.train.parallel import Processes, start
from v1builder.train.run import make_classifier


def batch_gradient(path: Path | str, processes: Processes) -> dict[str, torch.Tensor]:
    """Gradient of every parameter and the metrics of the first batch of an experiment's first seed."""
    experiment = load_experiment(path)
    subject = prepare(experiment, 1)
    classifier = make_classifier(experiment, subject, subject.network)
    batch = draw_batch(subject.task, experiment.train.batch_size, 1, 0)
    assert batch.warm_up is not None
    terms = subject.objectives.terms()
    parts, _ = backward(classifier, batch, subject.task.answer, terms, processes, seed=1, step=0)
    rates = next(term.objective for term in terms if term.settings.kind == "rates")
    gradients = {k: p.grad for k, p in classifier.named_parameters() if p.grad is not None}
    memory = {k: v["total"] for k, v in rates.state_dict().items()}
    return gradients | memory | {k: torch.tensor(v, dtype=torch.float64) for k, v in parts.items()}


if __name__ == "__main__":
    there = start()
    found = batch_gradient(sys.argv[1], there)
    if there.first:
        torch.save(found, sys.argv[2])
