"""Delayed match to sample: does the direction after a pause match the one before?"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from benchmarks.reproduce.classification import Batch, train_trials, v1_layer
from benchmarks.reproduce.experiment import Contrast, Experiment, Say


@dataclass(frozen=True)
class Sizes:
    """Settings of a run; the defaults are those of Masse et al. 2019."""

    cells: int = 100
    fixation_ms: int = 500
    sample_ms: int = 500
    delay_ms: int = 1000
    test_ms: int = 500
    directions: int = 8
    inputs: int = 24
    noise: float = 0.5
    batch: int = 64
    iterations: int = 1000
    test_trials: int = 1024
    learning_rate: float = 0.005


def draw_trials(n: int, size: Sizes, generator: torch.Generator) -> Batch:
    """Tuned inputs [trial, step, unit], and whether the two directions are the same.

    Half of the trials match; in the others the second direction is any other one. A unit answers to a
    direction with a von Mises curve, and noise is drawn anew every 10 ms.
    """
    match = torch.randint(0, 2, (n,), generator=generator)
    first = torch.randint(0, size.directions, (n,), generator=generator)
    other = torch.randint(1, size.directions, (n,), generator=generator)
    second = (first + torch.where(match == 1, 0, other)) % size.directions
    preferred = torch.arange(size.inputs) * (2 * math.pi / size.inputs)
    angles = torch.stack([first, second], 1) * (2 * math.pi / size.directions)
    tuned = torch.exp(2 * (torch.cos(angles[..., None] - preferred) - 1))
    lengths = torch.tensor([size.fixation_ms, size.sample_ms, size.delay_ms, size.test_ms])
    silent = torch.zeros(n, size.inputs)
    course = torch.stack([silent, tuned[:, 0], silent, tuned[:, 1]], 1)
    x = course.repeat_interleave(lengths, 1)
    noise = torch.randn(n, -(-x.shape[1] // 10), size.inputs, generator=generator)
    return x + size.noise * noise.repeat_interleave(10, 1)[:, : x.shape[1]], match


class MatchToSample(Experiment):
    """Masse et al. 2019 with V1's cells."""

    name = "match_to_sample"
    title = "Delayed match to sample, with and without short-term plasticity"
    source = "Masse et al. 2019, Nat. Neurosci. 22:1159: 90 % is the criterion"
    modes = ("static", "STP")
    sizes: ClassVar = {
        "full": Sizes(),
        "evening": Sizes(
            cells=60,
            fixation_ms=100,
            sample_ms=200,
            delay_ms=300,
            test_ms=200,
            batch=32,
            iterations=200,
            test_trials=512,
        ),
        "short": Sizes(
            cells=20,
            fixation_ms=10,
            sample_ms=40,
            delay_ms=20,
            test_ms=40,
            directions=2,
            noise=0.1,
            batch=24,
            iterations=30,
            test_trials=96,
            learning_rate=0.03,
        ),
    }
    published: ClassVar = {"STP": "> .90"}
    contrasts = (Contrast("STP", "static"),)
    notes = """GLIF3 cells of V1 that keep their signs; STP is that of V1's pairs of classes. The answer is
read from the second direction on."""

    def run(self, mode: str, seed: int, size: Sizes, say: Say) -> dict[str, Any]:
        """One network."""
        layer = v1_layer(size.inputs, size.cells, mode, seed)
        steps = size.fixation_ms + size.sample_ms + size.delay_ms + size.test_ms
        window = slice(steps - size.test_ms, steps)
        return train_trials(layer, 2, window, draw_trials, size, seed, say)
