"""Hand-made activity: cells, designs, and dense spikes as a run of a network would give them in parts."""

import numpy as np
import pandas as pd

from v1builder.load.network import NodePopulation
from v1builder.measures import Activity, Design

#: Population, location, cells.
POPULATIONS = (("e23Cux2", "VisL23", 30), ("i23Pvalb", "VisL23", 24), ("e4Rorb", "VisL4", 8))
N_CELLS = sum(n for _, _, n in POPULATIONS)


def cells_of(*populations):
    """Cells of populations (name, location, number)."""
    names = np.concatenate([np.full(n, name) for name, _, n in populations])
    places = np.concatenate([np.full(n, place) for _, place, n in populations])
    ids = np.arange(len(names))
    columns = {"pop_name": names, "location": places, "model_type": np.full(len(ids), "x")}
    return NodePopulation("v1", ids + 100, np.zeros(len(ids), np.int64), columns, pd.DataFrame())


def design_of(spikes, cells=None, dt=1.0, directions=None, **more):
    """The design of dense spikes [trial, step, cell]."""
    cells = cells_of(("e23Cux2", "VisL23", spikes.shape[2])) if cells is None else cells
    return Design(cells, dt, spikes.shape[1], directions, **more)


def part(spikes, trials, steps, condition=None, voltage=None, currents=None):
    """The activity of some trials [k] and a slice of the steps of dense arrays [trial, step, cell]."""
    trials = np.asarray(trials)
    shown = np.full(len(spikes), -1) if condition is None else np.asarray(condition)
    trial, cell, step = np.nonzero(spikes[trials, steps].transpose(0, 2, 1))
    dense = (None if array is None else array[trials, steps] for array in (voltage, currents))
    return Activity(
        trials, shown[trials], steps.start, steps.stop, trial, cell, step + steps.start, *dense
    )


def parts(spikes, trials_at_once, steps_at_once, order=None, **more):
    """All of it, some trials and some steps at a time; `order` of the trials."""
    n_trials, n_steps, _ = spikes.shape
    order = np.arange(n_trials) if order is None else order
    for first in range(0, n_trials, trials_at_once):
        for start in range(0, n_steps, steps_at_once):
            steps = slice(start, min(start + steps_at_once, n_steps))
            yield part(spikes, order[first : first + trials_at_once], steps, **more)


def whole(spikes, **more):
    """All of it at once."""
    return part(spikes, np.arange(len(spikes)), slice(0, spikes.shape[1]), **more)
