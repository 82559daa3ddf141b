"""NEST, forward: GLIF3 (glif_psc_double_alpha, the same network to the spike) or LIF (iaf_psc_delta).

NEST goes on where it stopped, so every rollout but the first starts from a running network; the same
background spikes come again in each.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import nest
import numpy as np
import workload
from protocol import Program, serve

GLIF3 = ("C_m", "g", "V_th", "V_reset", "t_ref")
ARRAYS = ("asc_amps", "asc_decay", "asc_r", "tau_syn_fast", "tau_syn_slow", "amp_slow")
MOST_ROLLOUTS = 40


def glif3_cells(n_cells: int, data: dict) -> np.ndarray:
    cells = nest.Create(
        "glif_psc_double_alpha", n_cells,
        params={"E_L": 0.0, "V_m": 0.0, "spike_dependent_threshold": False,
                "after_spike_currents": True, "adapting_threshold": False, "asc_init": [0.0, 0.0]},
    )  # fmt: skip
    for i, cell in enumerate(cells):
        # limits are checked at each call against the old values, so all at once
        scalars = {k: float(data[k][i]) for k in GLIF3}
        cell.set(**scalars, **{k: data[k][i].tolist() for k in ARRAYS})
    return np.asarray(cells.tolist())


def prepare(case: dict) -> Program:
    n, t, r = case["cells"], case["steps"], case["receptors"]
    nest.set_verbosity("M_ERROR")
    nest.ResetKernel()
    nest.resolution = workload.DT
    nest.local_num_threads = case["threads"]
    if case["neuron"] == "glif3":
        data = workload.glif3(n, case["fan_in"], r)
        ids = glif3_cells(n, data)
        ports = {"receptor_type": data["receptor"] + 1}
        drive_ports = {"receptor_type": np.full(len(data["drive_source"]), r)}
        delay = data["delay"] * workload.DT
    else:
        data = workload.lif(n, case["fan_in"])
        lif = {
            "E_L": 0.0, "V_m": 0.0, "V_reset": 0.0, "V_th": workload.V_TH, "t_ref": 0.0,
            "C_m": 100.0, "tau_m": -workload.DT / np.log(workload.DECAY), "I_e": 0.0,
        }  # fmt: skip
        ids = np.asarray(nest.Create("iaf_psc_delta", n, params=lif).tolist())
        ports, drive_ports = {}, {}
        delay = np.full(len(data["source"]), workload.DT)

    generators = nest.Create("spike_generator", workload.N_BACKGROUND)
    emitted = workload.background(1, t)[0]
    for k, generator in enumerate(generators):
        times = np.flatnonzero(emitted[:, k]) + 1
        again = [times + i * t for i in range(MOST_ROLLOUTS)]
        generator.spike_times = np.concatenate(again) * workload.DT
    sources = ids[data["source"]], np.asarray(generators.tolist())[data["drive_source"]]
    recurrent = {"weight": data["weight"], "delay": delay, **ports}
    drive = {
        "weight": data["drive_weight"], "delay": np.full(len(sources[1]), workload.DT), **drive_ports
    }  # fmt: skip
    nest.Connect(sources[0], ids[data["target"]], "one_to_one", syn_spec=recurrent)
    nest.Connect(sources[1], ids[data["drive_target"]], "one_to_one", syn_spec=drive)
    del data, recurrent, drive, sources
    nest.Prepare()

    def once(steps: int) -> tuple[float, float]:
        begin = time.perf_counter()
        nest.Run(steps * workload.DT)
        seconds = time.perf_counter() - begin
        return seconds, float(nest.local_spike_counter)  # of this Run

    return Program(once)


if __name__ == "__main__":
    serve(prepare)
