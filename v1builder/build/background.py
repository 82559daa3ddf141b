"""The background: Poisson units that stand for the rest of the brain, a few of them per V1 cell.

The weight is a property of the cell model, tuned so that its cells fire at their population's
spontaneous rate (`bkg_weight` of the cell models, pA); every edge is one synapse.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.build.random import Purpose, generator
from v1builder.schema.errors import ConfigError
from v1builder.schema.recipe import BackgroundRecipe

_BLOCK = 1 << 15


def background_types(recipe: BackgroundRecipe) -> pd.DataFrame:
    """The node types table of the background, without ids: one row.

    `rate_Hz` is what the units' spikes are drawn with; SONATA has no place of its own for it.
    """
    return pd.DataFrame(
        {
            "model_type": ["virtual"],
            "pop_name": ["bkg"],
            "ei": ["e"],
            "location": ["BKG"],
            "rate_Hz": [recipe.rate_Hz],
        }
    )


def background_edges(
    n_cells: int, seed: int, recipe: BackgroundRecipe
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Draw `n_per_cell` different units for every cell.

    Yields:
        sources and targets ([e] node ids) of a block of targets, sorted by (target, source).

    Raises:
        ConfigError: a cell is to receive more units than there are.
    """
    if recipe.n_per_cell > recipe.n_units:
        raise ConfigError.of(
            "a cell cannot receive more background units than there are",
            "recipe, background.n_per_cell",
            f"{recipe.n_per_cell} of {recipe.n_units}",
            "lower n_per_cell or raise n_units",
        )
    rng = generator(seed, Purpose.BACKGROUND)
    for first in range(0, n_cells, _BLOCK):
        targets = np.arange(first, min(first + _BLOCK, n_cells))
        order = np.argsort(rng.random((len(targets), recipe.n_units)), axis=1, kind="stable")
        sources = np.sort(order[:, : recipe.n_per_cell], axis=1)
        yield sources.ravel(), np.repeat(targets, recipe.n_per_cell)
