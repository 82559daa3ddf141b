"""A recurrent layer as people train it: forward and backward by v1builder, torch or a spiking library.
library.

Inputs are numbers through a learned linear map. Libraries without sparse recurrence compute a dense one, in
which absent connections are zeros. LIF cells of the libraries have one state variable and a delay of one
step; GLIF cells have after-spike currents (level 3), refractory periods and alpha-shaped synaptic currents
besides, and no two are alike.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch
import workload
from protocol import Program, serve
from torch import Tensor, nn
from torch.nn import functional
from torch_loops import NEURONS, Neuron

FEATURES = 64


def heterogeneous(n: int) -> tuple[Neuron, list[Tensor]]:
    """snnTorch's cell with a learned time constant for every cell."""
    import snntorch

    leaky = snntorch.Leaky(
        beta=torch.linspace(0.8, 0.97, n), learn_beta=True, threshold=workload.V_TH,
        reset_mechanism="zero", reset_delay=False,
    )  # fmt: skip
    return lambda v, x: leaky(x, v), list(leaky.parameters())


def loop(case: dict) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
    """A loop over time around a neuron of a library."""
    n, density = case["cells"], case["density"]
    generator = torch.Generator().manual_seed(0)
    present = torch.rand(n, n, generator=generator) < density
    W = (2 * torch.rand(n, n, generator=generator) - 1) / (density * n) ** 0.5 * present
    W_in = (2 * torch.rand(n, FEATURES, generator=generator) - 1) / FEATURES**0.5
    learned = [W.requires_grad_(), W_in.requires_grad_()]
    if case["program"] == "snntorch-heterogeneous":
        neuron, more = heterogeneous(n)
        learned += more
    else:
        neuron = NEURONS[case["program"]]()
    scale = workload.V_TH * (1 - workload.DECAY)

    def run(x: Tensor) -> Tensor:
        z = v = x.new_zeros(len(x), n)
        emitted = []
        for t in range(x.shape[1]):
            current = functional.linear(x[:, t], W_in) + functional.linear(z, W) + 1
            z, v = neuron(v, scale * current)
            emitted.append(z)
        return torch.stack(emitted, dim=1)

    return run, learned


def module(case: dict) -> nn.Module:
    """A layer that takes all steps at once."""
    n = case["cells"]
    if case["program"] == "gru":
        return nn.GRU(FEATURES, n, batch_first=True)
    from v1builder.layers import GLIF

    recurrent = "dense" if case["density"] == 1 else case["density"]
    level = int(case["program"].removeprefix("glif"))
    return GLIF(FEATURES, n, level=level, recurrent=recurrent, backend="fused", seed=0)


def prepare(case: dict) -> Program:
    torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    if case["program"] == "gru" or case["program"].startswith("glif"):
        layer = module(case)
        run, learned = (lambda x: layer(x)[0]), list(layer.parameters())
    else:
        run, learned = loop(case)
    x = torch.randn(case["batch"], case["steps"], FEATURES)

    def once(steps: int) -> tuple[float, float]:
        begin = time.perf_counter()
        out = run(x[:, :steps])
        torch.autograd.grad((out.mean(1) - 0.01).square().mean(), learned)
        seconds = time.perf_counter() - begin
        return seconds, float(out.detach().sum())

    return Program(once, any_length=True)


if __name__ == "__main__":
    serve(prepare)
