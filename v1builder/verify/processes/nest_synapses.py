"""One plastic synapse after another in NEST, each onto a passive cell; a script for its own process.

Usage: python nest_synapses.py FOLDER

Reads FOLDER/in.json (dt and duration in ms, C_m in pF, tau_m in ms) and FOLDER/in.npz: spikes
[steps, k] numbers of spikes of each source, weight [k] in mV, delay in ms, and parameters of
`tsodyks2_synapse` [k]. Writes FOLDER/out.npz: voltage [steps, k] at step ends, relative to rest.
The sources are relays that a generator drives one step (at least 1 ms) before; they pass several spikes
of one step on as one event of that multiplicity.
"""

import json
import sys
from pathlib import Path

import nest
import numpy as np


def main(folder):
    """Build, run, and write what happened."""
    settings = json.loads((folder / "in.json").read_text())
    with np.load(folder / "in.npz") as file:
        data = dict(file)
    dt, spikes = settings["dt"], data.pop("spikes")
    n = spikes.shape[1]
    nest.ResetKernel()
    nest.resolution = dt
    generators = nest.Create("spike_generator", n)
    relays = nest.Create("parrot_neuron", n)
    passive = {"E_L": 0.0, "V_m": 0.0, "V_reset": -1.0, "V_th": 1e9}
    cells = nest.Create(
        "iaf_psc_delta", n, {**passive, "C_m": settings["C_m"], "tau_m": settings["tau_m"]}
    )
    for generator, train in zip(generators, spikes.T, strict=True):
        steps = np.flatnonzero(train)
        times = ((steps + 1) * dt - settings["relay"]).round(6)
        generator.set(spike_times=times.tolist(), spike_multiplicities=train[steps].tolist())
    nest.Connect(generators, relays, "one_to_one", {"delay": settings["relay"]})
    synapse = {"synapse_model": "tsodyks2_synapse", "delay": data.pop("delay")}
    nest.Connect(relays.tolist(), cells.tolist(), "one_to_one", {**synapse, **data})
    meter = nest.Create("multimeter", params={"interval": dt, "record_from": ["V_m"]})
    nest.Connect(meter, cells)
    nest.Simulate(settings["duration"] + dt)
    events = meter.get("events")
    step = np.rint(np.asarray(events["times"]) / dt).astype(int) - 1
    voltage = np.full((step.max() + 1, n), np.nan)
    voltage[step, np.asarray(events["senders"]) - cells[0].global_id] = events["V_m"]
    np.savez(folder / "out.npz", voltage=voltage[: len(spikes)])


main(Path(sys.argv[1]))
