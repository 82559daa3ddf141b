"""Time and memory of a rollout: backends 'reference' and 'fused', and NEST's forward run, on one network.

    python benchmarks/rollout.py                       # table, and rollout.json in --out
    python benchmarks/rollout.py --cells 1000 --batch 1 --repeats 7
    python benchmarks/rollout.py --plastic 4 --backends fused    # recurrent edges from 4 sites per cell

Every figure comes from its own process (so that its peak memory is its own), after one warm-up run that
also compiles. The network: GLIF3 cells, 80 % excitatory, random targets, lognormal weights, delays of
1 to 3 ms, receptor by the class of the source as in the V1 model; 100 Poisson sources drive every cell
through 4 synapses. Time is the median over the repeats, and their range.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

DT = 1.0  # ms
N_BACKGROUND = 100
BACKGROUND_RATE = 250.0  # Hz, of each background source
BACKGROUND_SYNAPSES = 4  # per cell


def network(n_cells: int, fan_in: int, n_receptors: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters and edges as arrays; the same for every peer."""
    rng = np.random.default_rng(seed)
    uniform = rng.uniform
    n_edges = n_cells * fan_in
    source = rng.integers(0, n_cells, n_edges)
    inhibitory = np.arange(n_cells) >= 0.8 * n_cells
    # mean 1, sigma 1; inhibition balances excitation fourfold; the sum is independent of fan_in
    weight = rng.lognormal(-0.5, 1.0, n_edges) * 300 / fan_in * np.where(inhibitory[source], -6, 1)
    n_drive = n_cells * BACKGROUND_SYNAPSES
    shape = (n_cells, n_receptors)
    return {
        "C_m": uniform(50, 150, n_cells),
        "g": uniform(3, 8, n_cells),
        "V_th": uniform(15, 25, n_cells),
        "V_reset": np.zeros(n_cells),
        "t_ref": uniform(2, 5, n_cells),
        "asc_amps": uniform(-30, 5, (n_cells, 2)),
        "asc_decay": np.tile([0.003, 0.1], (n_cells, 1)),
        "asc_r": np.ones((n_cells, 2)),
        "tau_syn_fast": uniform(1.5, 4, shape),
        "tau_syn_slow": uniform(4, 8, shape),
        "amp_slow": uniform(0.2, 0.6, shape),
        "source": source,
        "target": np.repeat(np.arange(n_cells), fan_in),
        "receptor": source * n_receptors // n_cells,
        "delay": rng.integers(1, 4, n_edges),
        "weight": weight,
        "drive_source": rng.integers(0, N_BACKGROUND, n_drive),
        "drive_target": np.repeat(np.arange(n_cells), BACKGROUND_SYNAPSES),
        "drive_weight": rng.lognormal(-0.1, 0.4, n_drive) * 9,
    }


