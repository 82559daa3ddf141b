"""How a program under measurement talks to `run.py`: one process each, timed when told to.

The process prepares its network, runs once to compile and warm up, says READY, and then measures one
rollout for every line `go` on its standard input. So all programs exist at the same time and take
turns, and a change of the machine's load meets all of them. Each process has its own peak memory.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

#: Runs this many steps; returns seconds and number of spikes (NaN where it would cost to count).
Once = Callable[[int], tuple[float, float]]


@dataclass
class Program:
    """What `prepare` returns. `any_length`: a loop in Python, whose time is linear in the steps."""

    once: Once
    any_length: bool = False
    extra: dict | None = None
    peak_mb: Callable[[], float] | None = None


def own_peak_mb() -> float:
    """Peak resident memory of this process (VmHWM, which is not inherited from the parent)."""
    with suppress(OSError), open("/proc/self/status") as status:  # noqa: PTH123
        for line in status:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def say(kind: str, **what: object) -> None:
    print(kind + " " + json.dumps(what), flush=True)


def steps_within(limit: float, seconds: float, tried: int, steps: int) -> int:
    """How many of `steps` fit into `limit` seconds when `tried` of them took `seconds`."""
    whole = seconds / tried * steps
    return steps if whole <= limit else max(tried, min(steps, int(steps * limit / whole)))


def serve(prepare: Callable[[dict], Program]) -> None:
    """Main function of a program: `case` is the JSON in the first argument."""
    case = json.loads(sys.argv[1])
    begin = time.perf_counter()
    program = prepare(case)
    steps = case["steps"]
    if program.any_length:
        tried = min(10, steps)
        program.once(tried)
        seconds, _ = program.once(tried)
        steps = steps_within(case["seconds"], seconds, tried, steps)
    else:
        program.once(steps)
    say("READY", setup=time.perf_counter() - begin, steps=steps, **(program.extra or {}))
    for line in sys.stdin:
        if line.strip() != "go":
            break
        seconds, spikes = program.once(steps)
        peak = (program.peak_mb or own_peak_mb)()
        say("RUN", seconds=seconds, spikes=spikes, peak_mb=peak)
