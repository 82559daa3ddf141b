"""How well a network can learn a task where it stands: signal and noise of its gradient, its tangent kernel.

Both are of a classifier as it is, untrained or trained, on training trials that are drawn as those of a
training are. One trial is run and differentiated at a time: memory is that of a trial with its gradient,
and of one number per trial and parameter.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from v1builder.analysis.learning import (
    gradient_of,
    gradient_signal_to_noise,
    kernel_alignment,
    tangent_kernel,
)
from v1builder.schema.errors import ConfigError
from v1builder.tasks import Classes, Task, Trials
from v1builder.train.evaluation import Classifier
from v1builder.train.lesson import draw_batch

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Signal:
    """Signal and noise of the gradient of one parameter.

    Attributes:
        ratio: |E g|^2 / E |g - E g|^2 of single trials; NaN where there is none.
        n_trials: that it rests on.
        reason: why there is none; empty where there is one.
    """

    ratio: float
    n_trials: int
    reason: str


def gradient_signals(
    classifier: Classifier,
    task: Task,
    *,
    n_trials: int = 32,
    seed: int = 1,
    progress: Progress | None = None,
) -> dict[str, Signal]:
    """Signal to noise of the gradient of the task's loss, for every parameter of the network that is learned.

    Args:
        classifier: network and readout, on any device.
        task: whose loss.
        n_trials: number of trials, each a gradient.
        seed: of the trials.
        progress: called with the number of trials done and of all.

    Raises:
        ConfigError: nothing of the network is learned.
    """
    named = _learned(classifier)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return task.answer.loss(output, target)

    gradients = _gradients(classifier, task, loss, n_trials, seed, progress)
    sizes = [parameter.numel() for parameter in named.values()]
    parts = torch.stack(list(gradients)).split(sizes, dim=1)
    return {
        name: Signal(*_reasoned(gradient_signal_to_noise(part), n_trials))
        for name, part in zip(named, parts, strict=True)
    }


def _reasoned(found: tuple[float, str], n_trials: int) -> tuple[float, int, str]:
    ratio, reason = found
    return ratio, 0 if reason else n_trials, reason


def task_kernel(
    classifier: Classifier,
    task: Task,
    *,
    n_trials: int = 32,
    seed: int = 1,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:
    """The tangent kernel of a network's answers, and that of the right ones, of the same trials.

    Answers are the mean over the windows of a trial. Kernels of one network before and after training with
    the same seed are of the same trials: `kernel_alignment` of the two says how far it has turned.

    Args:
        classifier: network and readout, on any device.
        task: whose answers are classes.
        n_trials: number of trials.
        seed: of the trials.
        progress: called with the number of derivatives done and of all.

    Returns:
        [trial, trial] each, on the CPU.

    Raises:
        ConfigError: answers are not classes, or nothing of the network is learned.
    """
    if not isinstance(task.answer, Classes):
        raise ConfigError.of(
            "a kernel is compared with that of classes, and the task asks for other answers",
            f"task {task.name}",
            type(task.answer).__name__,
            "take a task whose answers are classes",
        )
    n_classes = task.answer.n_outputs
    parts = []
    for output in range(n_classes):

        def answer(answers: Tensor, _target: Tensor, output: int = output) -> Tensor:
            return answers[..., output].mean()

        def shown(done: int, total: int, output: int = output) -> None:
            if progress:
                progress(output * total + done, n_classes * total)

        gradients = _gradients(classifier, task, answer, n_trials, seed, shown)
        parts.append(torch.stack(list(gradients)).double())
    trials = _trials(task, n_trials, seed)
    right = torch.nn.functional.one_hot(trials.target, n_classes).double().mean(dim=1)
    return tangent_kernel(parts).cpu(), right @ right.T


def task_alignment(classifier: Classifier, task: Task, **options: int) -> float:
    """Alignment of the tangent kernel with the right answers (`task_kernel`); NaN where one is constant."""
    return kernel_alignment(*task_kernel(classifier, task, **options))  # pyright: ignore[reportArgumentType]


def _learned(classifier: Classifier) -> Mapping[str, Tensor]:
    named = {
        name: parameter
        for name, parameter in classifier.network.named_parameters()
        if parameter.requires_grad
    }
    if not named:
        raise ConfigError.of(
            "nothing of the network is learned",
            "model.trainable",
            "[]",
            "name what is trained, such as '<edges>.weight'",
        )
    return named


def _trials(task: Task, n_trials: int, seed: int) -> Trials:
    return draw_batch(task, n_trials, seed, 0, warm=False).trials


def _gradients(
    classifier: Classifier,
    task: Task,
    of: Callable[[Tensor, Tensor], Tensor],
    n_trials: int,
    seed: int,
    progress: Progress | None,
) -> Iterator[Tensor]:
    """[p] for every trial, of a number of its answers and targets."""
    parameters = list(_learned(classifier).values())
    device = classifier.network.bias_current.device
    batch = draw_batch(task, n_trials, seed, 0)

    def own(inputs: dict[str, Tensor], trial: int) -> dict[str, Tensor]:
        return {name: spikes[trial : trial + 1].to(device) for name, spikes in inputs.items()}

    for trial in range(n_trials):
        warm_up = batch.warm_up and own(batch.warm_up, trial)
        output, _ = classifier(own(batch.inputs, trial), warm_up)
        target = batch.trials.target[trial : trial + 1].to(device)
        yield gradient_of(of(output, target), parameters)
        if progress:
            progress(trial + 1, n_trials)
