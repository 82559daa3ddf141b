"""Run a network of glif_psc_double_alpha in NEST; a script, because NEST must own its process.

Usage: python nest_reference.py IN.npz OUT.npz

IN: dt, duration (ms); cells C_m g E_L V_th V_reset t_ref [n], asc_amps asc_decay asc_r [n, 2],
tau_syn_fast tau_syn_slow amp_slow [n, r]; current [n, k] pA from current_times [k] ms (k may be 0);
input_source, input_time (ms) of the spikes of n_input generators; recurrent_* and input_* edges:
source, target, weight (pA), delay (ms), port (from 1).
OUT: cell, time (ms) of every spike; voltage [n, steps] in mV.
"""

import sys

import nest
import numpy as np


def create_cells(data):
    cells = nest.Create("glif_psc_double_alpha", len(data["C_m"]))
    scalars = ("C_m", "g", "E_L", "V_th", "V_reset", "t_ref")
    arrays = ("asc_amps", "asc_decay", "asc_r", "tau_syn_fast", "tau_syn_slow", "amp_slow")
    for i, cell in enumerate(cells):
        parameters = {name: float(data[name][i]) for name in scalars}
        parameters |= {name: data[name][i].tolist() for name in arrays}
        cell.set(
            spike_dependent_threshold=False,
            after_spike_currents=True,
            adapting_threshold=False,
            asc_init=[0.0] * data["asc_amps"].shape[1],
            V_m=parameters["E_L"],
            **parameters,
        )
    return cells


def connect_edges(data, kind, sources, targets):
    source, target = data[f"{kind}_source"], data[f"{kind}_target"]
    if len(source) == 0:
        return
    nest.Connect(
        np.asarray(sources.tolist())[source],
        np.asarray(targets.tolist())[target],
        "one_to_one",
        syn_spec={
            "weight": data[f"{kind}_weight"],
            "delay": data[f"{kind}_delay"],
            "receptor_type": data[f"{kind}_port"],
        },
    )


def main(path_in, path_out):
    data = dict(np.load(path_in))
    dt, duration = float(data["dt"]), float(data["duration"])
    nest.ResetKernel()
    nest.resolution = dt
    cells = create_cells(data)
    times = data["current_times"]
    if len(times):
        for cell, values in zip(cells, data["current"], strict=True):
            generator = nest.Create("step_current_generator")
            generator.set(amplitude_times=times.tolist(), amplitude_values=values.tolist())
            nest.Connect(generator, cell, syn_spec={"delay": max(dt, 1.0)})
    n_input = int(data["n_input"])
    if n_input:
        inputs = nest.Create("spike_generator", n_input)
        for i, generator in enumerate(inputs):
            mine = data["input_time"][data["input_of"] == i]
            generator.set(spike_times=np.sort(mine).tolist(), allow_offgrid_times=False)
        connect_edges(data, "input", inputs, cells)
    connect_edges(data, "recurrent", cells, cells)
    recorder = nest.Create("spike_recorder")
    nest.Connect(cells, recorder)
    meter = nest.Create("multimeter", params={"interval": dt, "record_from": ["V_m"]})
    nest.Connect(meter, cells)
    nest.Simulate(duration + dt)
    spikes = recorder.get("events")
    record = meter.get("events")
    first = cells[0].global_id
    step = np.rint(np.asarray(record["times"]) / dt).astype(int) - 1
    voltage = np.zeros((len(cells), step.max() + 1))
    voltage[np.asarray(record["senders"]) - first, step] = record["V_m"]
    np.savez(
        path_out,
        cell=np.asarray(spikes["senders"]) - first,
        time=np.asarray(spikes["times"]),
        voltage=voltage,
    )


main(sys.argv[1], sys.argv[2])
