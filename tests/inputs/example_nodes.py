"""Input populations by the class of the source that serves them: one for every kind."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from lgn_nodes import lgn_nodes

from v1builder.load.network import NodePopulation
from v1builder.sonata.spikes import write_spikes


def units(name, n, **columns):
    """A population of `n` virtual nodes with these columns; ids from 10."""
    ids = np.arange(n, dtype=np.int64)
    columns = {"model_type": np.full(n, "virtual"), **columns}
    return NodePopulation(name, ids + 10, ids, columns, pd.DataFrame(index=ids))


def recorded(folder=Path(tempfile.mkdtemp(prefix="spikes-"))):  # noqa: B008  (one file is enough)
    """Three units, one of them silent, whose spikes of five seconds are in a file."""
    rng = np.random.default_rng(0)
    times = [np.sort(rng.uniform(0, 5000, size=n)) for n in (300, 60)]
    ids = np.repeat([10, 12], [300, 60])
    write_spikes(folder / "spikes.h5", {"recorded": (np.concatenate(times), ids)})
    return units("recorded", 3, spikes_file=np.full(3, str(folder / "spikes.h5")))


def injected(folder=Path(tempfile.mkdtemp(prefix="currents-"))):  # noqa: B008  (as above)
    """Three cells, into two of which a current of a file is injected."""
    (folder / "step.csv").write_text("timestamps amplitudes\n5 120\n25.5 -30\n60 0\n")
    file = str(folder / "step.csv")
    return units("v1", 3, current_file=np.array([file, "", file]))


EXAMPLES = {
    "FilterSource": lgn_nodes(1, seed=0),
    "InjectedCurrent": injected(),
    "RecordedSource": recorded(),
    "PoissonSource": units("bkg", 3, rate_Hz=np.array([5.0, 0.0, 80.0])),
}
