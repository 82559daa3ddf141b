"""LIF rollouts as a loop in torch around a neuron of snnTorch, norse or SpikingJelly, or of our own.

The three libraries have no sparse recurrent connection: their recurrence is a dense matrix (as in
snnTorch's RLeaky and norse's recurrent cells), and its gradient is dense too. `torch_sparse` keeps the
matrix in torch's CSR format instead; autograd's backward for it is torch's own.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch
import workload
from protocol import Program, serve
from torch import Tensor
from torch.nn import functional

#: Voltage and input to spikes and voltage after the reset, [b, n] each.
Neuron = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def snntorch_neuron() -> Neuron:
    import snntorch

    leaky = snntorch.Leaky(
        beta=workload.DECAY, threshold=workload.V_TH, reset_mechanism="zero", reset_delay=False
    )
    return lambda v, x: leaky(x, v)


def norse_neuron() -> Neuron:
    from norse.torch.functional.lif_box import (
        LIFBoxFeedForwardState,
        LIFBoxParameters,
        lif_box_feed_forward_step,
    )

    p = LIFBoxParameters(
        tau_mem_inv=torch.tensor(1 / workload.TAU_M),  # 1/ms
        v_th=torch.tensor(workload.V_TH),
    )
    per_mV = workload.TAU_M / workload.DT

    def neuron(v: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        z, state = lif_box_feed_forward_step(
            x * per_mV, LIFBoxFeedForwardState(v=v), p, dt=workload.DT
        )
        return z, state.v

    return neuron


def spikingjelly_neuron() -> Neuron:
    from spikingjelly.activation_based import neuron as sj

    cell = sj.LIFNode(
        tau=workload.TAU_M / workload.DT, decay_input=False, v_threshold=workload.V_TH, v_reset=0.0
    )

    def neuron(v: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        cell.v = v
        return cell(x), cell.v

    return neuron


class _Spike(torch.autograd.Function):
    """A step with a triangular surrogate of height .5, as in the other programs of our own."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad_outputs[0] * 0.5 * (1 - x.abs()).clamp(min=0)


def own_neuron() -> Neuron:
    def neuron(v: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        v = v * workload.DECAY + x
        z = _Spike.apply(v / workload.V_TH - 1)
        return z, v * (1 - z)  # pyright: ignore[reportOperatorIssue, reportReturnType]

    return neuron


NEURONS = {
    "snntorch": snntorch_neuron,
    "norse": norse_neuron,
    "spikingjelly": spikingjelly_neuron,
    "torch.sparse": own_neuron,
}


def prepare(case: dict) -> Program:
    torch.set_num_threads(case["threads"])
    n, b = case["cells"], case["batch"]
    backward = case["mode"] == "forward+backward"
    data = workload.lif(n, case["fan_in"])
    drive = (data["drive_source"], data["drive_target"], data["drive_weight"])
    W_in = torch.from_numpy(workload.dense(*drive, (n, workload.N_BACKGROUND)))
    W_in.requires_grad_(backward)
    if case["backend"] == "torch.sparse":
        edges = torch.stack([torch.from_numpy(data[k]) for k in ("target", "source")])
        values = torch.from_numpy(data["weight"]).float()
        W = torch.sparse_coo_tensor(edges, values, (n, n)).coalesce().to_sparse_csr()
    else:
        W = torch.from_numpy(workload.dense(data["source"], data["target"], data["weight"], (n, n)))
    W.requires_grad_(backward)
    del data
    spikes_in = torch.from_numpy(workload.background(b, case["steps"])).float()
    neuron = NEURONS[case["backend"]]()

    def recurrent(z: Tensor) -> Tensor:
        return functional.linear(z, W) if W.layout == torch.strided else (W @ z.T).T

    def once(steps: int) -> tuple[float, float]:
        begin = time.perf_counter()
        with torch.set_grad_enabled(backward):
            z = v = torch.zeros(b, n)
            emitted = []
            for t in range(steps):
                z, v = neuron(v, functional.linear(spikes_in[:, t], W_in) + recurrent(z))
                emitted.append(z)
            spikes = torch.stack(emitted, dim=1)
            if backward:
                loss = (spikes.mean(dim=1) - 0.01).square().mean()
                torch.autograd.grad(loss, [W, W_in])
        seconds = time.perf_counter() - begin
        return seconds, float(spikes.detach().sum())

    return Program(once, any_length=True)


if __name__ == "__main__":
    serve(prepare)
