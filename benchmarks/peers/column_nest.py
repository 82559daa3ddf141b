"""A built column in NEST (glif_psc_double_alpha, static synapses), forward: v1builder's network to the spike.

Only the simulation is timed, not the making of cells and connections.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import nest
import numpy as np
import workload
from protocol import Program, serve

from v1builder.load import load_network

MEMBRANE = ("C_m", "g", "E_L", "V_th", "V_reset", "t_ref", "asc_amps", "asc_decay", "asc_r")
RECEPTORS = ("tau_syn_fast", "tau_syn_slow", "amp_slow")
MOST_ROLLOUTS = 12


def prepare(case: dict) -> Program:
    network = load_network(case["column"])
    nest.set_verbosity("M_ERROR")
    nest.ResetKernel()
    nest.resolution = workload.DT
    nest.local_num_threads = case["threads"]
    cells = nest.Create(
        "glif_psc_double_alpha", network.n_cells,
        params={"spike_dependent_threshold": False, "after_spike_currents": True,
                "adapting_threshold": False, "asc_init": [0.0, 0.0]},
    )  # fmt: skip
    tables = [(network.membrane, MEMBRANE), (network.receptors, RECEPTORS)]
    for i, cell in enumerate(cells):
        values = {
            name: table.values[name][table.group_of[i]].tolist()
            for table, names in tables
            for name in names
        }
        cell.set(**values, V_m=values["E_L"])
    ids = {network.simulated: np.asarray(cells.tolist())}
    sizes = {name: len(nodes) for name, nodes in network.nodes.items() if nodes.is_virtual}
    steps = case["steps"]
    for name, emitted in workload.column_inputs(sizes, steps).items():
        generators = nest.Create("spike_generator", sizes[name])
        for k, generator in enumerate(generators):
            times = np.flatnonzero(emitted[:, k]) + 1
            generator.spike_times = np.concatenate(
                [times + i * steps for i in range(MOST_ROLLOUTS)]
            ) * workload.DT  # fmt: skip
        ids[name] = np.asarray(generators.tolist())
    for edges in network.edges.values():
        nest.Connect(
            ids[edges.source][edges.source_index], ids[edges.target][edges.target_index], "one_to_one",
            syn_spec={
                "weight": edges.weight, "receptor_type": edges.receptor.astype(int) + 1,
                "delay": np.maximum(np.round(edges.delay.astype(float), 3), workload.DT),
            },
        )  # fmt: skip
    extra = {"cells": network.n_cells, "edges": sum(map(len, network.edges.values()))}
    del network
    nest.Prepare()

    def once(steps: int) -> tuple[float, float]:
        begin = time.perf_counter()
        nest.Run(steps * workload.DT)
        return time.perf_counter() - begin, float(nest.local_spike_counter)

    return Program(once, extra=extra)


if __name__ == "__main__":
    serve(prepare)
