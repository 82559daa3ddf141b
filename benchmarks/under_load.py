"""What a training step costs beside busy processes, as a ratio of its idle time, all in one run.

    python benchmarks/under_load.py NETWORK --out under_load.json
    python benchmarks/under_load.py NETWORK --beside 0 1 3 --ways library "torch first"

A step is what `benchmarks/step.py` times. It runs in a process of each way to come to it: `command line` (as
`v1builder train`), `library` (`import v1builder` first) and `torch first` (torch is there before v1builder),
and, for comparison, `as torch waits` (no setting at all). Beside it run as many processes that do nothing but
count. Rounds of all numbers of them follow each other, so that what else the machine does is in all of them;
the load before the first is in the record.

A fair share on c cores beside k busy processes, with a thread per core, is (c + k) / c of the idle time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WAYS = {
    "command line": "from v1builder.schema.threads import wait_briefly; wait_briefly(); import torch",
    "library": "import v1builder; import torch",
    "torch first": "import torch; torch.ones(1_000_000).exp(); import v1builder",
    "as torch waits": "import os; os.environ['GOMP_SPINCOUNT'] = '300000'; import torch, v1builder",
}
STEPS = """
import json, sys
sys.path.insert(0, {folder!r})
from step import steps
print(json.dumps(True), flush=True)
for line in sys.stdin:
    print(json.dumps(steps({network!r}, {task!r}, {batch}, int(line))), flush=True)
"""
PARTS = {
    "inputs": ("trials", "inputs", "warm-up inputs"),
    "network": ("warm-up", "forward", "backward", "optimiser"),
}


class Stepping:
    """A process that does training steps when told to."""

    def __init__(self, way: str, network: str, task: str, batch: int):
        folder = str(Path(__file__).parent.resolve())
        code = STEPS.format(folder=folder, network=network, task=task, batch=batch)
        environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT",)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", WAYS[way] + code],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith(("{", "true")):
                return json.loads(line)
        raise SystemExit("the process with the steps has ended")

    def do(self, n: int) -> dict[str, list[float]]:
        """Seconds of each part of n steps."""
        assert self._process.stdin is not None
        print(n, file=self._process.stdin, flush=True)
        return self._answer()

    def end(self) -> None:
        """Let it go."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def beside(k: int) -> list[subprocess.Popen]:
    """k processes that keep a core busy each."""
    count = "while True: pass"
    return [subprocess.Popen([sys.executable, "-c", count]) for _ in range(k)]


def measure(options: argparse.Namespace, way: str) -> dict[str, Any]:
    """Seconds of a step, by number of busy processes."""
    stepping = Stepping(way, options.network, options.task, options.batch)
    stepping.do(1)  # compiles
    found: dict[int, list[dict[str, list[float]]]] = {k: [] for k in options.beside}
    for _ in range(options.rounds):
        for k in options.beside:
            busy = beside(k)
            time.sleep(0.2)
            try:
                found[k].append(stepping.do(options.steps))
            finally:
                for process in busy:
                    process.kill()
                    process.wait()
    stepping.end()
    seconds = {k: _medians(rounds) for k, rounds in found.items()}
    idle = seconds[min(seconds)]
    for each in seconds.values():
        each["ratio"] = each["step"] / idle["step"]
    return {"way": way, "beside": seconds}


def _medians(rounds: list[dict[str, list[float]]]) -> dict[str, float]:
    parts = {
        name: [
            sum(of_step) for one in rounds for of_step in zip(*(one[p] for p in of), strict=True)
        ]
        for name, of in PARTS.items()
    }
    medians = {name: statistics.median(values) for name, values in parts.items()}
    whole = [sum(values) for values in zip(*parts.values(), strict=True)]
    return medians | {"step": statistics.median(whole)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network")
    parser.add_argument("--task", default="evidence_accumulation")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--beside", type=int, nargs="+", default=[0, 1, 3])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--steps", type=int, default=3, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    print(f"{cores} cores, load {load:.1f} before the first step")
    print(f"{'':>14} {'busy':>4} {'inputs':>8} {'network':>8} {'step':>8} {'ratio':>6} {'fair':>5}")
    results = []
    for way in options.ways:
        results.append(measure(options, way))
        for k, of in results[-1]["beside"].items():
            times = " ".join(f"{of[name]:8.3f}" for name in (*PARTS, "step"))
            print(
                f"{way:>14} {k:4} {times} {of['ratio']:6.2f} {(cores + k) / cores:5.2f}", flush=True
            )
    record = {"cores": cores, "load": load, "task": options.task, "batch": options.batch}
    options.out.write_text(json.dumps(record | {"results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
