"""brian2, forward, LIF: C++ standalone with OpenMP, its fastest mode on a CPU.

Compiling is not counted. The time is that of brian2's own measurement of the simulation loop.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import brian2 as b2
import numpy as np
import workload
from protocol import Program, serve


def prepare(case: dict) -> Program:
    n, steps = case["cells"], case["steps"]
    folder = Path(tempfile.mkdtemp(prefix="brian2-"))
    b2.prefs.core.default_float_dtype = np.float32
    b2.prefs.devices.cpp_standalone.openmp_threads = case["threads"]
    b2.prefs.devices.cpp_standalone.extra_make_args_unix = ["-j2"]
    b2.set_device("cpp_standalone", build_on_run=False)
    b2.defaultclock.dt = workload.DT * b2.ms
    data = workload.lif(n, case["fan_in"])
    space = {"decay": workload.DECAY, "threshold_mV": workload.V_TH}
    cells = b2.NeuronGroup(n, "v : 1", threshold="v > threshold_mV", reset="v = 0", namespace=space)
    # a pathway at the start of a step delivers the spikes of the step before: a delay of one step
    cells.run_regularly("v *= decay", when="start")
    time_index, unit = np.nonzero(workload.background(1, steps)[0])
    inputs = b2.SpikeGeneratorGroup(workload.N_BACKGROUND, unit, time_index * workload.DT * b2.ms)
    recurrent = b2.Synapses(cells, cells, "w : 1", on_pre="v_post += w")
    recurrent.pre.when = "start"
    recurrent.pre.order = 1
    recurrent.connect(i=data["source"], j=data["target"])
    recurrent.w = data["weight"]
    drive = b2.Synapses(inputs, cells, "w : 1", on_pre="v_post += w")
    drive.pre.when = "start"
    drive.pre.order = 1
    drive.connect(i=data["drive_source"], j=data["drive_target"])
    drive.w = data["drive_weight"]
    counter = b2.SpikeMonitor(cells, record=False)
    network = b2.Network(cells, inputs, recurrent, drive, counter)
    network.run(steps * workload.DT * b2.ms)
    b2.device.build(directory=str(folder), compile=True, run=False, debug=False)
    del data
    peak = [0.0]

    def once(_: int) -> tuple[float, float]:
        child = subprocess.Popen(["./main"], cwd=folder, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = status
        if status:
            raise RuntimeError(f"brian2's program ended with status {status}")
        peak[0] = usage.ru_maxrss / 1024
        seconds = float((folder / "results" / "last_run_info.txt").read_text().split()[0])
        return seconds, count(folder)

    return Program(once, peak_mb=lambda: peak[0])


def count(folder: Path) -> float:
    """Spikes of the last run: brian2's monitor of counts, one int32 per cell."""
    (path,) = (folder / "results").glob("_array_spikemonitor_count*")
    return float(np.fromfile(path, np.int32).sum())


if __name__ == "__main__":
    serve(prepare)
