"""Sine generation: six constants in, sines of six frequencies out."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from benchmarks.reproduce.experiment import Contrast, Experiment, Say
from benchmarks.reproduce.training import fit
from benchmarks.reproduce.winston import DT, MODES, groups, make_layer
from v1builder.layers import GLIFR


@dataclass(frozen=True)
class Sizes:
    """Settings of a run; the defaults are the published ones."""

    cells: int = 128
    steps: int = 100
    frequencies: int = 6
    lowest: float = 0.08  # 1/ms
    highest: float = 0.6
    delay_steps: int = 20
    epochs: int = 5000
    learning_rate: float = 1e-4


def sines(size: Sizes) -> tuple[Tensor, Tensor]:
    """Inputs and targets, [frequency, step, 1]: constants i/n + .25, and sin(2 pi f t) of log-spaced f."""
    n = size.frequencies
    constant = torch.arange(n) / n + 0.25
    frequency = torch.logspace(
        torch.log10(torch.tensor(size.lowest)).item(),
        torch.log10(torch.tensor(size.highest)).item(), n,
    )  # fmt: skip
    t = torch.arange(size.steps) * DT
    target = torch.sin(2 * torch.pi * frequency[:, None] * t)
    return constant[:, None, None].expand(n, size.steps, 1), target[..., None]


def train(layer: GLIFR, size: Sizes, seed: int, say: Say) -> dict[str, Any]:
    """All six at once in every epoch."""
    torch.manual_seed(seed)
    readout = nn.Linear(size.cells, 1)
    x, target = sines(size)

    def loss_of(_: int) -> Tensor:
        return (readout(layer(x)[0]) - target).square().mean()

    rates = [
        *groups(layer, size.learning_rate),
        {"params": readout.parameters(), "lr": size.learning_rate},
    ]
    losses = fit(rates, loss_of, size.epochs, say, clip=None)
    with torch.no_grad():
        mse = loss_of(0).item()
    every = max(1, size.epochs // 20)
    return {"mse": mse, "losses": [float(f"{one:.4g}") for one in losses[::every]]}


class WinstonSine(Experiment):
    """Winston et al. 2023, sine generation."""

    name = "winston_sine"
    title = "Sine generation with smooth GLIF cells"
    source = "Winston et al. 2023, Neural Comput. 35:555: mean of 10 networks"
    score = "mse"
    label = "mean squared error"
    better = "less"
    modes = MODES
    sizes: ClassVar = {
        "full": Sizes(),
        "evening": Sizes(cells=32, epochs=500, learning_rate=1e-3),
        "short": Sizes(
            cells=16, epochs=30, steps=40, delay_steps=5, frequencies=3, learning_rate=5e-3
        ),
    }
    published: ClassVar = {"homogeneous": ".0309", "learned": ".0227", "refined": ".0121"}
    contrasts = (
        Contrast("learned", "homogeneous", "-.0082"),
        Contrast("refined", "homogeneous", "-.0188"),
        Contrast("refined", "learned", "-.0106"),
    )
    notes = """Modes and constants as in the published code: `benchmarks/reproduce/winston.py`. A refined
network needs one that has learned its cells, which is trained for it: twice the time."""

    def run(self, mode: str, seed: int, size: Sizes, say: Say) -> dict[str, Any]:
        """One network."""
        learned = None
        if mode == "refined":
            learned = make_layer("learned", 1, size, seed)
            train(learned, size, seed, say)
        layer = make_layer(mode, 1, size, seed + 500 if mode == "refined" else seed, learned)
        return train(layer, size, seed, say)
