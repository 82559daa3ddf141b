"""One class per trial, read linearly from spikes in a window: the loop of all such experiments."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.reproduce.experiment import Say
from benchmarks.reproduce.training import fit
from v1builder.layers import GLIF

#: Trials and their classes: [n, step, feature], [n].
Batch = tuple[Tensor, Tensor]


def train_classifier(
    model: nn.Module,
    cells: int,
    n_classes: int,
    windows: Sequence[slice],
    train: Callable[[int], Batch],
    test: Iterable[Batch],
    iterations: int,
    learning_rate: float,
    say: Say,
    groups: Sequence[dict[str, Any]] | None = None,
    gain: float = 20.0,
    clip: float | None = 1.0,
    one_cycle: bool = False,
) -> dict[str, Any]:
    """Learn and test.

    Args:
        model: a layer that gives (output [n, step, cell], state), or a recurrent network of torch.
        cells: of the model.
        n_classes: how many.
        windows: steps whose mean output is read, of each.
        train: the batch of an iteration.
        test: batches to be tested with.
        iterations: how many batches.
        learning_rate: of the readout, and of the model unless `groups` say otherwise.
        say: progress.
        groups: the model's parameters with their learning rates.
        gain: factor on the mean output, so that a readout of torch.nn's size suits rates of some 50 Hz.
        clip: largest norm of a gradient.
        one_cycle: how the learning rate goes, see `training.fit`.

    Returns:
        accuracy, n_answers, rate (mean output per step), losses (20 means), parameters (how many are
        learned).
    """
    readout = nn.Linear(cells * len(windows), n_classes).to(next(model.parameters()).dtype)

    def answers(x: Tensor) -> tuple[Tensor, Tensor]:
        out = model(x)[0]
        means = torch.cat([out[:, window].mean(1) for window in windows], dim=1)
        return readout(gain * means), out

    def loss_of(iteration: int) -> Tensor:
        x, target = train(iteration)
        return functional.cross_entropy(answers(x)[0], target)

    groups = groups or [{"params": model.parameters(), "lr": learning_rate}]
    rates = [*groups, {"params": readout.parameters(), "lr": learning_rate}]
    losses = fit(rates, loss_of, iterations, say, clip=clip, one_cycle=one_cycle)
    right, rates = [], []
    with torch.no_grad():
        for x, target in test:
            logits, out = answers(x)
            right.append(logits.argmax(1) == target)
            rates.append(out.mean().item())
    correct = torch.cat(right)
    learned = sum(
        p.numel() for p in [*model.parameters(), *readout.parameters()] if p.requires_grad
    )
    parts = np.array_split(losses, min(20, len(losses)))
    return {
        "accuracy": correct.float().mean().item(),
        "n_answers": len(correct),
        "rate": float(np.mean(rates)),
        "losses": [float(f"{np.mean(part):.4g}") for part in parts],
        "parameters": learned,
    }


def batches(x: Tensor, target: Tensor, batch: int, seed: int) -> Callable[[int], Batch]:
    """Batches of a data set, every sample once per epoch, in a new order each."""
    generator = torch.Generator().manual_seed(seed)
    per_epoch = max(1, len(x) // batch)
    order = torch.arange(len(x))

    def draw(iteration: int) -> Batch:
        nonlocal order
        place = iteration % per_epoch
        if place == 0:
            order = torch.randperm(len(x), generator=generator)
        chosen = order[place * batch : (place + 1) * batch]
        return x[chosen], target[chosen]

    return draw


def in_parts(x: Tensor, target: Tensor, batch: int) -> list[Batch]:
    """All of a data set, for testing."""
    return list(zip(x.split(batch), target.split(batch), strict=True))


def v1_layer(inputs: int, cells: int, mode: str, seed: int) -> GLIF:
    """GLIF3 cells of V1 under Dale's law, with static synapses or with V1's short-term plasticity."""
    plasticity = "allen" if mode == "STP" else None
    return GLIF(inputs, cells, cells="allen:VISp", dale=True, plasticity=plasticity, seed=seed)


def train_trials(
    layer: GLIF, n_classes: int, window: slice, draw: Any, size: Any, seed: int, say: Say
) -> dict[str, Any]:
    """`train_classifier` on trials that are drawn anew."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    tests = torch.Generator().manual_seed(10**6 + seed)

    def of_test() -> Any:
        for first in range(0, size.test_trials, size.batch):
            yield draw(min(size.batch, size.test_trials - first), size, tests)

    return train_classifier(
        layer, size.cells, n_classes, [window], lambda _: draw(size.batch, size, generator),
        of_test(), size.iterations, size.learning_rate, say,
    )  # fmt: skip
