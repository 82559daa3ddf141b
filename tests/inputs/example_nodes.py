"""Input populations by the class of the source that serves them: one for every kind."""

import numpy as np
import pandas as pd
from lgn_nodes import lgn_nodes

from v1builder.load.network import NodePopulation


def units(name, n, **columns):
    """A population of `n` virtual nodes with these columns; ids from 10."""
    ids = np.arange(n, dtype=np.int64)
    columns = {"model_type": np.full(n, "virtual"), **columns}
    return NodePopulation(name, ids + 10, ids, columns, pd.DataFrame(index=ids))


EXAMPLES = {
    "FilterSource": lgn_nodes(1, seed=0),
    "PoissonSource": units("bkg", 3, rate_Hz=np.array([5.0, 0.0, 80.0])),
}
