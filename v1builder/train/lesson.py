"""One task of a training: its batches, the gradient of a batch, and what is kept from one to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from v1builder.model.rollout import State
from v1builder.objectives import Seen
from v1builder.objectives.terms import Objectives, Term
from v1builder.tasks import Answer, Task, Trials
from v1builder.train.evaluation import Classifier
from v1builder.train.parallel import Processes
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
    terms: Sequence[Term],
    processes: Processes,
    *,
    seed: int,
    step: int,
    state: State | None = None,
) -> tuple[dict[str, float], State]:
    """Put the gradient of the loss of all trials into the parameters of every process.

    Args:
        classifier: gets the gradients.
        batch: the whole of it.
        answer: what kind of answers the task asks for.
        terms: what is minimised besides; objectives may remember the batch.
        processes: that share the batch.
        seed: of the training; names the random streams of objectives, the same in all processes.
        step: of the optimiser.
        state: where trials start, in place of the warm-up.

    Returns:
        The main score, loss, its parts and rate_Hz, over the whole batch; and the state after the trials.
    """
    n_trials, share = len(batch.trials), processes.share(len(batch.trials))
    part = (share.stop - share.start) / n_trials
    target = batch.trials.target[share].to(processes.device)
    output, rollout = classifier(
        processes.own(batch.inputs, share),
        batch.warm_up and processes.own(batch.warm_up, share),
        record_voltage=any(term.objective.needs_drive for term in terms),
        state=state,
    )
    spikes, network = rollout.spikes, classifier.network
    # Each is this process's share: the sum over all processes is that of the whole batch.
    losses = {"task_loss": answer.loss(output, target) * part}
    loss = losses["task_loss"]
    for term in terms:
        weight = term.settings.weight_at(step)
        with torch.set_grad_enabled(weight > 0):
            value = term.objective(
                Seen(
                    spikes=spikes,
                    drive=rollout.drive,
                    condition=batch.trials.condition[share],
                    threshold=network.threshold,
                    weights=lambda name: network.edges[name](),
                    n_trials=n_trials,
                    generator=stream(seed, "train", term.settings.kind, step),
                    part=part,
                    processes=processes.count,
                    summed=processes.summed,
                )
            )
        losses[term.objective.name] = value
        if weight > 0:
            loss = loss + weight * value
    loss.backward()
    processes.sum_gradients(classifier.parameters())
    name = answer.primary.name
    score = answer.score(output.detach().cpu(), target.cpu())[name]
    totals = processes.totals(
        {
            name: float("nan") if score is None else score * part,
            "loss": loss.item(),
            **{name: value.item() for name, value in losses.items()},
            "rate_Hz": spikes.detach().mean().item() * 1000 / network.dt * part,
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
        objectives: Objectives | None,
        mark: Mapping[str, str],
    ):
        """Begin a lesson.

        Args:
            classifier: see the attributes.
            task: likewise.
            objectives: what is minimised besides the task; None for nothing.
            mark: see the attributes.
        """
        self.classifier, self.task, self.mark = classifier, task, mark
        self._state: State | None = None
        self._terms = [] if objectives is None else objectives.terms()

    @property
    def at_start(self) -> bool:
        """Whether its next trials need a warm-up, since they go on from none."""
        return self._state is None

    def learn(
        self, batch: Batch, processes: Processes, *, seed: int, step: int
    ) -> dict[str, float]:
        """Put the gradient of a batch into the parameters, see `backward`."""
        parts, after = backward(
            self.classifier,
            batch,
            self.task.answer,
            self._terms,
            processes,
            seed=seed,
            step=step,
            state=self._state,
        )
        self._state = after.detach() if self.task.carry_state else None
        return parts

    def state_dict(self) -> dict[str, Any]:
        """What the next batch needs to know of those before it, for a checkpoint."""
        state = self._state
        return {
            "objectives": {t.objective.name: t.objective.state_dict() for t in self._terms},
            "state": state and {f.name: getattr(state, f.name) for f in fields(state)},
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for term in self._terms:
            term.objective.load_state_dict(saved["objectives"][term.objective.name])
        if saved["state"] is not None:
            network = self.classifier.network
            device = network.bias_current.device
            values = {name: value.to(device) for name, value in saved["state"].items()}
            self._state = network.neuron.state(**values)
