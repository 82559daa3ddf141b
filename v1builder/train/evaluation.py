"""What answers trials, and how well it does on held-out ones."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from v1builder.measures import Measurement
from v1builder.model import V1Network
from v1builder.model.observation import EverySpike, Observer, observe
from v1builder.model.rollout import Rollout, State
from v1builder.readout import Readout
from v1builder.tasks import Task, Trials
from v1builder.train.parallel import Processes, one_process
from v1builder.train.streams import stream

ObserverT = TypeVar("ObserverT", bound=Observer)


class Classifier(nn.Module):
    """A network and what reads it: what answers a trial.

    Attributes:
        network: the network.
        readout: of the task; the main one where there are several.
        also: readouts of further tasks of the same network.
    """

    def __init__(self, network: V1Network, readout: Readout, also: Sequence[Readout] = ()):
        super().__init__()
        self.network = network
        self.readout = readout
        self.also = nn.ModuleList(also)

    def by_task(self) -> "list[Classifier]":
        """The same network with the readout of each task alone, the main one first."""
        return [Classifier(self.network, readout) for readout in self._readouts()]

    def load_readouts(self, other: "Classifier") -> None:
        """Read as `other` does, in all tasks."""
        for own, its in zip(self._readouts(), other._readouts(), strict=True):
            own.load_state_dict(its.state_dict())

    def _readouts(self) -> list[Readout]:
        return [self.readout, *self.also]  # pyright: ignore[reportReturnType]

    def forward(
        self,
        inputs: dict[str, Tensor],
        warm_up: dict[str, Tensor] | None = None,
        record_voltage: bool = False,
        state: State | None = None,
    ) -> tuple[Tensor, Rollout]:
        """Answers [trial, window, output], and the rollout they were read from.

        Args:
            inputs: of the trial.
            warm_up: what precedes it, without a gradient; trials start at rest when None.
            record_voltage: whether the drive is kept.
            state: where trials start, in place of a warm-up.
        """
        if state is None and warm_up is not None:
            state = self.network.settled(warm_up)
        rollout = self.network(inputs, state=state, record_voltage=record_voltage)
        return self.readout(rollout.spikes), rollout


@dataclass(frozen=True)
class Evaluation:
    """Performance on held-out trials.

    Attributes:
        trials: what was shown and asked.
        output: [trial, window, output] answers.
        task: which asked.
        loss: mean over trials.
        rate: [cell] Hz.
        spikes_per_trial: mean number of spikes of the whole network.
    """

    trials: Trials
    output: Tensor
    task: Task
    loss: float
    rate: Tensor
    spikes_per_trial: float

    @cached_property
    def scores(self) -> dict[str, Any]:
        """What results say of the answers, see `tasks.Answer.score` and `tasks.Task.describe`."""
        return {
            **self.task.answer.score(self.output, self.trials.target),
            **self.task.describe(self.output, self.trials),
        }

    def record(self, step: int, split: str) -> dict[str, Any]:
        """The line this evaluation adds to the metrics."""
        return {
            "step": step,
            "split": split,
            **{score.name: self.scores[score.name] for score in self.task.answer.scores},
            "loss": self.loss,
            "rate_Hz": self.rate.mean().item(),
            "spikes_per_trial": self.spikes_per_trial,
        }


def watched_trials(
    network: V1Network,
    task: Task,
    trials: Trials,
    *,
    at_once: int,
    noise: torch.Generator,
    before: torch.Generator,
    watching: Callable[[Trials], Sequence[ObserverT]],
) -> Iterator[tuple[Trials, dict[str, Tensor], Sequence[ObserverT]]]:
    """Run trials batch by batch in this process, after a warm-up or where those before them stopped.

    Args:
        network: that is watched.
        task: of the trials.
        trials: all of them.
        at_once: trials of a batch; where the task carries the state, rows of trials that go on side by side.
        noise: stream of the inputs.
        before: stream of the warm-ups.
        watching: observers of a batch.

    Yields:
        Every batch once it was run, its inputs, and those that watched it.
    """
    for rows, inputs, observers in watched_rows(
        network, task, trials, at_once=at_once, noise=noise, before=before, watching=watching
    ):
        yield trials[rows], inputs, observers


def watched_rows(
    network: V1Network,
    task: Task,
    trials: Trials,
    *,
    at_once: int,
    noise: torch.Generator,
    before: torch.Generator,
    watching: Callable[[Trials], Sequence[ObserverT]],
    processes: Processes | None = None,
) -> Iterator[tuple[slice, dict[str, Tensor], Sequence[ObserverT]]]:
    """As `watched_trials`, by process: each runs its share of every batch.

    All draw the inputs of all trials, so that streams are the same in every process.

    Args:
        network: that is watched.
        task: of the trials.
        trials: all of them.
        at_once: trials of a batch, of all processes together.
        noise: stream of the inputs.
        before: stream of the warm-ups.
        watching: observers of this process's trials of a batch.
        processes: that share every batch; this one alone when None.

    Yields:
        Which of the trials were run here, their inputs, and those that watched them.
    """

    def own(spikes: dict[str, Tensor], share: slice) -> dict[str, Tensor]:
        return spikes if processes is None else processes.own(spikes, share)

    state: State | None = None
    carried = 0  # trials of the batch whose state goes on, in all processes
    for first in range(0, len(trials), at_once):
        batch = trials[first : first + at_once]
        n = len(batch)
        share = slice(0, n) if processes is None else processes.share(n)
        inputs = task.inputs(batch, noise)
        goes_on = carried == n
        warm_up = None if goes_on else task.warm_up(n, before)
        carried = n if task.carry_state else 0
        if share.start == share.stop:
            continue
        if not goes_on:
            state = None if warm_up is None else network.settled(own(warm_up, share))
        rows = slice(first + share.start, first + share.stop)
        observers = watching(trials[rows])
        inputs = own(inputs, share)
        after = observe(network, inputs, observers, state=state)
        state = after if task.carry_state else None
        yield rows, inputs, observers


@torch.no_grad()
def evaluate(
    classifier: Classifier,
    task: Task,
    *,
    split: str,
    n_trials: int,
    batch_size: int,
    seed: int,
    dt: float,
    processes: Processes | None = None,
    measurement: Measurement | None = None,
) -> Evaluation:
    """Test on `n_trials` trials of a split; equal seeds give equal trials and noise.

    Args:
        classifier: network and readout.
        task: draws trials and turns them into input spikes.
        split: "train", "validation" or "test".
        n_trials: number of trials.
        batch_size: trials at once.
        seed: names the streams of trials and noise.
        dt: ms.
        processes: that share every batch; this one alone when None.
        measurement: sees the trials of this process.
    """
    processes = processes or one_process()
    trials = task.draw(n_trials, split, stream(seed, split, "trials"))
    noise, before = stream(seed, split, "noise"), stream(seed, split, "warm-up")
    like = classifier.network.bias_current
    output, spikes = like.new_zeros(0), like.new_zeros(classifier.network.n_cells)

    def watching(own: Trials) -> list[Observer]:
        seen = [] if measurement is None else [measurement.observer(own.condition)]
        return [EverySpike(), *seen]

    for rows, _, (fired, *_) in watched_rows(
        classifier.network,
        task,
        trials,
        at_once=batch_size,
        noise=noise,
        before=before,
        watching=watching,
        processes=processes,
    ):
        assert isinstance(fired, EverySpike)
        answers = classifier.readout(fired.spikes)
        if not len(output):
            output = answers.new_zeros(n_trials, *answers.shape[1:])
        output[rows] = answers
        spikes = spikes + fired.spikes.sum(dim=(0, 1))
    if not len(output):  # more processes than trials in a batch
        n_answers = trials.target.shape[1]
        output = like.new_zeros(n_trials, n_answers, task.answer.n_outputs)
    output, total = processes.total(output).cpu(), processes.total(spikes).cpu()
    return Evaluation(
        trials=trials,
        output=output,
        task=task,
        loss=task.answer.loss(output, trials.target).item(),
        rate=total / (n_trials * task.n_steps * dt / 1000),
        spikes_per_trial=total.sum().item() / n_trials,
    )
