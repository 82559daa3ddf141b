"""Which of two intervals was longer?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from benchmarks.reproduce.classification import Batch, train_trials, v1_layer
from benchmarks.reproduce.experiment import Contrast, Experiment, Say


@dataclass(frozen=True)
class Sizes:
    """Settings of a run; the times are those of neurogym (Genovesio et al. 2009)."""

    cells: int = 100
    interval_ms: tuple[int, int] = (300, 600)
    delay_ms: tuple[int, int] = (800, 1500)
    decision_ms: int = 300
    noise: float = 0.1
    batch: int = 64
    iterations: int = 1000
    test_trials: int = 1024
    learning_rate: float = 0.005


def draw_trials(n: int, size: Sizes, generator: torch.Generator) -> Batch:
    """Two channels [trial, step, 2], one for each interval, and whether the second was longer (1) or not.

    All trials end with the decision, so that they begin with more or less silence. No two intervals are
    equal.
    """
    low, high = size.interval_ms
    first = torch.randint(low, high + 1, (n,), generator=generator)
    second = torch.randint(low, high, (n,), generator=generator)
    second = second + (second >= first).long()
    pause = torch.randint(size.delay_ms[0], size.delay_ms[1] + 1, (n,), generator=generator)
    steps = 2 * high + size.delay_ms[1] + size.decision_ms
    step = torch.arange(steps)
    ends = steps - size.decision_ms - torch.stack([second + pause, torch.zeros_like(second)], 1)
    begins = ends - torch.stack([first, second], 1)
    on = (step[:, None] >= begins[:, None]) & (step[:, None] < ends[:, None])
    noise = size.noise * torch.randn(n, steps, 2, generator=generator)
    return on.float() + noise, (second > first).long()


class IntervalDiscrimination(Experiment):
    """neurogym's task with V1's cells."""

    name = "interval_discrimination"
    title = "Interval discrimination, with and without short-term plasticity"
    source = "The task of Genovesio et al. 2009, as neurogym has it; no published number for such networks"
    modes = ("static", "STP")
    sizes: ClassVar = {
        "full": Sizes(),
        "evening": Sizes(
            cells=60,
            interval_ms=(100, 200),
            delay_ms=(100, 200),
            decision_ms=100,
            batch=32,
            iterations=200,
            test_trials=512,
        ),
        "short": Sizes(
            cells=20,
            interval_ms=(10, 60),
            delay_ms=(10, 20),
            decision_ms=30,
            batch=24,
            iterations=30,
            test_trials=96,
            learning_rate=0.03,
        ),
    }
    contrasts = (Contrast("STP", "static"),)
    notes = """GLIF3 cells of V1 that keep their signs; STP is that of V1's pairs of classes. Who knows only
the second interval is right in three of four trials, so that .75 is the bar for memory and not .5."""

    def run(self, mode: str, seed: int, size: Sizes, say: Say) -> dict[str, Any]:
        """One network."""
        layer = v1_layer(2, size.cells, mode, seed)
        steps = 2 * size.interval_ms[1] + size.delay_ms[1] + size.decision_ms
        window = slice(steps - size.decision_ms, steps)
        return train_trials(layer, 2, window, draw_trials, size, seed, say)
