"""LGN rates of a movie, ours beside BMTK's FilterNet: time, memory, and that both give the same rates.

    python benchmarks/lgn.py [--threads 2] [--seconds 3] [--sample 174] --out lgn.json

The 17 400 units that `v1builder build` places see a natural movie (1/f in space and time, 80 x 120 pixels)
at one frame per ms, and a drifting grating. Ours evaluates all units: the whole movie at once; streamed in
blocks, which is how a movie of any length is shown; and the grating as frames times courses. FilterNet goes
through the units one after another, so it gets an evenly spaced sample of them and its time is scaled to all
(both the measured and the scaled time are reported). Ours and FilterNet run in processes of their own, and
times are the median over the repeats with their range; "x real time" is movie duration over time, "cpu s"
what all threads together computed, which other work on the machine changes less.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

DT = 1.0  # ms
BLOCKS = (100, 400)  # frames of a streamed block


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def sample_of(n_units: int, n_sampled: int) -> np.ndarray:
    """Positions of the sampled units: evenly spaced, so every class in proportion to its size."""
    return np.arange(0, n_units, max(1, n_units // n_sampled))[:n_sampled]


def movie_of(args: argparse.Namespace) -> np.ndarray:
    from v1builder.verify.lgn import natural_movie

    return natural_movie(round(args.seconds * 1000 / DT)).astype(np.float32)


def timed(run, repeats: int, warm_up: bool) -> tuple[dict, np.ndarray]:
    """Seconds and CPU seconds of each repeat, and the last result."""
    if warm_up:
        run()
    seconds, cpu, result = [], [], np.empty(0)
    for _ in range(repeats):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        result = np.asarray(run())
        seconds.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - begin_cpu)
    return {"seconds": seconds, "cpu_s": statistics.median(cpu)}, result


def ours(args: argparse.Namespace, movie: np.ndarray) -> list[dict]:
    import torch

    torch.set_num_threads(args.threads)
    from v1builder.lgn import LGN
    from v1builder.stimuli import Grating, Shown, factored
    from v1builder.verify.lgn import lgn_units

    nodes = lgn_units(per_class=10**9)
    begin = time.perf_counter()
    lgn = LGN(nodes, dt=DT)
    setup = time.perf_counter() - begin
    frames = torch.from_numpy(movie)
    sampled = torch.from_numpy(sample_of(len(nodes), args.sample))
    n_steps = len(movie)
    grating = Grating(direction=45, spatial_frequency=0.04, temporal_frequency=4, contrast=0.8)
    shown = Shown(grating, 500 * DT, (n_steps - 500) * DT)
    drifting = factored((shown,), n_steps, lgn.raster, DT)

    def whole() -> torch.Tensor:
        return lgn.rates(frames)[:, sampled]

    def streamed(length: int) -> torch.Tensor:
        return torch.cat([block[:, sampled] for block in lgn.stream(frames.split(length))])

    ways = {
        "whole movie": whole,
        **{f"streamed, blocks of {n} ms": partial(streamed, n) for n in BLOCKS},
        "drifting grating, 2 frames": lambda: lgn.rates(drifting)[:, sampled],
    }
    rows = []
    for name, run in ways.items():
        times, rates = timed(run, args.repeats, warm_up=True)
        rows.append(
            {"software": "v1builder", "what": name, "units": len(nodes), **times,
             "setup_s": setup, "peak_gib": peak_gib()}
        )  # fmt: skip
        if "grating" not in name:
            np.save(Path(args.work) / f"{name}.npy", rates)
    return rows


def filternet(args: argparse.Namespace, movie: np.ndarray) -> list[dict]:
    from v1builder.load.network import NodePopulation
    from v1builder.verify.lgn import filternet_cells, filternet_rates, lgn_units

    nodes = lgn_units(per_class=10**9)
    at = sample_of(len(nodes), args.sample)
    attributes = {name: values[at] for name, values in nodes.attributes.items()}
    some = NodePopulation(
        "lgn", np.arange(len(at)), nodes.node_type_id[at], attributes, nodes.types
    )
    begin = time.perf_counter()
    cells = filternet_cells(some, Path(args.work))
    setup = time.perf_counter() - begin
    times, rates = timed(lambda: filternet_rates(cells, movie), args.repeats, warm_up=False)
    np.save(Path(args.work) / "filternet.npy", rates)
    return [
        {"software": "BMTK FilterNet", "what": "whole movie", "units": len(at), **times,
         "setup_s": setup, "peak_gib": peak_gib()}
    ]  # fmt: skip


def child(args: argparse.Namespace) -> None:
    rows = {"ours": ours, "filternet": filternet}[args.child](args, movie_of(args))
    print("RESULT " + json.dumps(rows))


def measure(args: argparse.Namespace, which: str) -> list[dict]:
    """Run one software in a process of its own, with the threads it is allowed."""
    threads = str(args.threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, threads), "GOMP_SPINCOUNT": "1000"}
    done = subprocess.run(
        [sys.executable, __file__, *args.passed, "--child", which, "--work", args.work],
        env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    lines = [x for x in done.stdout.splitlines() if x.startswith("RESULT ")]
    return json.loads(lines[-1].removeprefix("RESULT "))


def finished(row: dict, n_units: int, duration: float) -> dict:
    """A row with its median, scaled to all units where only some were evaluated."""
    median = statistics.median(row["seconds"])
    for_all = median * n_units / row["units"]
    return {
        **row,
        "median_s": median,
        "min_s": min(row["seconds"]),
        "max_s": max(row["seconds"]),
        "median_for_all_units_s": for_all,
        "times_real_time": duration / for_all,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="of the movie")
    parser.add_argument("--sample", type=int, default=174, help="units that FilterNet evaluates")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("lgn.json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args)
        return
    args.passed = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        args.work = work
        rows = measure(args, "ours") + measure(args, "filternet")
        rates = {path.stem: np.load(path) for path in Path(work).glob("*.npy")}
    theirs = rates.pop("filternet")
    error = {name: float(np.abs(x - theirs).max() / theirs.max()) for name, x in rates.items()}
    n_units = rows[0]["units"]
    rows = [finished(row, n_units, args.seconds) for row in rows]
    print(f"{'software':>15} {'what':>28} {'units':>6} {'median s':>9} {'range s':>15} "
          f"{'cpu s':>6} {'all units s':>11} {'x real time':>11} {'peak GiB':>8}")  # fmt: skip
    for x in rows:
        spread = f"{x['min_s']:.2f}-{x['max_s']:.2f}"
        print(f"{x['software']:>15} {x['what']:>28} {x['units']:6} {x['median_s']:9.2f} {spread:>15} "
              f"{x['cpu_s']:6.2f} {x['median_for_all_units_s']:11.2f} {x['times_real_time']:11.2f} "
              f"{x['peak_gib']:8.2f}")  # fmt: skip
    for name, value in error.items():
        print(f"largest difference from FilterNet, of its peak rate, {name}: {value:.1e}")
    machine = {"python": platform.python_version(), "cores": os.cpu_count()}
    settings = {"threads": args.threads, "seconds": args.seconds, "dt_ms": DT, "blocks": BLOCKS}
    document = {"machine": machine, "settings": settings, "results": rows, "largest_error": error}
    args.out.write_text(json.dumps(document, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
