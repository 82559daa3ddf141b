"""Rollouts of one network in v1builder and its peers: time, memory, cost per spike x synapse.

    python benchmarks/run.py --out results --sizes 1000 4000 17000

makes the peers' environments (in --peers, pinned versions, see `environments.py`), lets every program
that can compute a case take turns in the same minutes, and writes benchmarks.json, benchmarks.md
and benchmarks.png into --out. `workload.py` says what is computed, `roofline.py` what the roofline counts.
"""

import argparse
import json
import os
import platform
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import environments
import roofline
import table
import workload

HERE = Path(__file__).parent
FORWARD, BOTH = "forward", "forward+backward"
WARM_S = 0.1
DENSE = "dense recurrence, the library has no sparse one"
SIMPLER = "simpler cells: LIF"


@dataclass(frozen=True)
class Candidate:
    """A program to measure: which script in which environment, and what it can compute."""

    program: str
    backend: str
    script: str
    environment: str | None  # None: the interpreter that runs this script
    neuron: str = "lif"
    modes: tuple[str, ...] = (FORWARD, BOTH)
    batches: tuple[int, ...] | None = None  # None: any
    remark: str = SIMPLER
    width: float = 1.0  # of our surrogate
    dense: bool = False
    keeps_steps: bool = False  # currents of every step until the backward pass: tens of GB


CANDIDATES = (
    Candidate("v1builder fused", "fused", "ours.py", None, "glif3", remark=""),
    Candidate("v1builder fused, surrogate of width .2", "fused", "ours.py", None, "glif3", (BOTH,),
              remark="20 % of the width of the row above's surrogate", width=0.2),
    Candidate("v1builder fused, LIF", "fused", "ours.py", None,
              remark=SIMPLER + ", with alpha currents"),
    Candidate("v1builder reference", "reference", "ours.py", None, "glif3", remark=""),
    Candidate("torch.sparse", "torch.sparse", "torch_loops.py", None,
              remark=SIMPLER + "; autograd's gradient of a CSR matrix"),
    Candidate("TensorFlow V1 cell", "tensorflow", "tensorflow_v1.py", "tensorflow", "glif3",
              remark="cell of the published trainer, written anew; soft reset", keeps_steps=True),
    Candidate("TensorFlow V1 cell, bases", "tensorflow-bases", "tensorflow_v1.py", "tensorflow",
              "glif3", remark="the row above with the 4 shared synaptic bases, as published",
              keeps_steps=True),
    Candidate("NEST", "nest", "nest_forward.py", None, "glif3", (FORWARD,), (1,), remark=""),
    Candidate("NEST, LIF", "nest", "nest_forward.py", None, "lif", (FORWARD,), (1,)),
    Candidate("brian2", "brian2", "brian2_forward.py", "brian2", "lif", (FORWARD,), (1,),
              remark=SIMPLER + "; C++ standalone, OpenMP"),
    Candidate("snnTorch", "snntorch", "torch_loops.py", "snntorch",
              remark=f"{SIMPLER}; {DENSE}", dense=True),
    Candidate("norse", "norse", "torch_loops.py", "norse",
              remark=f"{SIMPLER}; {DENSE}", dense=True),
    Candidate("SpikingJelly", "spikingjelly", "torch_loops.py", "spikingjelly",
              remark=f"{SIMPLER}; {DENSE}", dense=True),
    Candidate("BrainPy", "brainpy", "brainpy_events.py", "brainpy",
              remark=SIMPLER + "; event-driven (brainevent), JAX"),
)  # fmt: skip


