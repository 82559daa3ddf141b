"""Seconds per step of a training on this machine: EXPERIMENT OUT [cpu | cuda]."""

import itertools
import sys
import time
from pathlib import Path

import torch

from v1builder.train import load_experiment, train
from v1builder.train.checkpoint import read_metrics


def main(experiment: str, out: str, accelerator: str = "cuda") -> None:
    """Train for the few steps of the experiment and say how long the later ones took."""
    began: list[float] = []
    train(
        load_experiment(experiment),
        out,
        accelerator=accelerator,
        progress=lambda *_: began.append(time.perf_counter()),
    )
    taken = [b - a for a, b in itertools.pairwise(began)]  # the first one compiles
    print(f"seconds per step: {sum(taken) / len(taken):.3f}")
    if accelerator == "cuda":
        print(f"GPU memory: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    steps = [m for m in read_metrics(Path(out)) if m["split"] == "train"]
    for name in ("loss", "rate_loss", "osi_loss", "dsi_loss", "synchrony_loss", "weights_loss"):
        print(name, *(f"{step.get(name, float('nan')):.3g}" for step in steps))


if __name__ == "__main__":
    main(*sys.argv[1:])
