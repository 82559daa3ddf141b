"""What a training step of a built column is made of: inputs, warm-up, forward and backward pass, optimiser.

    python benchmarks/step.py NETWORK [--task evidence_accumulation] [--batch 16] --out step.json
    python benchmarks/step.py NETWORK --accelerator cuda --out step.json    # parts include the way to the GPU

Every part is timed in the same steps, so that shares do not depend on what else the machine does; the table
is the median over steps. The first step compiles and is left out. Stimuli of tasks with random phases are new
in every step, so their frames are drawn and filtered anew.
"""

import argparse
import json
import statistics
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from v1builder.schema.provenance import software_versions
from v1builder.train import Experiment, prepare
from v1builder.train.parallel import one_process
from v1builder.train.run import make_classifier
from v1builder.train.streams import stream

PARTS = ("trials", "inputs", "warm-up inputs", "warm-up", "forward", "backward", "optimiser")


def steps(
    network: str, task: str, batch: int, repeats: int, accelerator: str = "cpu"
) -> dict[str, list[float]]:
    """Seconds of each part in each step."""
    processes = one_process(accelerator)
    device = processes.device
    experiment = Experiment.model_validate(
        {
            "name": "step",
            "network": {"path": network},
            "task": {"name": task},
            "seeds": [1],
            "readout": {"radius_um": "all", "pool_size": 10},
        }
    )
    subject = prepare(experiment, 1)
    classifier = make_classifier(experiment, subject, subject.network).to(device)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-3)
    task_ = subject.task
    seconds: dict[str, list[float]] = {part: [] for part in PARTS}

    @contextmanager
    def timed(part: str):
        start = time.perf_counter()
        yield
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds[part].append(time.perf_counter() - start)

    for step in range(repeats + 1):
        with timed("trials"):
            trials = task_.draw(batch, "train", stream(1, "trials", step))
        with timed("inputs"):
            inputs = task_.inputs(trials, stream(1, "noise", step))
            inputs = processes.own(inputs, slice(None))
        with timed("warm-up inputs"):
            before = task_.warm_up(batch, stream(1, "warm-up", step))
            before = None if before is None else processes.own(before, slice(None))
        with timed("warm-up"):
            state = None if before is None else classifier.network.settled(before)
        with timed("forward"):
            output, _ = classifier(inputs, state=state, record_voltage=True)
            loss = task_.answer.loss(output, trials.target.to(device))
        with timed("backward"):
            loss.backward()
        with timed("optimiser"):
            nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    return {part: values[1:] for part, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network")
    parser.add_argument("--task", default="evidence_accumulation")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    seconds = steps(
        options.network, options.task, options.batch, options.repeats, options.accelerator
    )
    median = {part: statistics.median(values) for part, values in seconds.items()}
    whole = [sum(values) for values in zip(*seconds.values(), strict=True)]
    inputs = [
        a + b + c
        for a, b, c in zip(
            seconds["trials"], seconds["inputs"], seconds["warm-up inputs"], strict=True
        )
    ]
    share = statistics.median(a / b for a, b in zip(inputs, whole, strict=True))
    where = f"{options.accelerator}, {torch.get_num_threads()} threads"
    print(f"{options.task}, {options.batch} trials, {where}")
    for part, value in median.items():
        print(f"{part:>16} {value:7.3f} s")
    print(f"{'step':>16} {statistics.median(whole):7.3f} s, of which inputs {100 * share:.0f} %")
    record = {
        "task": options.task,
        "batch": options.batch,
        "accelerator": options.accelerator,
        "peak_gpu_mb": torch.cuda.max_memory_allocated() / 2**20
        if torch.cuda.is_available()
        else None,
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "share_of_inputs": share,
        "versions": software_versions(),
    }
    options.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