def background(n_batch: int, n_steps: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((n_batch, n_steps, N_BACKGROUND)) < BACKGROUND_RATE * DT / 1000


def run_torch(case: dict) -> dict:
    import torch

    torch.set_num_threads(case["threads"])
    from v1builder.model.backends import get_backend
    from v1builder.model.neurons import glif
    from v1builder.model.plasticity import coefficients
    from v1builder.model.rollout import Projection
    from v1builder.model.surrogate import Surrogate

    dtype, device = torch.float32, case.get("device", "cpu")
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    n, r, b, t = case["cells"], case["receptors"], case["batch"], case["steps"]
    data = network(n, case["fan_in"], r)
    tensor = {k: torch.from_numpy(v).to(device) for k, v in data.items() if v.dtype == float}
    names = [k for k in glif.GlifParameters.__dataclass_fields__ if k in data]
    parameters = glif.GlifParameters(**{k: tensor[k].to(dtype) for k in names})
    propagators = glif.propagators(parameters, DT)

    def projection(name, n_source, source, target, receptor, delay):
        ints = [
            torch.as_tensor(x).to(device, torch.int32) for x in (source, target, receptor, delay)
        ]
        return Projection(name, n_source, *ints)

    n_sites = n * case["plastic"]
    if n_sites:  # the edges of a cell, over its sites in turn
        data["source"] = n + data["source"] * case["plastic"] + data["target"] % case["plastic"]

    n_drive = len(data["drive_source"])
    last = torch.full((n_drive,), r - 1)
    recurrent = projection(None, n, data["source"], data["target"], data["receptor"], data["delay"])
    site_source = torch.arange(n_sites, dtype=torch.int32, device=device) // max(case["plastic"], 1)
    plasticity = None
    if n_sites:
        values = (torch.full((n_sites,), v, dtype=dtype, device=device) for v in (0.4, 150.0, 30.0))
        plasticity = coefficients(*values, DT)
    projections = [
        replace(recurrent, site_source=site_source),
        projection(
            "bkg",
            N_BACKGROUND,
            data["drive_source"],
            data["drive_target"],
            last,
            torch.ones(n_drive),
        ),
    ]
    backward = case["mode"] == "forward+backward"
    weights = [tensor[k].to(dtype).requires_grad_(backward) for k in ("weight", "drive_weight")]
    inputs = {"bkg": torch.from_numpy(background(b, t)).to(device)}

    def zeros(*shape):
        return torch.zeros(shape, dtype=dtype, device=device)

    of_cells = {k: zeros(b, n) for k in ("U", "current", "th_spike", "th_voltage")}
    of_ports = {f"y{i}_{k}": zeros(b, n, r) for i in (1, 2) for k in ("fast", "slow")}
    state = glif.GlifState(
        **of_cells, **of_ports, asc=zeros(b, n, 2), refractory=zeros(b, n).int(),
        pending=zeros(3, b, n, r), u=zeros(b, n_sites), x=1 + zeros(b, n_sites),
    )  # fmt: skip
    rollout = get_backend(case["backend"])
    surrogate = Surrogate("triangular", 0.5, case["width"])

    def run(steps: int, record_voltage: bool = False):
        return rollout(
            propagators, projections, weights, inputs, None, state, steps,
            plasticity=plasticity, surrogate=surrogate, detach_reset=False,
            record_voltage=record_voltage,
        )  # fmt: skip

    def once() -> tuple[float, float]:
        begin = time.perf_counter()
        out = run(t)
        if backward:
            loss = (out.spikes.mean(dim=1) - 0.01).square().mean()
            torch.autograd.grad(loss, weights)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin, float(out.spikes.detach().sum())

    begin = time.perf_counter()
    _, n_spikes = once()
    warm_up = time.perf_counter() - begin
    seconds = [once()[0] for _ in range(case["repeats"])]
    result = {"seconds": seconds, "warm_up": warm_up, "spikes": n_spikes}
    if device == "cuda":
        result["peak_gpu_mb"] = torch.cuda.max_memory_allocated() / 2**20
    if case.get("activity"):  # share of cells and steps that pass a gradient
        with torch.no_grad():
            drive = run(t, record_voltage=True).drive
            near = ((drive - propagators.V_th) / propagators.V_th).abs() < case["width"]
        result["active"] = float(near.float().mean())
    return result


def run_nest(case: dict) -> dict:
    import nest

    n, r, t = case["cells"], case["receptors"], case["steps"]
    data = network(n, case["fan_in"], r)
    nest.set_verbosity("M_ERROR")
    nest.ResetKernel()
    nest.resolution = DT
    nest.local_num_threads = case["threads"]
    cells = nest.Create("glif_psc_double_alpha", n)
    arrays = ("asc_amps", "asc_decay", "asc_r", "tau_syn_fast", "tau_syn_slow", "amp_slow")
    for i, cell in enumerate(cells):
        cell.set(
            E_L=0.0, V_m=0.0, spike_dependent_threshold=False, after_spike_currents=True,
            adapting_threshold=False, asc_init=[0.0, 0.0],
            **{k: float(data[k][i]) for k in ("C_m", "g", "V_th", "V_reset", "t_ref")},
            **{k: data[k][i].tolist() for k in arrays},
        )  # fmt: skip
    sources = nest.Create("spike_generator", N_BACKGROUND)
    emitted = background(1, t)[0]
    for k, generator in enumerate(sources):
        generator.spike_times = (np.flatnonzero(emitted[:, k]) + 1) * DT
    ids = np.asarray(cells.tolist())

    def connect(source, target, weight, delay, port):
        syn = {"weight": weight, "delay": delay * DT, "receptor_type": port}
        nest.Connect(source, ids[target], "one_to_one", syn_spec=syn)

    connect(
        ids[data["source"]],
        data["target"],
        data["weight"],
        data["delay"] * 1.0,
        data["receptor"] + 1,
    )
    n_drive = len(data["drive_source"])
    drive = np.asarray(sources.tolist())[data["drive_source"]]
    connect(
        drive, data["drive_target"], data["drive_weight"], np.ones(n_drive), np.full(n_drive, r)
    )
    nest.Prepare()
    begin = time.perf_counter()
    nest.Run(t * DT)
    seconds = time.perf_counter() - begin
    n_spikes = nest.local_spike_counter
    nest.Cleanup()
    return {"seconds": [seconds], "warm_up": 0.0, "spikes": float(n_spikes)}


def child(case: dict) -> None:
    result = (run_nest if case["backend"] == "nest" else run_torch)(case)
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("RESULT " + json.dumps(result))


def measure(case: dict) -> dict:
    """Run a case in its own process; NEST, which runs once per process, in one per repeat."""
    runs = case["repeats"] if case["backend"] == "nest" else 1
    merged: dict = {}
    for _ in range(runs):
        done = subprocess.run(
            [sys.executable, __file__, "--child", json.dumps(case)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        lines = [x for x in done.stdout.splitlines() if x.startswith("RESULT ")]
        if not lines:
            return {**case, "error": (done.stderr.strip().splitlines() or ["killed"])[-1]}
        result = json.loads(lines[-1].removeprefix("RESULT "))
        result["seconds"] += merged.get("seconds", [])
        merged = result
    seconds = merged["seconds"]
    median = statistics.median(seconds)
    events = merged["spikes"] * case["fan_in"]
    return {
        **case,
        **merged,
        "median_s": median,
        "min_s": min(seconds),
        "max_s": max(seconds),
        "rate_hz": merged["spikes"] / case["batch"] / case["cells"] / case["steps"] / DT * 1000,
        "ns_per_spike_synapse": median / max(events, 1) * 1e9,
    }


def cases(args: argparse.Namespace) -> list[dict]:
    todo = []
    for n in args.cells:
        for b in args.batch:
            for backend in args.backends:
                for mode in ("forward", "forward+backward"):
                    if backend == "nest" and (b > 1 or mode != "forward"):
                        continue
                    # the plain step is the specification, not a peer to wait hours for
                    slow = backend == "reference" and (n * b > args.reference_up_to)
                    if not slow:
                        todo.append(
                            {
                                "cells": n, "fan_in": args.fan_in or {1000: 100, 4000: 200}.get(n, 400),
                                "receptors": args.receptors, "batch": b, "steps": args.steps,
                                "backend": backend, "mode": mode, "threads": args.threads,
                                "repeats": 2 if backend == "reference" else args.repeats,
                                "width": args.width, "plastic": args.plastic,
                            }
                        )  # fmt: skip
    return todo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[1000, 4000, 16000])
    parser.add_argument(
        "--fan-in", type=int, help="synapses per cell (default 100, 200, 400 by size)"
    )
    parser.add_argument("--receptors", type=int, default=10)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--width", type=float, default=1.0, help="of the triangular surrogate")
    parser.add_argument(
        "--plastic", type=int, default=0, help="sites of short-term plasticity per cell"
    )
    parser.add_argument("--backends", nargs="+", default=["fused", "reference", "nest"])
    parser.add_argument("--reference-up-to", type=int, default=8000, help="cells x batch")
    parser.add_argument("--out", type=Path, default=Path("rollout.json"))
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        child(args.child)
        return
    print(f"{'cells':>6} {'syn':>4} {'rec':>3} {'batch':>5} {'backend':>9} {'mode':>16} {'median s':>9} "
          f"{'range s':>15} {'Hz':>5} {'ns/spike/syn':>12} {'peak MB':>8} {'first s':>8}")  # fmt: skip
    results = []
    for case in cases(args):
        x = measure(case)
        results.append(x)
        head = (f"{x['cells']:6} {x['fan_in']:4} {x['receptors']:3} {x['batch']:5} {x['backend']:>9} "
                f"{x['mode']:>16} ")  # fmt: skip
        if "error" in x:
            print(head + x["error"], flush=True)
            continue
        spread = f"{x['min_s']:.3f}-{x['max_s']:.3f}"
        print(
            head + f"{x['median_s']:9.4f} {spread:>15} {x['rate_hz']:5.1f} "
            f"{x['ns_per_spike_synapse']:12.2f} {x['peak_mb']:8.0f} {x['warm_up']:8.2f}",
            flush=True,
        )
    machine = {"python": platform.python_version(), "machine": platform.machine(), "dt_ms": DT}
    args.out.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
