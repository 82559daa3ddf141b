"""STORE-RECALL: keep one bit until it is asked for, with spike-frequency adaptation or other slow mechanisms.

A symbol lasts 200 ms. Four groups of Poisson neurons say 0, 1, STORE and RECALL; every symbol without
RECALL shows a value at random, and the network is to say at RECALL which one came with the last STORE. What
came after it is different in half of the cases, so that nothing but the value at STORE helps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.reproduce.experiment import Contrast, Experiment, Say
from benchmarks.reproduce.training import fit, window_kernel
from v1builder.layers import GLIF
from v1builder.model.surrogate import Surrogate


@dataclass(frozen=True)
class Sizes:
    """Settings of a run; the defaults are the published ones where there are such."""

    cells: int = 60
    symbols: int = 20
    symbol_ms: int = 200
    p: float = 1 / 11  # of STORE, and of RECALL
    inputs_per_group: int = 10
    rate_hz: float = 50.0
    batch: int = 128
    iterations: int = 400
    learning_rate: float = 0.01  # of weights as published, see `weight_scale`
    decay: float = 0.3
    decay_every: int = 100
    test_trials: int = 512
    tau_a_ms: float = 2000.0
    regularization: float = 0.01


@dataclass(frozen=True)
class Trials:
    """Spike trains with what is asked.

    Attributes:
        spikes: [trial, step, unit] uint8.
        recall: [trial, symbol] whether a value is asked for.
        value: [trial, symbol] the right answer there.
        delay: [trial, symbol] symbols since STORE.
    """

    spikes: Tensor
    recall: Tensor
    value: Tensor
    delay: Tensor


def draw_trials(n: int, size: Sizes, generator: torch.Generator) -> Trials:
    """Trials in which STORE and RECALL follow one another, each with probability p per symbol."""
    shape = (n, size.symbols)
    now = torch.rand(shape, generator=generator) < size.p
    shown = torch.randint(0, 2, shape, generator=generator)
    store, recall = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    value, delay = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    holds = torch.zeros(n, dtype=torch.bool)
    held, since = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long)
    for symbol in range(size.symbols):
        since = since + 1
        recall[:, symbol] = now[:, symbol] & holds
        store[:, symbol] = now[:, symbol] & ~holds
        value[:, symbol], delay[:, symbol] = held, since
        held = torch.where(store[:, symbol], shown[:, symbol], held)
        since = torch.where(store[:, symbol], 0, since)
        holds = (holds | store[:, symbol]) & ~recall[:, symbol]
    groups = torch.stack([(shown == 0) & ~recall, (shown == 1) & ~recall, store, recall], dim=2)
    active = groups.repeat_interleave(size.inputs_per_group, 2).float()
    chance = active.repeat_interleave(size.symbol_ms, 1) * (size.rate_hz / 1000)
    spikes = (torch.rand(chance.shape, generator=generator) < chance).to(torch.uint8)
    return Trials(spikes, recall, value, delay)


def integrate_and_fire(n: int, add: float = 0.0, tau_ms: float = 2000.0) -> pd.DataFrame:
    """LIF cells of tau_m 20 ms and t_ref 3 ms whose threshold grows by `add` of itself with every spike."""
    cell = {
        "C_m": 20.0, "g": 1.0, "E_L": 0.0, "V_th": 10.0, "V_reset": 0.0, "t_ref": 3.0,
        "th_spike_add": 10.0 * add, "th_spike_decay": 1 / tau_ms, "voltage_reset_fraction": 0.0,
    }  # fmt: skip
    return pd.DataFrame([cell] * n)


def weight_scale(threshold: float = 0.01) -> float:
    """What a published weight of 1 is in the units of the layer: the same jump of the voltage over threshold.

    Published, a spike adds (1 - e^(-1/20)) w to a voltage with the threshold .01; here it is a charge of e
    w ms in units of rheobase, through a membrane of 20 ms.
    """
    return 20 * -np.expm1(-1 / 20) / threshold / np.e


def make_layer(mode: str, size: Sizes, seed: int) -> GLIF:
    """The network of a mode.

    A spike of an adaptive cell adds beta (1 - e^(-dt/tau_a)) thresholds, as published. Synaptic currents are
    alpha functions of 1 ms instead of single steps. Weights start normally distributed, of the published
    size: one spike moves the voltage by 1/sqrt(sources) (1 - e^(-1/20)) / threshold .01.
    """
    threshold = {"ELIF": 0.02}.get(mode, 0.01)
    level, add, plasticity = 1, 0.0, None
    if mode in ("SFA", "ELIF"):
        beta = {"SFA": 1.0, "ELIF": -0.5}[mode]
        level, add = 2, beta * -np.expm1(-1 / size.tau_a_ms) / threshold
    elif mode in ("STP-D", "STP-F"):
        rec, fac = {"STP-D": (700.0, 20.0), "STP-F": (200.0, 500.0)}[mode]
        plasticity = {"U": 0.2, "tau_rec": rec, "tau_fac": fac}
    inputs = 4 * size.inputs_per_group
    layer = GLIF(
        inputs, size.cells, level=level, cells=integrate_and_fire(size.cells, add, size.tau_a_ms),
        input="spikes", tau_syn=1.0, plasticity=plasticity, bias=None, seed=seed,
        surrogate=Surrogate(dampening=0.3),
    )  # fmt: skip
    scale = weight_scale(threshold)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for edges in layer.network.edges.values():
            sources = edges.weight.numel() // size.cells
            edges.weight.normal_(0, scale / sources**0.5, generator=generator)
    return layer


class Reader(nn.Module):
    """Linear readout of filtered spikes (20 ms), averaged over a symbol."""

    def __init__(self, cells: int, symbol_steps: int):
        super().__init__()
        kernel = window_kernel(symbol_steps, 2 * symbol_steps, tau=20.0).view(2, symbol_steps)
        self.register_buffer("kernel", 20 * kernel)
        self.linear = nn.Linear(cells, 2)

    def forward(self, spikes: Tensor) -> Tensor:
        """[batch, symbol, 2] logits for spikes [batch, step, cell]."""
        before, here = self.kernel
        by_symbol = spikes.unflatten(1, (-1, len(here)))
        own = torch.einsum("bstn,t->bsn", by_symbol, here)
        rest = torch.einsum("bstn,t->bsn", by_symbol[:, :-1], before)
        return self.linear(own + functional.pad(rest, (0, 0, 1, 0)))


def train_and_test(
    layer: GLIF,
    size: Sizes,
    draw: Callable[[int, torch.Generator], Trials],
    seed: int,
    say: Say,
) -> dict[str, Any]:
    """Learn from new trials in every iteration, and answer others.

    Returns:
        accuracy; accuracy_by_delay, of every delay in symbols, with how many answers; rate in Hz; losses.
    """
    torch.manual_seed(seed)
    reader = Reader(size.cells, size.symbol_ms)
    generator = torch.Generator().manual_seed(seed)

    def loss_of(_: int) -> Tensor:
        trials = draw(size.batch, generator)
        spikes, _ = layer(trials.spikes)
        logits = reader(spikes)[trials.recall]
        rate = spikes.mean((0, 1))  # spikes per ms
        regular = size.regularization * (rate - 0.010).square().sum()
        return functional.cross_entropy(logits, trials.value[trials.recall]) + regular

    groups = [
        {"params": layer.parameters(), "lr": size.learning_rate * weight_scale()},
        {"params": reader.parameters(), "lr": size.learning_rate},
    ]
    losses = fit(groups, loss_of, size.iterations, say, size.decay, size.decay_every)
    correct, delays, rates = [], [], []
    generator = torch.Generator().manual_seed(10**6 + seed)
    with torch.no_grad():
        for first in range(0, size.test_trials, size.batch):
            trials = draw(min(size.batch, size.test_trials - first), generator)
            spikes, _ = layer(trials.spikes)
            answer = reader(spikes).argmax(2)
            correct.append((answer == trials.value)[trials.recall])
            delays.append(trials.delay[trials.recall])
            rates.append(spikes.mean().item() * 1000)
    right, delay = torch.cat(correct), torch.cat(delays)
    found = [int(one) for one in delay.unique()]
    return {
        "accuracy": right.float().mean().item(),
        "n_answers": len(right),
        "by_delay": {str(d): [int(right[delay == d].sum()), int((delay == d).sum())] for d in found},
        "rate_hz": float(np.mean(rates)),
        "losses": [float(f"{np.mean(part):.4g}") for part in np.array_split(losses, min(20, len(losses)))],
    }  # fmt: skip


class StoreRecall(Experiment):
    """Salaj et al. 2021, figure 2B."""

    name = "store_recall"
    title = "STORE-RECALL with slow mechanisms"
    source = "Salaj et al. 2021, eLife 10:e65459, figure 2B: mean of 10 networks"
    label = "accuracy of recall"
    curve = "symbols since STORE"
    modes = ("LIF", "SFA", "STP-D", "STP-F", "ELIF")
    sizes: ClassVar = {
        "full": Sizes(),
        "evening": Sizes(
            symbols=12, p=0.2, batch=16, iterations=250, decay_every=80, test_trials=256
        ),
        "halved": Sizes(
            symbols=12,
            symbol_ms=100,
            p=0.25,
            batch=16,
            iterations=200,
            decay_every=80,
            test_trials=256,
        ),
        "short": Sizes(symbols=6, symbol_ms=50, p=0.4, batch=16, iterations=40, test_trials=64),
    }
    published: ClassVar = {
        "LIF": "near chance (.5)",
        "SFA": "best",
        "STP-D": "second",
        "STP-F": "third",
    }
    contrasts = (
        Contrast("SFA", "LIF", "> 0"),
        Contrast("SFA", "STP-D", "> 0"),
        Contrast("STP-D", "STP-F", "> 0"),
    )

    def run(self, mode: str, seed: int, size: Sizes, say: Say) -> dict[str, Any]:
        """One network."""
        layer = make_layer(mode, size, seed)
        return train_and_test(layer, size, lambda n, g: draw_trials(n, size, g), seed, say)
