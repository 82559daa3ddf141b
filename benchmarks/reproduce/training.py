"""One loop for all experiments, and readouts of spikes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.reproduce.experiment import Say


def fit(
    groups: Sequence[dict[str, Any]],
    loss_of: Callable[[int], Tensor],
    iterations: int,
    say: Say,
    decay: float = 1.0,
    decay_every: int = 100,
    clip: float | None = 1.0,
    one_cycle: bool = False,
) -> list[float]:
    """Adam for a number of batches.

    Args:
        groups: what is learned, as `torch.optim.Adam` takes it: params and lr.
        loss_of: the loss of the batch of an iteration.
        iterations: how many batches.
        say: told ten times.
        decay: factor on the learning rates every `decay_every` iterations.
        decay_every: see there.
        clip: largest norm of the gradient; None for any.
        one_cycle: rates rise to those of the groups in the first third and fall to next to nothing until the
            end (Smith & Topin 2019), whatever `decay` says.

    Returns:
        The loss of every iteration.
    """
    groups = [{**group, "params": list(group["params"])} for group in groups]
    parameters = [one for group in groups for one in group["params"]]
    optimizer = torch.optim.Adam(groups)
    schedules = torch.optim.lr_scheduler
    schedule = schedules.StepLR(optimizer, decay_every, decay)
    if one_cycle:
        highest = [group["lr"] for group in groups]
        schedule = schedules.OneCycleLR(optimizer, highest, total_steps=iterations)
    losses = []
    for iteration in range(iterations):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(iteration)
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        every = max(1, iterations // 10)
        if (iteration + 1) % every == 0:
            mean = sum(losses[-every:]) / len(losses[-every:])
            say(f"{iteration + 1} of {iterations}, loss {mean:.4f}")
    return losses


def window_kernel(start: int, stop: int, tau: float, dt: float = 1.0) -> Tensor:
    """[stop] what a spike in each step adds to the mean over a window of exponentially filtered spikes.

    Args:
        start: first step of the window.
        stop: step after the last.
        tau: ms of the filter, which has the sum 1.
        dt: ms.
    """
    keep = torch.exp(torch.tensor(-dt / tau, dtype=torch.float64))
    step = torch.arange(stop, dtype=torch.float64)
    first = torch.clamp(start - step, min=0)
    last = stop - 1 - step
    kernel = (keep**first - keep ** (last + 1)) / (stop - start)
    return kernel.float()
