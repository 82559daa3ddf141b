"""The training loop.

Every random draw comes from a stream named by the seed and the step, so a run that was interrupted and
resumed is the run that was not, and two networks trained with one seed see the same trials and noise.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from v1builder.model import V1Network
from v1builder.tasks import Readout, Task
from v1builder.train.checkpoint import MetricsLog, load_checkpoint, save_checkpoint, stop_after_step
from v1builder.train.losses import RateTargets, rate_loss, voltage_loss
from v1builder.train.settings import TrainSettings

Progress = Callable[[int, int, dict[str, Any]], None]


def stream(seed: int, *names: str | int) -> torch.Generator:
    """The random stream of `seed` with this name; equal names give equal draws, others independent ones."""
    digest = hashlib.sha256("/".join(str(part) for part in (seed, *names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class Classifier(nn.Module):
    """A network and the readout of its layer 5 pools: what answers a trial."""

    def __init__(self, network: V1Network, readout: Readout):
        super().__init__()
        self.network = network
        self.readout = readout

    def forward(
        self, inputs: dict[str, Tensor], record_voltage: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits [batch, class], and the spikes and drive (see `Rollout`) they were read from.

        Plain tensors, because Fabric does not look into frozen dataclasses.
        """
        rollout = self.network(inputs, record_voltage=record_voltage)
        return self.readout(rollout.spikes), rollout.spikes, rollout.drive


@dataclass(frozen=True)
class Evaluation:
    """Performance on held-out trials.

    Attributes:
        correct: [trial] 0/1.
        loss: mean cross-entropy.
        rate: [cell] Hz.
        spikes_per_trial: mean number of spikes of the whole network.
    """

    correct: Tensor
    loss: float
    rate: Tensor
    spikes_per_trial: float

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
    classifier: nn.Module,
    task: Task,
    *,
    split: str,
    n_trials: int,
    batch_size: int,
    seed: int,
    dt: float,
) -> Evaluation:
    """Test on `n_trials` trials of a split; equal seeds give equal trials and noise."""
    trials = task.draw(n_trials, split, stream(seed, split, "trials"))
    noise = stream(seed, split, "noise")
    correct, loss, spikes = [], 0.0, 0.0
    for first in range(0, n_trials, batch_size):
        batch = trials[first : first + batch_size]
        logits, fired, _ = classifier(task.inputs(batch, noise))
        correct.append(logits.argmax(dim=1) == batch.target)
        loss += nn.functional.cross_entropy(logits, batch.target, reduction="sum").item()
        spikes = spikes + fired.sum(dim=(0, 1))
    total = torch.as_tensor(spikes)
    return Evaluation(
        correct=torch.cat(correct),
        loss=loss / n_trials,
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
    fabric: Fabric | None = None,
    progress: Progress | None = None,
) -> None:
    """Train `classifier` in place; metrics and checkpoints go to `out`.

    Args:
        classifier: network and readout.
        task: draws trials and turns them into input spikes.
        settings: of the loop.
        seed: names the streams of trials and noise.
        out: run folder.
        targets: in vivo rates; needed unless settings.rate_weight is 0.
        resume: go on from the checkpoint in `out`, if there is one.
        made_by: what the run depends on besides the settings; a checkpoint made by something else is
            refused.
        fabric: devices and processes; one CPU process when None.
        progress: called after each step with (steps done, steps, last record).

    Raises:
        KeyboardInterrupt: after the running step was finished and saved.
        ConfigError: `resume` finds a checkpoint of another experiment.
    """
    out.mkdir(parents=True, exist_ok=True)
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    module, optimizer = fabric.setup(classifier, _optimizer(classifier, settings))
    made_by = {"seed": seed, "settings": settings.model_dump_json(), **(made_by or {})}
    first = 0
    if resume and (saved := load_checkpoint(out, made_by)) is not None:
        classifier.load_state_dict(saved["classifier"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    log = MetricsLog(out, keep_before=first)
    dt = classifier.network.dt
    if targets is not None:
        targets = targets.to(next(classifier.network.parameters()))

    def validate(step: int) -> dict[str, Any]:
        record = evaluate(
            module,
            task,
            split="validation",
            n_trials=settings.validation_trials,
            batch_size=settings.batch_size,
            seed=seed,
            dt=dt,
        ).record(step, "validation")
        log.write(record)
        return record

    def save(step: int) -> None:
        state = {"step": step, "made_by": made_by, "classifier": classifier.state_dict()}
        save_checkpoint(out, {**state, "optimizer": optimizer.state_dict()})

    record: dict[str, Any] = {}
    with stop_after_step() as stop:
        for step in range(first, settings.steps):
            if step % settings.validate_every == 0:
                record = validate(step)
            trials = task.draw(settings.batch_size, "train", stream(seed, "train", "trials", step))
            inputs = task.inputs(trials, stream(seed, "train", "noise", step))
            logits, spikes, drive = module(inputs, record_voltage=settings.voltage_weight > 0)
            task_loss = nn.functional.cross_entropy(logits, trials.target)
            loss, parts = _regularised(classifier, task_loss, spikes, drive, targets, settings)
            fabric.backward(loss)
            norm = fabric.clip_gradients(module, optimizer, max_norm=settings.gradient_clip)
            optimizer.step()
            optimizer.zero_grad()
            log.write(
                {
                    "step": step,
                    "split": "train",
                    "accuracy": (logits.argmax(dim=1) == trials.target).float().mean().item(),
                    "loss": loss.item(),
                    **parts,
                    "rate_Hz": spikes.detach().mean().item() * 1000 / dt,
                    "gradient_norm": float(norm) if norm is not None else None,
                }
            )
            if stop.is_set() or (step + 1) % settings.checkpoint_every == 0:
                save(step + 1)
            if progress:
                progress(step + 1, settings.steps, record)
            if stop.is_set():
                raise KeyboardInterrupt
        validate(settings.steps)
        save(settings.steps)


def _regularised(
    classifier: Classifier,
    task_loss: Tensor,
    spikes: Tensor,
    drive: Tensor | None,
    targets: RateTargets | None,
    settings: TrainSettings,
) -> tuple[Tensor, dict[str, float]]:
    """The whole loss and its parts, for the metrics."""
    loss = task_loss
    parts = {"task_loss": task_loss.item()}
    if settings.rate_weight > 0 and targets is not None:
        rate = rate_loss(spikes, targets, classifier.network.dt)
        parts["rate_loss"] = rate.item()
        loss = loss + settings.rate_weight * rate
    if settings.voltage_weight > 0 and drive is not None:
        voltage = voltage_loss(drive, classifier.network.threshold())
        parts["voltage_loss"] = voltage.item()
        loss = loss + settings.voltage_weight * voltage
    return loss, parts
