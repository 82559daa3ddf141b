"""Built columns of V1 in v1builder and in NEST: the same files, the same input spikes.

    python benchmarks/columns.py --out results --radii 100 200 400

builds the columns (seed 1, into --columns), lets the programs take turns, and writes columns.json and
columns.md. Every column has its 17 400 LGN units (Poisson, 8 Hz), 100 background units and double-alpha
synapses on ten ports. NEST runs forward only; it continues from the state of the run before, ours
starts from rest.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

import workload
from run import BOTH, FORWARD, Child, timed

import v1builder

PROGRAMS = (
    ("v1builder fused", "column_ours.py", "fused", FORWARD),
    ("NEST", "column_nest.py", "nest", FORWARD),
    ("v1builder fused", "column_ours.py", "fused", BOTH),
)


def measure(radius: float, column: Path, args: argparse.Namespace) -> list[dict]:
    """One result per program that can do it, for one column."""
    members = []
    for program, script, backend, mode in PROGRAMS:
        if backend == "nest" and radius > args.nest_up_to:
            continue
        case = {
            "column": str(column), "backend": backend, "mode": mode, "steps": args.steps, "batch": 1,
            "threads": args.threads, "seconds": 1e9,
        }  # fmt: skip
        child = Child(sys.executable, script, case, args.threads)
        ready = child.answer("READY", args.limit)
        members.append((child, {"program": program, "case": case, **ready, "runs": []}))
    for _ in range(args.repeats):
        for child, result in members:
            result["runs"].append(timed(child, result["runs"], args.limit))
    results = []
    for child, result in members:
        child.close()
        seconds = [run["seconds"] for run in result["runs"]]
        results.append({
            "radius": radius, **result, "median_s": statistics.median(seconds), "min_s": min(seconds),
            "max_s": max(seconds), "peak_mb": max(run["peak_mb"] for run in result["runs"]),
            "rate_hz": 1000 * result["runs"][-1]["spikes"] / result["cells"] / args.steps / workload.DT,
        })  # fmt: skip
    return results


def page(results: list[dict], args: argparse.Namespace) -> str:
    lines = [
        f"Written by `python benchmarks/columns.py {' '.join(sys.argv[1:])}` on {time.strftime('%Y-%m-%d')}, "
        f"{args.threads} threads, {args.steps} steps of {workload.DT:g} ms, batch 1, float32 "
        "(NEST: double).\n",
        "| radius um | cells | edges | program | mode | median s | range s | times ours | Hz | peak MB |",
        "|---:|---:|---:|---|---|---:|---:|---:|---:|---:|",
    ]
    ours = {
        (x["radius"], x["case"]["mode"]): x["median_s"]
        for x in results
        if x["case"]["backend"] != "nest"
    }
    for x in results:
        mode = x["case"]["mode"]
        lines.append(
            f"| {x['radius']:g} | {x['cells']} | {x['edges'] / 1e6:.2f} M | {x['program']} | {mode} "
            f"| {x['median_s']:.3g} | {x['min_s']:.3g}-{x['max_s']:.3g} ({len(x['runs'])}) "
            f"| {x['median_s'] / ours[x['radius'], mode]:.2f} | {x['rate_hz']:.2f} | {x['peak_mb']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--out", type=Path, default=Path("results"))
    add("--columns", type=Path, default=Path("columns"), help="folder of the built columns")
    add("--radii", type=float, nargs="+", default=[100, 200])
    add("--nest-up-to", type=float, default=200, help="largest radius for NEST")
    add("--steps", type=int, default=500)
    add("--threads", type=int, default=os.cpu_count())
    add("--repeats", type=int, default=7)
    add("--limit", type=float, default=600, help="of one set-up or one rollout, s")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    results: list[dict] = []
    for radius in args.radii:
        column = args.columns / f"{radius:g}"
        if not column.exists():
            v1builder.build(column, radius=radius, seed=1)
        results += measure(radius, column, args)
        (args.out / "columns.json").write_text(json.dumps(results, indent=1) + "\n")
        (args.out / "columns.md").write_text(page(results, args))
    print((args.out / "columns.md").read_text())


if __name__ == "__main__":
    main()
