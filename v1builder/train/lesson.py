"""One task of a training: its batches, the gradient of a batch, and what is kept from one to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from v1builder.model.rollout import State
from v1builder.tasks import Answer, Task, Trials
from v1builder.train.evaluation import Classifier
from v1builder.train.losses import voltage_loss
from v1builder.train.parallel import Processes
from v1builder.train.rates import RateLoss, RateTargets
from v1builder.train.settings import TrainSettings
from v1builder.train.streams import stream


@dataclass(frozen=True)
class Batch:
    """What a step of training is made of.

    Attributes:
        trials: targets.
        inputs: spikes of the trials.
        warm_up: spikes of what precedes them, or None.
    """

    trials: Trials
    inputs: dict[str, Tensor]
    warm_up: dict[str, Tensor] | None


def draw_batch(task: Task, n_trials: int, seed: int, step: int, warm: bool = True) -> Batch:
    """The batch of a step: the same for every network that is trained with this seed.

    Args:
        task: to draw from.
        n_trials: of the batch.
        seed: of the training.
        step: of the optimiser.
        warm: whether trials need a warm-up; not those that go on where others stopped.
    """
    trials = task.draw(n_trials, "train", stream(seed, "train", "trials", step))
    return Batch(
        trials,
        task.inputs(trials, stream(seed, "train", "noise", step)),
        task.warm_up(n_trials, stream(seed, "train", "warm-up", step)) if warm else None,
    )


def backward(
    classifier: Classifier,
    batch: Batch,
    answer: Answer,
    rates: RateLoss | None,
    settings: TrainSettings,
    processes: Processes,
    generator: torch.Generator,
    state: State | None = None,
) -> tuple[dict[str, float], State]:
    """Put the gradient of the loss of all trials into the parameters of every process.

    Args:
        classifier: gets the gradients.
        batch: the whole of it.
        answer: what kind of answers the task asks for.
        rates: the loss of firing rates, which then remembers those of this batch; or None.
        settings: of the loss.
        processes: that share the batch.
        generator: of the loss of firing rates; the same in all processes.
        state: where trials start, in place of the warm-up.

    Returns:
        The main score, loss, its parts and rate_Hz, over the whole batch; and the state after the trials.
    """
    n_trials, share = len(batch.trials), processes.share(len(batch.trials))
    part = (share.stop - share.start) / n_trials
    target = batch.trials.target[share].to(processes.fabric.device)
    output, rollout = classifier(
        processes.own(batch.inputs, share),
        batch.warm_up and processes.own(batch.warm_up, share),
        record_voltage=settings.voltage_weight > 0,
        state=state,
    )
    spikes, drive = rollout.spikes, rollout.drive
    # Each is this process's share: the sum over all processes is that of the whole batch.
    losses = {"task_loss": answer.loss(output, target) * part}
    loss = losses["task_loss"]
    if rates is not None:
        counts = {
            name: processes.summed(spikes[:, window].sum(dim=(0, 1)))
            for name, window in rates.windows.items()
        }
        losses["rate_loss"] = rates(counts, n_trials, generator) / processes.count
        loss = loss + settings.rate_weight * losses["rate_loss"]
    if settings.voltage_weight > 0 and drive is not None:
        losses["voltage_loss"] = voltage_loss(drive, classifier.network.threshold()) * part
        loss = loss + settings.voltage_weight * losses["voltage_loss"]
    processes.fabric.backward(loss)
    processes.sum_gradients(classifier.parameters())
    name = answer.primary.name
    score = answer.score(output.detach().cpu(), target.cpu())[name]
    totals = processes.totals(
        {
            name: float("nan") if score is None else score * part,
            "loss": loss.item(),
            **{name: value.item() for name, value in losses.items()},
            "rate_Hz": spikes.detach().mean().item() * 1000 / classifier.network.dt * part,
        }
    )
    return totals, rollout.state


class Lesson:
    """What a training keeps of one task.

    Attributes:
        classifier: the network with the readout of this task alone.
        task: draws trials.
        mark: what lines of the metrics have besides; nothing for the main task.
    """

    def __init__(
        self,
        classifier: Classifier,
        task: Task,
        targets: RateTargets | None,
        mark: Mapping[str, str],
    ):
        """Begin a lesson.

        Args:
            classifier: see the attributes.
            task: likewise.
            targets: recorded rates that those in its trials are drawn to; None where they are not.
            mark: see the attributes.
        """
        self.classifier, self.task, self.mark = classifier, task, mark
        self._state: State | None = None
        self._rates: RateLoss | None = None
        if targets is not None:
            windows = {"evoked": task.evoked, "spontaneous": task.spontaneous}
            self._rates = RateLoss(targets, windows, classifier.network.dt)

    @property
    def at_start(self) -> bool:
        """Whether its next trials need a warm-up, since they go on from none."""
        return self._state is None

    def learn(
        self,
        batch: Batch,
        settings: TrainSettings,
        processes: Processes,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Put the gradient of a batch into the parameters, see `backward`."""
        parts, after = backward(
            self.classifier,
            batch,
            self.task.answer,
            self._rates,
            settings,
            processes,
            generator,
            self._state,
        )
        self._state = after.detach() if self.task.carry_state else None
        return parts

    def state_dict(self) -> dict[str, Any]:
        """What the next batch needs to know of those before it, for a checkpoint."""
        state = self._state
        return {
            "rates": {} if self._rates is None else self._rates.state_dict(),
            "state": state and {f.name: getattr(state, f.name) for f in fields(state)},
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        if self._rates is not None:
            self._rates.load_state_dict(saved["rates"])
        if saved["state"] is not None:
            network = self.classifier.network
            device = network.bias_current.device
            values = {name: value.to(device) for name, value in saved["state"].items()}
            self._state = network.neuron.state(**values)