class Child:
    """A running program of `protocol.py`."""

    def __init__(self, python: str, script: str, case: dict, threads: int):
        environment = {
            **os.environ,
            "GOMP_SPINCOUNT": "1000",
            "PYTHONWARNINGS": "ignore",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(HERE.parent) if python == sys.executable else "",
            **dict.fromkeys(
                ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
                str(threads),
            ),
        }
        self.process = subprocess.Popen(
            [python, str(HERE / "peers" / script), json.dumps(case)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment, cwd=HERE,
        )  # fmt: skip
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.errors: list[str] = []
        for read in (self._read_output, self._read_errors):
            threading.Thread(target=read, daemon=True).start()

    def _read_output(self) -> None:
        for line in self.process.stdout or ():
            self.lines.put(line)
        self.lines.put(None)

    def _read_errors(self) -> None:
        for line in self.process.stderr or ():
            if line.strip():
                self.errors = [*self.errors[-3:], line.strip()]

    def answer(self, kind: str, limit: float) -> dict:
        """The next message of that kind.

        Raises:
            RuntimeError: the program ended, or took longer than `limit` seconds.
        """
        end = time.monotonic() + limit
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                self.process.kill()
                raise RuntimeError(f"cut: over {limit:.0f} s") from None
            if line is None:
                self.process.wait()
                last = self.errors[-1] if self.errors else ""
                raise RuntimeError(f"ended with status {self.process.returncode}: {last}")
            if line.startswith(kind + " "):
                return json.loads(line.removeprefix(kind + " "))

    def go(self, limit: float) -> dict:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.answer("RUN", limit)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def one(python: str, script: str, case: dict, limit: float) -> tuple[dict, dict]:
    """READY and one RUN of a program of its own."""
    child = Child(python, script, case, case["threads"])
    try:
        return child.answer("READY", limit), child.go(limit)
    finally:
        child.close()


def triad_gb_s(case: dict) -> float:
    ready, run = one(sys.executable, "triad.py", case, 120)
    return ready["bytes"] / run["seconds"] / 1e9


def start(member: dict, limit: float) -> None:
    """Start the program of `member`, wait until it is ready, note an error there."""
    member["child"] = Child(
        member["python"], member["script"], member["case"], member["case"]["threads"]
    )
    try:
        ready = member["child"].answer("READY", limit)
        member["result"].update(steps_run=ready["steps"], setup_s=ready["setup"])
    except RuntimeError as problem:
        member["result"]["error"] = str(problem)


def timed(child: Child, before: list[dict], limit: float) -> dict:
    """One rollout, timed, after rollouts that together take WARM_S and are not.

    A machine that has just been idle may keep all threads on one core for some 40 ms. Programs that took
    much longer `before` start at once.
    """
    slow = bool(before) and before[-1]["seconds"] > 10 * WARM_S
    spent = 0.0
    while spent < WARM_S and not slow:
        spent += child.go(limit)["seconds"]
    return child.go(limit)


def turn(member: dict, args: argparse.Namespace) -> None:
    """One measured rollout, unless the program failed or has had its share of time."""
    result = member["result"]
    if "error" in result or sum(run["seconds"] for run in result["runs"]) > args.patience:
        return
    try:
        result["runs"].append(timed(member["child"], result["runs"], args.limit))
    except (RuntimeError, OSError) as problem:
        if not result["runs"]:
            result["error"] = str(problem)


def measure_group(members: list[dict], triad: dict, args: argparse.Namespace) -> None:
    """All programs of one size, batch and mode take turns; those that fill the memory run alone."""
    apart = [m for m in members if m["apart"]]
    together = [m for m in members if not m["apart"]]
    load = [os.getloadavg()[0]]
    bandwidth = [triad_gb_s(triad) for _ in range(2)]
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda m: start(m, args.limit), together))
        for _ in range(args.repeats):
            for member in together:
                turn(member, args)
    finally:
        for member in together:
            member["child"].close()
    for member in apart:
        start(member, args.limit)
        for _ in range(args.repeats):
            turn(member, args)
        member["child"].close()
    bandwidth.append(triad_gb_s(triad))
    load.append(os.getloadavg()[0])
    for member in members:
        member["result"]["bandwidth_gb_s"] = sorted(bandwidth)[1]
        member["result"]["load"] = " to ".join(f"{x:.1f}" for x in load)


