"""A built column in v1builder: forward, or forward with the gradient of every weight."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch
import workload
from protocol import Program, serve

import v1builder


def prepare(case: dict) -> Program:
    torch.set_num_threads(case["threads"])
    backward = case["mode"] == "forward+backward"
    network = v1builder.load(
        case["column"], dt=workload.DT, trainable=None if backward else [], backend=case["backend"]
    )
    inputs = {
        name: torch.from_numpy(spikes)
        for name, spikes in workload.column_inputs(network.input_sizes, case["steps"]).items()
    }
    inputs = {name: spikes[None].repeat(case["batch"], 1, 1) for name, spikes in inputs.items()}

    def once(steps: int) -> tuple[float, float]:
        given = {name: spikes[:, :steps] for name, spikes in inputs.items()}
        begin = time.perf_counter()
        with torch.set_grad_enabled(backward):
            spikes = network(given).spikes
        if backward:
            (spikes.mean(dim=1) - 0.01).square().mean().backward()
            network.zero_grad()
        return time.perf_counter() - begin, float(spikes.detach().sum())

    return Program(once, extra={"cells": network.n_cells, "edges": network.n_edges()})


if __name__ == "__main__":
    serve(prepare)
