"""The training loop.

Every random draw comes from a stream named by the seed and the step, so a run that was interrupted and
resumed is the run that was not, and two networks trained with one seed see the same trials and noise.
A batch may be shared between processes, see `train.parallel`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from v1builder.model import V1Network
from v1builder.schema.errors import ConfigError
from v1builder.tasks import Readout, Task, Trials
from v1builder.train.checkpoint import MetricsLog, load_checkpoint, save_checkpoint, stop_after_step
from v1builder.train.losses import voltage_loss
from v1builder.train.parallel import Processes, one_process
from v1builder.train.rates import RateLoss, RateTargets
from v1builder.train.settings import TrainSettings

Progress = Callable[[int, int, dict[str, Any]], None]

#: Of what a checkpoint holds; one of another format is not resumed.
_CHECKPOINT_FORMAT: Final = 2


def stream(seed: int, *names: str | int) -> torch.Generator:
    """The random stream of `seed` with this name; equal names give equal draws, others independent ones."""
    digest = hashlib.sha256("/".join(str(part) for part in (seed, *names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class Classifier(nn.Module):
    """A network and the readout of its pools: what answers a trial."""

    def __init__(self, network: V1Network, readout: Readout):
        super().__init__()
        self.network = network
        self.readout = readout

    def forward(
        self,
        inputs: dict[str, Tensor],
        warm_up: dict[str, Tensor] | None = None,
        record_voltage: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits [batch, class], and the spikes and drive (see `Rollout`) they were read from.

        Args:
            inputs: of the trial.
            warm_up: what precedes it, without a gradient; trials start at rest when None.
            record_voltage: whether the drive is kept.
        """
        state = None if warm_up is None else self.network.settled(warm_up)
        rollout = self.network(inputs, state=state, record_voltage=record_voltage)
        return self.readout(rollout.spikes), rollout.spikes, rollout.drive


@dataclass(frozen=True)
class Evaluation:
    """Performance on held-out trials.

    Attributes:
        target: [trial] int64, class of the right answer.
        choice: [trial] int64, class that was answered.
        n_classes: number of classes.
        loss: mean cross-entropy.
        rate: [cell] Hz.
        spikes_per_trial: mean number of spikes of the whole network.
    """

    target: Tensor
    choice: Tensor
    n_classes: int
    loss: float
    rate: Tensor
    spikes_per_trial: float

    @property
    def correct(self) -> Tensor:
        """[trial] bool."""
        return self.choice == self.target

    @property
    def accuracy(self) -> float:
        """Fraction of correct trials."""
        return self.correct.float().mean().item()

    def record(self, step: int, split: str) -> dict[str, Any]:
        """The line this evaluation adds to the metrics."""
        return {
            "step": step,
            "split": split,
            "accuracy": self.accuracy,
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
) -> Evaluation:
    """Test on `n_trials` trials of a split; equal seeds give equal trials and noise."""
    processes = processes or one_process()
    trials = task.draw(n_trials, split, stream(seed, split, "trials"))
    noise, before = stream(seed, split, "noise"), stream(seed, split, "warm-up")
    device = processes.fabric.device
    choice = torch.zeros(n_trials, dtype=torch.int64, device=device)
    loss, spikes = 0.0, torch.zeros((), device=device)
    for first in range(0, n_trials, batch_size):
        batch = trials[first : first + batch_size]
        inputs, share = task.inputs(batch, noise), processes.share(len(batch))
        warm_up = task.warm_up(len(batch), before)
        if share.start == share.stop:
            continue
        target = batch.target[share].to(device)
        logits, fired, _ = classifier(
            processes.own(inputs, share), warm_up and processes.own(warm_up, share)
        )
        choice[first + share.start : first + share.stop] = logits.argmax(dim=1)
        loss += nn.functional.cross_entropy(logits, target, reduction="sum").item()
        spikes = spikes + fired.sum(dim=(0, 1))
    if spikes.ndim == 0:  # more processes than trials in a batch
        spikes = classifier.network.bias_current.new_zeros(classifier.network.n_cells)
    total = processes.total(spikes).cpu()
    return Evaluation(
        target=trials.target,
        choice=processes.total(choice).cpu(),
        n_classes=task.n_classes,
        loss=processes.totals({"loss": loss})["loss"] / n_trials,
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
    first = 0
    if resume and (saved := load_checkpoint(out, made_by)) is not None:
        classifier.load_state_dict(saved["classifier"])
        optimizer.load_state_dict(saved["optimizer"])
        if rates is not None:
            rates.load_state_dict(saved["rates"])
        first = saved["step"]
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
            state = {"step": step, "made_by": made_by, "classifier": classifier.state_dict()}
            memory = {} if rates is None else rates.state_dict()
            save_checkpoint(out, {**state, "optimizer": optimizer.state_dict(), "rates": memory})
        processes.barrier()

    record: dict[str, Any] = {}
    with stop_after_step() as stop:
        for step in range(first, settings.steps):
            if step % settings.validate_every == 0:
                record = validate(step)
            batch = draw_batch(task, settings.batch_size, seed, step)
            parts = backward(
                classifier, batch, rates, settings, processes, stream(seed, "train", "rates", step)
            )
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


def draw_batch(task: Task, n_trials: int, seed: int, step: int) -> Batch:
    """The batch of a step: the same for every network that is trained with this seed."""
    trials = task.draw(n_trials, "train", stream(seed, "train", "trials", step))
    return Batch(
        trials,
        task.inputs(trials, stream(seed, "train", "noise", step)),
        task.warm_up(n_trials, stream(seed, "train", "warm-up", step)),
    )


def backward(
    classifier: Classifier,
    batch: Batch,
    rates: RateLoss | None,
    settings: TrainSettings,
    processes: Processes,
    generator: torch.Generator,
) -> dict[str, float]:
    """Put the gradient of the loss of all trials into the parameters of every process.

    Args:
        classifier: gets the gradients.
        batch: the whole of it.
        rates: the loss of firing rates, which then remembers those of this batch; or None.
        settings: of the loss.
        processes: that share the batch.
        generator: of the loss of firing rates; the same in all processes.

    Returns:
        accuracy, loss, its parts and rate_Hz, over the whole batch.
    """
    n_trials, share = len(batch.trials), processes.share(len(batch.trials))
    part = (share.stop - share.start) / n_trials
    target = batch.trials.target[share].to(processes.fabric.device)
    logits, spikes, drive = classifier(
        processes.own(batch.inputs, share),
        batch.warm_up and processes.own(batch.warm_up, share),
        record_voltage=settings.voltage_weight > 0,
    )
    # Each is this process's share: the sum over all processes is that of the whole batch.
    losses = {"task_loss": nn.functional.cross_entropy(logits, target) * part}
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
    n_correct = int((logits.argmax(dim=1) == target).sum())
    return processes.totals(
        {
            "accuracy": n_correct / n_trials,
            "loss": loss.item(),
            **{name: value.item() for name, value in losses.items()},
            "rate_Hz": spikes.detach().mean().item() * 1000 / classifier.network.dt * part,
        }
    )
