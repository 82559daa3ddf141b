"""Time and memory of the triton backend on a CUDA device, on the networks of benchmarks/rollout.py.

    python benchmarks/gpu.py                          # table, and gpu.json in --out
    python benchmarks/gpu.py --cells 66000 --batch 1 --repeats 7

Every figure comes from its own process, after one warm-up run that also compiles. `bound` is the time
that the bytes of `roofline.bytes_moved` take at the device's measured copy bandwidth, as a share of the
time measured: 1 would be a rollout that does nothing but move what it must. It may pass 1 where arrays
stay in the cache. With TRITON_INTERPRET=1 and no device the kernels run in Triton's interpreter: no figure
then means anything, but the benchmark can be tried on a tiny network.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from rollout import measure
from roofline import bytes_moved

#: Synapses per cell: 54 million edges at 66 000 cells, 180 million at 204 000.
FAN_IN = {1000: 100, 10_000: 400, 66_000: 818, 204_000: 882}
COPIED = 2**28  # floats


def bandwidth() -> float:
    """Bytes per second of a copy on the device: the best of ten."""
    source = torch.zeros(COPIED, device="cuda")
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(10):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        target.copy_(source)
        end.record()
        torch.cuda.synchronize()
        best = min(best, begin.elapsed_time(end) / 1000)
    return 2 * 4 * COPIED / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=list(FAN_IN))
    parser.add_argument("--fan-in", type=int, help="synapses per cell (default by size)")
    parser.add_argument("--receptors", type=int, default=10)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--width", type=float, default=1.0, help="of the triangular surrogate")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    args = parser.parse_args()
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if not (torch.cuda.is_available() or interpreted):
        raise SystemExit("benchmarks/gpu.py measures a CUDA device, and torch finds none here.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    machine = {"device": "interpreter", "torch": torch.__version__}
    if device == "cuda":
        name = torch.cuda.get_device_name()
        machine |= {"device": name, "cuda": torch.version.cuda, "bytes_per_s": bandwidth()}
        torch.cuda.empty_cache()
    print(f"{'cells':>7} {'syn':>4} {'batch':>5} {'mode':>16} {'us/step':>9} {'range':>17} {'Hz':>5} "
          f"{'peak GiB':>8} {'bound':>5} {'first s':>8}")  # fmt: skip
    results = []
    for n in args.cells:
        for b in args.batch:
            for mode in ("forward", "forward+backward"):
                x = measure(
                    {
                        "cells": n, "fan_in": args.fan_in or FAN_IN.get(n, 400), "batch": b,
                        "receptors": args.receptors, "steps": args.steps, "backend": "triton",
                        "mode": mode, "threads": 1, "repeats": args.repeats, "width": args.width,
                        "plastic": 0, "device": device, "activity": True, "neuron": "glif3",
                    }
                )  # fmt: skip
                head = f"{n:7} {x['fan_in']:4} {b:5} {mode:>16} "
                results.append(x)
                if "error" in x:
                    print(head + x["error"], flush=True)
                    continue
                moved = bytes_moved(x, x["spikes"], x["active"])
                if moved is not None and "bytes_per_s" in machine:
                    x["bound"] = moved / machine["bytes_per_s"] / x["median_s"]
                us = [x[k] / args.steps * 1e6 for k in ("median_s", "min_s", "max_s")]
                print(
                    head + f"{us[0]:9.1f} {us[1]:8.1f}-{us[2]:8.1f} {x['rate_hz']:5.1f} "
                    f"{x.get('peak_gpu_mb', 0) / 1024:8.2f} {x.get('bound', 0):5.2f} "
                    f"{x['warm_up']:8.2f}",
                    flush=True,
                )
    args.out.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
