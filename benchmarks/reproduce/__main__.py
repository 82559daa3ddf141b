"""Published experiments with `v1builder.layers`, beside the published numbers.

    python -m benchmarks.reproduce store_recall --seeds 3
    python -m benchmarks.reproduce winston_sine --seeds 10 --size full --modes homogeneous refined
    python -m benchmarks.reproduce --page

Run it in the checkout. Every run (mode and seed) is a file of its own, written when it is finished; what is
there is not made again, so a command that was stopped goes on where it was. After every run
docs/reproduction.md is written anew from all files, unless they are in another folder (--out); --page does so
without a run.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from benchmarks.reproduce import page, records
from benchmarks.reproduce.experiment import Experiment
from benchmarks.reproduce.experiments import EXPERIMENTS


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.reproduce", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("experiment", nargs="*", help=f"of {', '.join(EXPERIMENTS)}")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from --first-seed on")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--modes", nargs="+", help="all of the experiment unless given")
    parser.add_argument(
        "--size", default="evening", help="full (that of the source), evening, short"
    )
    parser.add_argument("--out", type=Path, default=records.RESULTS, help="folder of the results")
    parser.add_argument("--page", action="store_true", help=f"write {page.PAGE} from the results")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    given = parser.parse_args(argv)
    for name in given.experiment:
        if name not in EXPERIMENTS:
            parser.error(f"unknown experiment '{name}'; there are {', '.join(EXPERIMENTS)}")
        known = EXPERIMENTS[name]
        if given.size not in known.sizes:
            parser.error(f"{name} has no size '{given.size}'; it has {', '.join(known.sizes)}")
        for mode in given.modes or ():
            if mode not in known.modes:
                parser.error(f"{name} has no mode '{mode}'; it has {', '.join(known.modes)}")
    if not given.experiment and not given.page:
        parser.error("name an experiment, or ask for the --page")
    return given


def run(experiment: Experiment, given: argparse.Namespace) -> None:
    """All modes of a seed, then the next seed: whatever stops it, what is there can be compared."""
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        for mode in given.modes or experiment.modes:
            head = f"{experiment.name}, {given.size}, {mode}, seed {seed}"
            begin = time.perf_counter()

            def say(text: str, head: str = head, begin: float = begin) -> None:
                print(f"{head}: {text} ({time.perf_counter() - begin:.0f} s)", flush=True)

            record = records.make(experiment, given.size, mode, seed, given.out, say)
            say(f"{experiment.label} {record['results'][experiment.score]:.4g}")
            if given.out == records.RESULTS:
                page.write(given.out)


def main(argv: list[str] | None = None) -> int:
    """Run what is asked for."""
    given = arguments(argv)
    torch.set_num_threads(given.threads)
    for name in given.experiment:
        run(EXPERIMENTS[name], given)
    if given.page:
        page.write(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