def members_of(
    cells: int, batch: int, mode: str, where: dict, args: argparse.Namespace
) -> list[dict]:
    """The programs that compute this case; those that cannot be had carry an error."""
    members = []
    for c in CANDIDATES:
        if mode not in c.modes or (c.batches and batch not in c.batches):
            continue
        if args.programs and c.backend not in args.programs:
            continue
        case = {
            "cells": cells, "fan_in": args.fan_in or workload.fan_in_of(cells), "receptors": 10,
            "batch": batch, "steps": args.steps, "dt": workload.DT, "neuron": c.neuron,
            "backend": c.backend, "mode": mode, "threads": args.threads, "width": c.width,
            "seconds": args.seconds,
        }  # fmt: skip
        result = {"program": c.program, "case": case, "runs": [], "remark": c.remark}
        home = where.get(c.environment or "", {"python": sys.executable})
        gigabytes = 4e-9 * cells * cells * (4 if mode == BOTH else 1)
        if "error" in home:
            result["error"] = f"not installed: {home['error']}"
        elif c.dense and gigabytes > args.dense_gb:
            result["error"] = f"not run: dense matrices of {gigabytes:.0f} GB"
        members.append({
            "result": result, "case": case, "python": home.get("python"), "script": c.script,
            "apart": cells > 8000 and (c.dense or (c.keeps_steps and mode == BOTH and batch > 1)),
        })  # fmt: skip
    return members


def active_shares(cells: int, args: argparse.Namespace) -> dict[str, float]:
    """Share of cells whose surrogate is not zero, by its width; from a rollout that is not timed."""
    widths = sorted({c.width for c in CANDIDATES})
    case = {
        "cells": cells, "fan_in": args.fan_in or workload.fan_in_of(cells), "receptors": 10, "batch": 1,
        "steps": args.steps, "neuron": "glif3", "backend": "fused", "mode": "activity",
        "threads": args.threads, "width": 1.0, "widths": widths, "seconds": args.seconds,
    }  # fmt: skip
    shares = {}
    for neuron in ("glif3", "lif"):
        ready, _ = one(sys.executable, "ours.py", {**case, "neuron": neuron}, args.limit)
        shares |= {f"{neuron} {width}": share for width, share in ready["active"].items()}
    return shares


def finish(members: Iterable[dict], shares: dict[str, float]) -> list[dict]:
    """Results with medians and the share of the roofline's time."""
    done = []
    for member in members:
        result = table.summary(member["result"])
        case = result["case"]
        if "median_s" in result:
            active = shares.get(f"{case['neuron']} {case['width']}")
            moved = roofline.bytes_moved(case, result["spikes"], active)
            if moved is not None:
                result["bytes"] = moved
                result["roofline"] = moved / result["bandwidth_gb_s"] / 1e9 / result["median_s"]
        done.append(result)
    return table.with_ratios(done)


def write(report: dict, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "benchmarks.json").write_text(json.dumps(report, indent=1) + "\n")
    table.write(report, out)


