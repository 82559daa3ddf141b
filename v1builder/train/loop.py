"""The training loop.

Every random draw comes from a stream named by the seed and the step, so a run that was interrupted and
resumed is the run that was not, and two networks trained with one seed see the same trials and noise.
A batch may be shared between processes, see `train.parallel`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from v1builder.measures import Measurement
from v1builder.model import V1Network
from v1builder.model.observation import Observer, Spikes, observe
from v1builder.model.rollout import Rollout, State
from v1builder.readout import Readout
from v1builder.schema.errors import ConfigError
from v1builder.tasks import Answer, Task, Trials
from v1builder.train.checkpoint import MetricsLog, load_checkpoint, save_checkpoint, stop_after_step
from v1builder.train.losses import voltage_loss
from v1builder.train.parallel import Processes, one_process
from v1builder.train.rates import RateLoss, RateTargets
from v1builder.train.settings import TrainSettings

Progress = Callable[[int, int, dict[str, Any]], None]

#: Of what a checkpoint holds; one of another format is not resumed.
_CHECKPOINT_FORMAT: Final = 3


def stream(seed: int, *names: str | int) -> torch.Generator:
    """The random stream of `seed` with this name; equal names give equal draws, others independent ones."""
    digest = hashlib.sha256("/".join(str(part) for part in (seed, *names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class Classifier(nn.Module):
    """A network and what reads it: what answers a trial."""

    def __init__(self, network: V1Network, readout: Readout):
        super().__init__()
        self.network = network
        self.readout = readout

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
    state: State | None = None
    for first in range(0, n_trials, batch_size):
        batch = trials[first : first + batch_size]
        inputs, share = task.inputs(batch, noise), processes.share(len(batch))
        goes_on = state is not None and len(state.U) == len(batch)
        warm_up = None if goes_on else task.warm_up(len(batch), before)
        if share.start == share.stop:
            continue
        if not goes_on:
            own = None if warm_up is None else processes.own(warm_up, share)
            state = None if own is None else classifier.network.settled(own)
        fired = Spikes()
        watching: list[Observer] = [fired]
        if measurement is not None:
            watching.append(measurement.observer(batch.condition[share]))
        state = observe(classifier.network, processes.own(inputs, share), watching, state=state)
        answers = classifier.readout(fired.spikes)
        if not len(output):
            output = answers.new_zeros(n_trials, *answers.shape[1:])
        output[first + share.start : first + share.stop] = answers
        spikes = spikes + fired.spikes.sum(dim=(0, 1))
        state = state if task.carry_state else None
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


def _optimizer(classifier: Classifier, settings: TrainSettings) -> torch.optim.Optimizer:
    return torch.optim.Adam(
        [
            {"params": list(classifier.network.parameters()), "lr": settings.learning_rate},
            {"params": list(classifier.readout.parameters()), "lr": settings.readout_learning_rate},
        ]
    )


def fit(
    classifier: Classifier,
    task: Task,
    settings: TrainSettings,
    *,
    seed: int,
    out: Path,
    targets: RateTargets | None = None,
    resume: bool = False,
    made_by: dict[str, Any] | None = None,
    processes: Processes | None = None,
    progress: Progress | None = None,
) -> None:
    """Train `classifier` in place; metrics and checkpoints go to `out`.

    Args:
        classifier: network and readout.
        task: draws trials and turns them into input spikes.
        settings: of the loop.
        seed: names the streams of trials and noise.
        out: run folder.
        targets: recorded rates; needed unless settings.rate_weight is 0.
        resume: go on from the checkpoint in `out`, if there is one.
        made_by: what the run depends on besides the settings; a checkpoint made by something else is
            refused.
        processes: that share every batch; this one alone, on the CPU, when None. Their number may
            change when a run goes on.
        progress: called after each step with (steps done, steps, last record), in the first process.

    Raises:
        KeyboardInterrupt: after the running step was finished and saved.
        ConfigError: `resume` finds a checkpoint of another experiment, or a batch has fewer trials
            than there are processes.
    """
    processes = processes or one_process()
    if settings.batch_size < processes.count:
        raise ConfigError.of(
            "there are more processes than trials in a batch",
            "train, batch_size",
            f"{processes.count} processes, {settings.batch_size} trials",
            "make batch_size larger, or start fewer processes",
        )
    if task.carry_state and processes.count > 1:
        raise ConfigError.of(
            "trials that go on in the state of those before them are not shared between processes",
            f"task {task.name}",
            f"{processes.count} processes",
            "train in one process",
        )
    out.mkdir(parents=True, exist_ok=True)
    classifier.to(processes.fabric.device)
    optimizer = _optimizer(classifier, settings)
    made_by = {
        "checkpoint": _CHECKPOINT_FORMAT,
        "seed": seed,
        "settings": settings.model_dump_json(),
        **(made_by or {}),
    }
    rates = None
    if settings.rate_weight > 0 and targets is not None:
        windows = {"evoked": task.evoked, "spontaneous": task.spontaneous}
        rates = RateLoss(targets, windows, classifier.network.dt)
    first, state = 0, None
    if resume and (saved := load_checkpoint(out, made_by)) is not None:
        classifier.load_state_dict(saved["classifier"])
        optimizer.load_state_dict(saved["optimizer"])
        if rates is not None:
            rates.load_state_dict(saved["rates"])
        first = saved["step"]
        if saved["state"] is not None:
            state = classifier.network.neuron.state(**saved["state"])
    processes.barrier()  # all have read what the first will write
    log = MetricsLog(out, keep_before=first, writes=processes.first)

    def validate(step: int) -> dict[str, Any]:
        record = evaluate(
            classifier,
            task,
            split="validation",
            n_trials=settings.validation_trials,
            batch_size=settings.batch_size,
            seed=seed,
            dt=classifier.network.dt,
            processes=processes,
        ).record(step, "validation")
        log.write(record)
        return record

    def save(step: int) -> None:
        if processes.first:
            memory = {} if rates is None else rates.state_dict()
            save_checkpoint(
                out,
                {
                    "step": step,
                    "made_by": made_by,
                    "classifier": classifier.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "rates": memory,
                    "state": state and {f.name: getattr(state, f.name) for f in fields(state)},
                },
            )
        processes.barrier()

    record: dict[str, Any] = {}
    with stop_after_step() as stop:
        for step in range(first, settings.steps):
            if step % settings.validate_every == 0:
                record = validate(step)
            batch = draw_batch(task, settings.batch_size, seed, step, warm=state is None)
            parts, after = backward(
                classifier,
                batch,
                task.answer,
                rates,
                settings,
                processes,
                stream(seed, "train", "rates", step),
                state,
            )
            state = _detached(after) if task.carry_state else None
            norm = nn.utils.clip_grad_norm_(
                classifier.parameters(), settings.gradient_clip, error_if_nonfinite=True
            )
            optimizer.step()
            optimizer.zero_grad()
            log.write({"step": step, "split": "train", **parts, "gradient_norm": float(norm)})
            stopping = processes.any(stop.is_set())
            if stopping or (step + 1) % settings.checkpoint_every == 0:
                save(step + 1)
            if progress and processes.first:
                progress(step + 1, settings.steps, record)
            if stopping:
                raise KeyboardInterrupt
        validate(settings.steps)
        save(settings.steps)
        if processes.any(stop.is_set()):
            raise KeyboardInterrupt


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


def _detached(state: State) -> State:
    """The state without the way to it."""
    return replace(state, **{f.name: getattr(state, f.name).detach() for f in fields(state)})
