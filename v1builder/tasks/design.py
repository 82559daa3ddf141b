"""What measures are to know of the trials of a task."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.load.network import Network
from v1builder.measures import Design
from v1builder.stimuli import Grating, Movie
from v1builder.tasks.task import Task


def design_of(
    task: Task, network: Network, split: str, in_vivo: pd.DataFrame | None = None
) -> Design:
    """The design of trials of a split.

    A condition has the direction of its gratings where all that move have the same, and their contrast where
    all have the same.

    Args:
        task: whose trials are measured.
        network: that is measured.
        split: of the trials.
        in_vivo: recordings that the network is compared with, see `load.reference.read_in_vivo`.

    Raises:
        ConfigError: unknown split.
    """
    movies, membrane = task.conditions(split), network.membrane
    return Design(
        network.cells,
        task.dt,
        task.n_steps,
        directions=common(movies, lambda one: one.direction if one.temporal_frequency else None),
        contrasts=common(movies, lambda one: one.contrast),
        repeats=task.repeats,
        in_vivo=in_vivo,
        node_sets=network.node_sets,
        t_ref=membrane.per_cell("t_ref") if "t_ref" in membrane.values else None,
    )


def common(
    movies: Sequence[Movie], of: Callable[[Grating], float | None]
) -> NDArray[np.float64] | None:
    """[conditions] what the gratings of each movie have in common, NaN for nothing; None for none of them."""
    values = []
    for movie in movies:
        gratings = [one.stimulus for one in movie if isinstance(one.stimulus, Grating)]
        found = {of(grating) for grating in gratings} - {None}
        values.append(found.pop() if len(found) == 1 else np.nan)
    array = np.array(values, dtype=float)
    return array if np.isfinite(array).any() else None