def describe(args: argparse.Namespace, where: dict) -> str:
    """The page's first paragraphs."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    versions = "; ".join(
        f"{name}: " + (", ".join(f"{k} {v}" for k, v in sorted(x["packages"].items()))
                       if "packages" in x else "not installed, " + x["error"])
        for name, x in where.items()
    )  # fmt: skip
    return (
        "# Benchmark: rollouts beside other programs\n\n"
        f"Written by `{' '.join(['python', 'benchmarks/run.py', *sys.argv[1:]])}` on "
        f"{time.strftime('%Y-%m-%d')}: {model}, {os.cpu_count()} cores, {args.threads} threads, Python "
        f"{platform.python_version()}. {args.steps} steps of {workload.DT:g} ms, float32, 100 Poisson "
        f"sources at 250 Hz. {versions}.\n\n"
        "All programs of a table exist at the same time and take turns, so the load of the machine meets "
        f"all of them; in every turn a rollout is timed after rollouts of {WARM_S} s that are not, and the "
        "median is of the timed rollouts, whose number is in parentheses. Compare within a table. *Times "
        "ours* is the time over that of v1builder's fused "
        "GLIF3 rollout; above 1 means slower than ours. GLIF3 cells have double-alpha synapses on 10 ports, "
        "two after-spike currents and delays of 1 to 3 ms; LIF cells have one state variable and a delay of "
        "one step, so LIF programs compute less for the same cells and synapses. *Hz* is the mean "
        "rate, which has to be alike for a comparison. *Peak MB* is the resident memory of the process "
        "with its Python and libraries. *Of the roofline* is the time that memory bandwidth (the triad, "
        "measured with each table) needs for the bytes the algorithm has to move, over the time taken; "
        "above 100 % the arrays came from the cache.\n"
    )


def plan(args: argparse.Namespace) -> list[tuple[int, int, str]]:
    """Cells, batch and mode of each table, in the order of measuring: by batch."""
    todo = [
        [(cells, batch, mode) for cells in args.sizes for mode in (FORWARD, BOTH)]
        for batch in args.batch
    ]
    todo[0] += [(cells, 1, FORWARD) for cells in args.forward_sizes]
    return [entry for entries in todo for entry in entries]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--out", type=Path, default=Path("results"))
    add("--peers", type=Path, default=Path("peers"), help="folder of the peers' environments")
    add("--sizes", type=int, nargs="+", default=[1000, 4000, 17000], help="cells")
    add("--forward-sizes", type=int, nargs="*", default=[], help="cells, forward and batch 1 only")
    add("--batch", type=int, nargs="+", default=[1, 8])
    add("--fan-in", type=int, help="synapses per cell (default 100, 200, 400 by size)")
    add("--steps", type=int, default=500)
    add("--threads", type=int, default=2)
    add("--repeats", type=int, default=5)
    add("--programs", nargs="*", help="only these backends, such as fused nest brainpy")
    add("--seconds", type=float, default=20, help="cut loops in Python to as many steps as fit")
    add("--patience", type=float, default=30, help="no further repeat of a program after this, s")
    add("--limit", type=float, default=180, help="of a single set-up or rollout, s")
    add("--dense-gb", type=float, default=6, help="largest memory of dense matrices")
    add("--minutes", type=float, default=120, help="start no further table after this")
    return parser.parse_args()


def main() -> None:
    args = parse()
    needed = {c.environment for c in CANDIDATES if not args.programs or c.backend in args.programs}
    where = {}
    for name in environments.PEERS:
        if name in needed:
            where[name] = environments.make(args.peers, name)
            print(name, where[name], flush=True)
    begin = time.monotonic()
    report: dict = {"text": describe(args, where), "peers": where, "results": [], "not_reached": []}
    shares: dict[int, dict[str, float]] = {}
    triad = {"steps": 1, "threads": args.threads}
    for cells, batch, mode in plan(args):
        label = f"{cells} cells, batch {batch}, {mode}"
        if time.monotonic() - begin > args.minutes * 60:
            report["not_reached"].append(label)
            continue
        if mode == BOTH and cells not in shares:
            shares[cells] = active_shares(cells, args)
        members = members_of(cells, batch, mode, where, args)
        measure_group([m for m in members if "error" not in m["result"]], triad, args)
        report["results"] += finish(members, shares.get(cells, {}))
        report["active"] = shares
        write(report, args.out)
        print(f"{time.monotonic() - begin:.0f} s: {label}", flush=True)
        for x in report["results"][-len(members) :]:
            print("   " + table.row(x).strip(), flush=True)
    write(report, args.out)
    print(f"wrote {args.out}/benchmarks.md")


if __name__ == "__main__":
    main()
