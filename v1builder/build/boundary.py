"""The boundary: virtual cells around a small column, in place of the cortex that is not simulated.

A cell in a column of 100 um receives a third of the recurrent synapses that it has in one of 400 um,
because most of its sources lie outside. A boundary fills the ring from the column's radius to
`radius_um` with cells that are not simulated: as many of each population as a column of `radius_um`
has more than this one, uniform over the ring and the depth of their layer, evenly tuned. Edges from
them are drawn and weighted by the rules of the recurrent ones, so that every cell of the column has the
expected in-degree, by place, tuning and population of the source, that it has in the larger column.

Each unit fires, as a Poisson process, at its `rate_Hz`: the quantiles of its population's recordings
(`schema.recordings`), dealt out at random. What the larger column adds besides rates (correlations,
answers to the stimulus) is not there. Units that project to no cell of the column are left out of the
files.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.build.cells import (
    RADIUS_MAX_UM,
    PlacedCells,
    population_counts,
    positions,
    tuning_angles,
)
from v1builder.build.random import Purpose, generator
from v1builder.schema.errors import ConfigError
from v1builder.schema.recipe import BuildRecipe
from v1builder.schema.recordings import recorded, reference_type


def check_boundary(outer: float | None, radius: float) -> None:
    """Raise unless a boundary up to `outer` (um; None for no boundary) fits around a column.

    Raises:
        ConfigError: it does not reach beyond the column's radius (um), or is wider than the cortex that
            the model is defined for.
    """
    if outer is not None and not radius < outer <= RADIUS_MAX_UM:
        raise ConfigError.of(
            "the boundary does not lie around the column",
            "recipe, boundary.radius_um",
            f"{outer:g} um around a column of {radius:g} um",
            f"choose more than {radius:g} and at most {RADIUS_MAX_UM:g} um"
            if radius < RADIUS_MAX_UM
            else "leave boundary.radius_um out: the column has the full size",
        )


def place_boundary(
    populations: pd.DataFrame,
    published: pd.DataFrame,
    radius: float,
    seed: int,
    recipe: BuildRecipe,
) -> PlacedCells | None:
    """Make the cells around a column of `radius` (um), in the order of `populations`; None without.

    They receive nothing: their target sizes are 0. `type_index` is their population.

    Args:
        populations: of the network.
        published: the whole populations table.
        radius: of the column, um.
        seed: of the network.
        recipe: of the network; its boundary is one that `check_boundary` lets pass.
    """
    outer = recipe.boundary.radius_um
    if outer is None:
        return None
    more = population_counts(published, outer) - population_counts(published, radius)
    in_network = published["population"].isin(populations["population"]).to_numpy()
    # By largest remainder a population may have a cell fewer in a column that is hardly larger.
    counts = np.maximum(more[in_network], 0)
    rng = generator(seed, Purpose.BOUNDARY_CELLS)
    if recipe.cells.poisson_counts:
        counts = rng.poisson(counts)
    population_index = np.repeat(np.arange(len(counts)), counts)
    x, y, z = positions(rng, populations, population_index, (radius, outer))
    return PlacedCells(
        type_index=population_index,
        population_index=population_index,
        x=x,
        y=y,
        z=z,
        tuning_angle=tuning_angles(rng, counts),
        target_sizes=np.zeros(len(population_index), dtype=np.int64),
        size_ratio=np.zeros(len(population_index)),
    )


def boundary_types(populations: pd.DataFrame) -> pd.DataFrame:
    """The node types table of the boundary, without ids: one row per population."""
    columns = populations[["population", "ei", "location"]]
    types = pd.DataFrame(columns).rename(columns={"population": "pop_name"})
    types.insert(0, "model_type", "virtual")
    return types.reset_index(drop=True)


def boundary_rates(
    population_index: NDArray[np.int64],
    populations: pd.DataFrame,
    reference: pd.DataFrame,
    metric: str,
    seed: int,
) -> NDArray[np.float64]:
    """Rate of every unit: [n] Hz.

    Args:
        population_index: [n] row of `populations`.
        populations: of the network.
        reference: the table neuropixels_reference.
        metric: of its rows.
        seed: of the network.

    Raises:
        NetworkError, DataError: see `recorded`.
    """
    rng = generator(seed, Purpose.BOUNDARY_RATES)
    rates = np.empty(len(population_index))
    for row, name in enumerate(populations["population"]):
        units = np.flatnonzero(population_index == row)
        rates[units] = rng.permutation(recorded(reference, name, metric).sample(len(units)))
    return rates


def rate_sources(
    populations: pd.DataFrame, reference: pd.DataFrame, metric: str
) -> list[dict[str, Any]]:
    """Populations whose rates are not those of their own recordings, and whose they are instead."""
    found = []
    for name in populations["population"]:
        source = recorded(reference, name, metric)
        if source.cell_types != (own := reference_type(name),):
            found.append(
                {
                    "population": name,
                    "cell_type": own,
                    "rates_of": list(source.cell_types),
                    "n_units": source.n_units,
                }
            )
    return found
