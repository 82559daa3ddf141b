"""How long cells and synapses with the parameters measured in V1 hold a bit.

A group of Poisson inputs says 0 or 1 for 100 ms; after a delay another one asks which it was, and the
answer is read from the spikes of these 100 ms. All inputs fire at a low rate throughout. Delays are mixed
in training and tested apart. The network is that of STORE-RECALL in size; cells are drawn from the Allen
Cell Types Database in the proportions of V1 and keep the signs of their kind; after-spike currents (GLIF
3), thresholds (GLIF 5) and short-term plasticity of the pair of classes are added one after the other. GLIF
1 with static synapses is the baseline: what recurrence alone can do. The longest
delay that is tested stands for itself or any longer one.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmarks.reproduce.experiment import Contrast, Experiment, Say
from benchmarks.reproduce.statistics import longest_delay
from benchmarks.reproduce.store_recall import Reader, integrate_and_fire
from benchmarks.reproduce.training import fit
from v1builder.layers import GLIF
from v1builder.model.surrogate import Surrogate


@dataclass(frozen=True)
class Sizes:
    """Settings of a run."""

    cells: int = 60
    delays_ms: tuple[int, ...] = (50, 100, 200, 400, 800, 1600)
    cue_ms: int = 100
    warm_up_ms: int = 300
    inputs_per_group: int = 10
    rate_hz: float = 50.0
    background_hz: float = 5.0
    batch: int = 64
    iterations: int = 400
    learning_rate: float = 0.02
    test_trials: int = 128  # per delay


def draw_trials(delays: Tensor, size: Sizes, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Spike trains [trial, step, unit] that end with the question, and the bits [trial].

    Args:
        delays: [trial] ms from the end of the bit to the question.
        size: settings.
        generator: for bits and spikes.
    """
    n, cue = len(delays), size.cue_ms
    steps = -(-(size.warm_up_ms + 2 * cue + max(size.delays_ms)) // cue) * cue
    bit = torch.randint(0, 2, (n,), generator=generator)
    step = torch.arange(steps)
    begin = steps - 2 * cue - delays[:, None]
    shown = (step >= begin) & (step < begin + cue)
    asked = (step >= steps - cue).expand(n, -1)
    groups = torch.stack([shown & (bit[:, None] == 0), shown & (bit[:, None] == 1), asked], dim=2)
    rate = torch.where(groups, size.rate_hz, size.background_hz) / 1000
    chance = rate.repeat_interleave(size.inputs_per_group, 2)
    return (torch.rand(chance.shape, generator=generator) < chance).to(torch.uint8), bit


def make_layer(mode: str, size: Sizes, seed: int) -> GLIF:
    """The network of a mode."""
    inputs = 3 * size.inputs_per_group
    surrogate = Surrogate(dampening=0.3)
    if mode == "SFA of 2 s":
        cells = integrate_and_fire(size.cells, 0.05)
        return GLIF(inputs, size.cells, level=2, cells=cells, input="spikes", dale=True,
                    seed=seed, surrogate=surrogate)  # fmt: skip
    level, _, plasticity = mode.removeprefix("GLIF").partition(" + ")
    return GLIF(
        inputs, size.cells, level=int(level), cells="allen:VISp", input="spikes", dale=True,
        plasticity="allen" if plasticity else None, seed=seed, surrogate=surrogate,
    )  # fmt: skip


class ObservedRecall(Experiment):
    """The recall of one bit over delay."""

    name = "observed_recall"
    title = "How long V1's own cells and synapses hold a bit"
    source = "New; the question of Salaj et al. 2021 with parameters of the Allen data"
    score = "hold_ms"
    label = "delay up to which recall is at least 75 %, ms"
    modes = ("GLIF1", "GLIF3", "GLIF5", "GLIF3 + STP", "GLIF5 + STP", "GLIF1 + STP", "SFA of 2 s")
    sizes: ClassVar = {
        "full": Sizes(),
        "evening": Sizes(
            delays_ms=(50, 100, 200, 400, 800), batch=24, iterations=150, test_trials=256
        ),
        "short": Sizes(
            cells=20,
            delays_ms=(20, 60),
            cue_ms=40,
            warm_up_ms=40,
            batch=16,
            iterations=15,
            test_trials=32,
        ),
    }
    contrasts = (
        Contrast("GLIF3", "GLIF1"),
        Contrast("GLIF5", "GLIF3"),
        Contrast("GLIF3 + STP", "GLIF3"),
    )
    curve = "delay, ms"
    notes = (__doc__ or "").partition("\n\n")[2]

    def run(self, mode: str, seed: int, size: Sizes, say: Say) -> dict[str, Any]:
        """One network."""
        layer = make_layer(mode, size, seed)
        torch.manual_seed(seed)
        reader = Reader(size.cells, size.cue_ms)
        generator = torch.Generator().manual_seed(seed)
        delays = torch.tensor(size.delays_ms)

        def logits(asked: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
            x, bit = draw_trials(asked, size, generator)
            spikes, _ = layer(x)
            return reader(spikes[:, -2 * size.cue_ms :])[:, -1], bit, spikes

        def loss_of(_: int) -> Tensor:
            asked = delays[torch.randint(0, len(delays), (size.batch,), generator=generator)]
            found, bit, _ = logits(asked, generator)
            return torch.nn.functional.cross_entropy(found, bit)

        groups = [{"params": [*layer.parameters(), *reader.parameters()], "lr": size.learning_rate}]
        losses = fit(groups, loss_of, size.iterations, say)
        by_delay, rates = {}, []
        generator = torch.Generator().manual_seed(10**6 + seed)
        with torch.no_grad():
            for delay in size.delays_ms:
                asked = torch.full((size.test_trials,), delay)
                found, bit, spikes = logits(asked, generator)
                by_delay[str(delay)] = [int((found.argmax(1) == bit).sum()), size.test_trials]
                rates.append(spikes.mean().item() * 1000)
        accuracy = {float(delay): right / n for delay, (right, n) in by_delay.items()}
        parts = np.array_split(losses, min(20, len(losses)))
        return {
            "hold_ms": longest_delay(accuracy),
            "accuracy": float(np.mean(list(accuracy.values()))),
            "by_delay": by_delay,
            "rate_hz": float(np.mean(rates)),
            "losses": [float(f"{np.mean(part):.4g}") for part in parts],
        }
