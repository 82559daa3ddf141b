"""Run a network of point neurons in NEST; a script, because NEST must own its process.

Usage: python nest_network.py FOLDER

Reads FOLDER/in.json and FOLDER/in.npz, writes FOLDER/out.npz. What they hold is said in
`v1builder.verify.nest_process`.
"""

import json
import sys
from pathlib import Path

import nest
import numpy as np


def create_cells(cells):
    """The ids of the cells, and what NEST said about those whose parameters it refused."""
    ids, refused = [], {}
    for index, (template, parameters) in enumerate(cells):
        cell = nest.Create(template)
        try:
            cell.set(**parameters)
        except nest.NESTErrors.BadProperty as error:
            refused[index] = str(error)
        ids.append(cell.global_id)
    return np.array(ids), refused


def create_inputs(n, source, time):
    """The ids of `n` generators that emit the given spikes."""
    if n == 0:
        return np.zeros(0, dtype=int)
    generators = nest.Create("spike_generator", n)
    order = np.lexsort((time, source))
    parts = np.split(time[order], np.searchsorted(source[order], np.arange(1, n)))
    for generator, times in zip(generators, parts, strict=True):
        generator.set(spike_times=times.tolist(), allow_offgrid_times=False)
    return np.array(generators.tolist())


def inject(ids, current, times, delay):
    """A piecewise constant current [cell, piece] into every cell."""
    for cell, values in zip(ids, current, strict=True):
        generator = nest.Create("step_current_generator")
        generator.set(amplitude_times=times.tolist(), amplitude_values=values.tolist())
        nest.Connect(generator, nest.NodeCollection([cell]), syn_spec={"delay": delay})


def connect(projection, arrays, ids, refused):
    """One projection; every column beside source and target is a parameter of the synapse.

    Edges onto refused cells are left out: their ports do not exist.
    """
    kept = ~np.isin(arrays["target"], list(refused))
    arrays = {name: values[kept] for name, values in arrays.items()}
    if not kept.any():
        return
    columns = {name: values for name, values in arrays.items() if name not in ("source", "target")}
    nest.Connect(
        ids[projection["source"]][arrays["source"]],
        ids["cells"][arrays["target"]],
        "one_to_one",
        syn_spec={"synapse_model": projection["synapse_model"], **columns},
    )


def main(folder):
    """Build, run, and write what happened."""
    settings = json.loads((folder / "in.json").read_text())
    with np.load(folder / "in.npz") as file:
        data = dict(file)
    dt = settings["dt"]
    nest.ResetKernel()
    nest.resolution = dt
    cells, refused = create_cells(settings["cells"])
    inputs = create_inputs(settings["n_input"], data["input_source"], data["input_time"])
    if len(data["current_times"]):
        inject(cells, data["current"], data["current_times"], settings["current_delay"])
    ids = {"cells": cells, "inputs": inputs}
    for number, projection in enumerate(settings["projections"]):
        prefix = f"projection_{number}_"
        arrays = {k.removeprefix(prefix): v for k, v in data.items() if k.startswith(prefix)}
        connect(projection, arrays, ids, refused)
    everyone = nest.NodeCollection(cells.tolist())
    recorder = nest.Create("spike_recorder")
    nest.Connect(everyone, recorder)
    recorded = settings["record"]
    if recorded:
        meter = nest.Create("multimeter", params={"interval": dt, "record_from": recorded})
        nest.Connect(meter, everyone)
    nest.Simulate(settings["duration"] + dt)
    position = np.full(cells.max() + 1, -1)
    position[cells] = np.arange(len(cells))
    spikes = recorder.get("events")
    out = {"cell": position[np.asarray(spikes["senders"])], "time": np.asarray(spikes["times"])}
    if recorded:
        events = meter.get("events")
        step = np.rint(np.asarray(events["times"]) / dt).astype(int) - 1
        for name in recorded:
            out[name] = np.full((step.max() + 1, len(cells)), np.nan)
            out[name][step, position[np.asarray(events["senders"])]] = events[name]
    np.savez(folder / "out.npz", **out)
    (folder / "out.json").write_text(json.dumps({"refused": refused}))


main(Path(sys.argv[1]))
