"""How long measures take: 4 160 cells (a column of 100 um), 64 trials of 600 ms in steps of 1 ms.

    python benchmarks/measures.py
    python benchmarks/measures.py --select decoding --select sttc --trials 128

Spikes are drawn: populations of V1 with their classes' rates, 4 directions, batches of 16 trials in segments
of 250 steps. Times are seconds of one core (time of the process): to see the activity, and to have all values
of all groups and curves.
"""

import argparse
import time

import numpy as np
import pandas as pd

from v1builder.load.network import NodePopulation
from v1builder.measures import MEASURES, Activity, Design, measure_named
from v1builder.measures.groups import GROUP_LEVELS, measured_groups
from v1builder.schema.names import CELL_CLASSES

#: Median rate in Hz by class.
RATES = {"Exc": 2.0, "Pvalb": 10.0, "Sst": 5.0, "Vip": 5.0, "Htr3a": 4.0}
BATCH, SEGMENT = 16, 250


def cells(n, rng):
    """Cells of all populations, four fifths of them excitatory."""
    names = np.array(list(CELL_CLASSES))
    excitatory = np.array([CELL_CLASSES[name] == "Exc" for name in names])
    share = np.where(excitatory, 0.83 / excitatory.sum(), 0.17 / (~excitatory).sum())
    of_cell = np.sort(rng.choice(len(names), n, p=share))
    layer = ["VisL" + "".join(filter(str.isdigit, name[:3])) for name in names]
    columns = {"pop_name": names[of_cell], "location": np.array(layer)[of_cell]}
    ids = np.arange(n)
    nodes = NodePopulation("v1", ids, np.zeros(n, np.int64), columns, pd.DataFrame())
    median = np.array([RATES[CELL_CLASSES[name]] for name in names])[of_cell]
    return nodes, median * rng.lognormal(0.0, 0.8, n)


def activities(design, rates, n_trials, rng, needs):
    """Parts as a run gives them, of a measure that has these needs."""
    n_cells, n_steps = design.n_cells, design.n_steps
    gain = np.exp(0.5 * rng.normal(size=(4, n_cells)))
    for first in range(0, n_trials, BATCH):
        trials = np.arange(first, min(first + BATCH, n_trials))
        condition = trials % 4
        for start in range(0, n_steps, SEGMENT):
            stop = min(start + SEGMENT, n_steps)
            shape = len(trials), n_cells, stop - start
            p = (rates * gain[condition] * design.dt / 1000)[:, :, None]
            trial, cell, step = np.nonzero(rng.random(shape, np.float32) < p)
            dense = {}
            if "voltage" in needs:
                dense["voltage"] = rng.normal(-65, 4, (shape[0], shape[2], n_cells))
            if "currents" in needs:
                dense["currents"] = rng.normal(0, 50, (shape[0], shape[2], n_cells, 4))
            yield Activity(trials, condition, start, stop, trial, cell, step + start, **dense)


def timed(kind, design, seen):
    """Seconds to see and to compute, and how many of the groups have a value."""

    def shown(parts):
        measure, seconds = kind(design), 0.0
        for activity in parts:
            start = time.process_time()
            measure.see(activity)
            seconds += time.process_time() - start
        return measure, seconds

    measure, seeing = shown(seen(kind.needs, 1))
    if kind.compares:
        measure.reference = shown(seen(kind.needs, 2))[0]
    start = time.process_time()
    found = []
    for level in GROUP_LEVELS[:-1]:
        if level in kind.groups:
            groups = measured_groups(design.cells, level)
            found += measure.values(groups).value.tolist()
            measure.curve(groups)
    return seeing, time.process_time() - start, np.isfinite(found).sum(), len(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=int, default=4160)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--select", action="append", help="measures; all that need spikes alone")
    options = parser.parse_args()
    nodes, rates = cells(options.cells, np.random.default_rng(0))
    design = Design(
        nodes, 1.0, 600, directions=np.arange(4) * 90.0, contrasts=np.array([0.1, 0.2, 0.4, 0.8]),
        change=300,
    )  # fmt: skip
    names = options.select or [n for n, kind in MEASURES.items() if kind.needs == ("spikes",)]
    kept = {}

    def seen(needs, seed):
        """Spikes alone are drawn once."""
        if needs == ("spikes",) and seed in kept:
            return kept[seed]
        drawn = activities(design, rates, options.trials, np.random.default_rng(seed), needs)
        if needs == ("spikes",):
            drawn = kept[seed] = list(drawn)
        return drawn

    total = np.zeros(2)
    print(f"{'measure':28s} {'see s':>7s} {'compute s':>9s}  groups with a value")
    for name in names:
        seeing, computing, known, n = timed(measure_named(name), design, seen)
        total += seeing, computing
        print(f"{name:28s} {seeing:7.2f} {computing:9.2f}  {known} of {n}", flush=True)
    print(f"{'all':28s} {total[0]:7.2f} {total[1]:9.2f}")


if __name__ == "__main__":
    main()
