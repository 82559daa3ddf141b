"""Forward and backward of a recurrent layer, beside spiking libraries and torch's GRU.

    python benchmarks/layers.py --out results --peers peers

makes the libraries' environments (`environments.py`), lets all programs of a size take turns, and writes
layers.json and layers.md into --out: times over that of our LIF layer (GLIF level 1) of the same size,
measured in the same minutes.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import environments
from run import Child


@dataclass(frozen=True)
class Candidate:
    """A program to measure; `environment` None is the interpreter that runs this script."""

    label: str
    program: str
    environment: str | None = None
    sparse: bool = False  # whether it has sparse recurrence


CANDIDATES = (
    Candidate("v1builder GLIF1", "glif1", sparse=True),
    Candidate("v1builder GLIF3", "glif3", sparse=True),
    Candidate("torch GRU", "gru"),
    Candidate("snnTorch LIF", "snntorch", "snntorch"),
    Candidate(
        "snnTorch LIF, a learned time constant per cell", "snntorch-heterogeneous", "snntorch"
    ),
    Candidate("norse LIF", "norse", "norse"),
    Candidate("SpikingJelly LIF", "spikingjelly", "spikingjelly"),
)


def seconds_per_rollout(child: Child, ready: dict, steps: int, limit: float) -> tuple[float, float]:
    """Of all steps, from those that were run; and the mean output per cell and step."""
    run = child.go(limit)
    return run["seconds"] * steps / ready["steps"], run["spikes"] / ready["steps"]


def measure(
    cells: int, batch: int, density: float, where: dict, args: argparse.Namespace
) -> list[dict]:
    """All programs of one size."""
    results = []
    started = []
    for one in CANDIDATES:
        if one.program == "gru" and density < 1:
            continue
        case = {
            "program": one.program, "cells": cells, "batch": batch, "density": density,
            "steps": args.steps, "threads": args.threads, "seconds": args.seconds,
        }  # fmt: skip
        result = {"label": one.label, "sparse": one.sparse, "case": case, "runs": []}
        results.append(result)
        home = where.get(one.environment or "", {"python": sys.executable})
        if "error" in home:
            result["error"] = f"not installed: {home['error']}"
            continue
        child = Child(home["python"], "layer.py", case, args.threads)
        try:
            started.append((result, child, child.answer("READY", args.limit)))
        except RuntimeError as problem:
            result["error"] = str(problem)
            child.close()
    try:
        for _ in range(args.repeats):
            for result, child, ready in started:
                try:
                    found = seconds_per_rollout(child, ready, args.steps, args.limit)
                except (RuntimeError, OSError) as problem:
                    result["error"] = str(problem)
                    continue
                result["runs"].append(found[0])
                result["output_per_step"] = found[1] / (cells * batch)
    finally:
        for _, child, _ in started:
            child.close()
    return results


def table(groups: list[tuple[tuple[int, int, float], list[dict]]], args: argparse.Namespace) -> str:
    """Markdown: one column per size, times over those of our LIF layer."""
    lines = [
        "# Layers: forward and backward beside other programs", "",
        f"{args.steps} steps, float32, {args.threads} thread(s), {args.repeats} turns, "
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load average "
        f"{os.getloadavg()[0]:.1f}. The first row is in ms; the others are times over it, in the same turns.",
        "",
    ]  # fmt: skip
    for density in sorted({size[2] for size, _ in groups}, reverse=True):
        mine = [(size, results) for size, results in groups if size[2] == density]
        heads = [f"{cells} cells, batch {batch}" for (cells, batch, _), _ in mine]
        kind = "dense" if density == 1 else f"density {density:g}"
        lines += [f"| {kind} | {' | '.join(heads)} |", "|---" + "|---:" * len(mine) + "|"]
        for position, one in enumerate(mine[0][1]):
            cells = [_cell(results[position], results[0], position == 0) for _, results in mine]
            lines.append(f"| {one['label']} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _cell(result: dict, ours: dict, first: bool) -> str:
    if "error" in result or not result["runs"]:
        return result.get("error", "-")[:60]
    if first:
        return f"{1000 * statistics.median(result['runs']):.3g} ms"
    pairs = zip(result["runs"], ours["runs"], strict=False)
    return f"{statistics.median([a / b for a, b in pairs]):.3g}"


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--out", type=Path, required=True)
    add(
        "--peers",
        type=Path,
        default=None,
        help="folder of the libraries' environments; none without",
    )
    add("--cells", type=int, nargs="+", default=[128, 512, 2048])
    add("--batch", type=int, nargs="+", default=[1, 32, 256])
    add("--density", type=float, nargs="+", default=[1.0, 0.1])
    add("--steps", type=int, default=100)
    add("--repeats", type=int, default=5)
    add("--threads", type=int, default=1)
    add("--seconds", type=float, default=2.0, help="of a turn; longer rollouts are cut and scaled")
    add("--limit", type=float, default=600.0)
    args = parser.parse_args()
    names = sorted({one.environment for one in CANDIDATES if one.environment})
    where: dict[str, dict] = {
        name: environments.make(args.peers, name) if args.peers else {"error": "--peers not given"}
        for name in names
    }
    args.out.mkdir(parents=True, exist_ok=True)
    groups = []
    for density in args.density:
        for cells in args.cells:
            for batch in args.batch:
                size = (cells, batch, density)
                groups.append((size, measure(cells, batch, density, where, args)))
                report = {"made_with": where, "groups": groups}
                (args.out / "layers.json").write_text(json.dumps(report, indent=1))
                (args.out / "layers.md").write_text(table(groups, args))
                print(f"{cells} cells, batch {batch}, density {density:g}", flush=True)


if __name__ == "__main__":
    main()
