"""V1 cells: how many of each cell model, where they are, what they prefer, how large they are.

Numbers. A population's published number (radius 700 um) is spread as evenly as possible over its
cell models, the first ones taking the remainder; a column of radius R takes
ceil((R / 700)^2 N_model) of each. With the 201 published cell models that gives the published
66 652, 16 728, 4 239 and 1 141 cells for 400, 200, 100 and 50 um.

Positions are uniform over a disc (the central 1 um is left free) and over the depth of the layer:
r = sqrt((R^2 - 1) U + 1), x = r cos(phi), z = r sin(phi), y = -depth. Within each cell model the
tuning angles are evenly spaced on [0, 360) deg; positions are independent of them.

`target_sizes` is the number of synapses a cell receives, lognormal by population (MICrONS). The
rare value that rounds to 0 is set to 1, because weights are divided by it.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from v1builder.build.random import Purpose, generator
from v1builder.schema.errors import ConfigError, DataError
from v1builder.schema.recipe import CellRecipe

RADIUS_MIN_UM = 30.0
RADIUS_MAX_UM = 700.0


@dataclass(frozen=True)
class Cells:
    """The V1 cells, in the order of their node ids.

    Attributes:
        type_index: [n] row of each cell in the table of cell models; does not decrease.
        population_index: [n] row of each cell in the table of populations; does not decrease.
        x: [n] um, horizontal.
        y: [n] um, minus the depth below the pia.
        z: [n] um, horizontal.
        tuning_angle: [n] deg, preferred direction.
        target_sizes: [n] number of synapses the cell receives.
        size_ratio: [n] `target_sizes` over the mean of the population.
    """

    type_index: NDArray[np.int64]
    population_index: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    z: NDArray[np.float64]
    tuning_angle: NDArray[np.float64]
    target_sizes: NDArray[np.int64]
    size_ratio: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.type_index)


def check_radius(radius: float) -> None:
    """Raise unless `radius` (um) is one the model is defined for.

    Raises:
        ConfigError: the radius is not within 30 to 700 um.
    """
    if not RADIUS_MIN_UM <= radius <= RADIUS_MAX_UM:  # also false for NaN
        raise ConfigError.of(
            "the radius of the column is out of range",
            "radius",
            f"{radius} um",
            f"choose a radius from {RADIUS_MIN_UM:g} to {RADIUS_MAX_UM:g} um",
        )


def cell_counts(
    populations: pd.DataFrame, model_population: ArrayLike, radius: float
) -> NDArray[np.int64]:
    """Number of cells of each cell model.

    Args:
        populations: table with columns population and n_cells_radius_700um.
        model_population: [m] population name of each cell model, in the order of the table.
        radius: um.

    Returns:
        [m] numbers.

    Raises:
        ConfigError: the radius is out of range.
        DataError: a population has no cell model.
    """
    check_radius(radius)
    names = np.asarray(model_population, dtype=object)
    scale = (
        Fraction(radius) ** 2 / Fraction(RADIUS_MAX_UM) ** 2
    )  # exact: ceil must not see rounding
    counts = np.zeros(len(names), dtype=np.int64)
    for population, total in zip(
        populations["population"], populations["n_cells_radius_700um"], strict=True
    ):
        rows = np.flatnonzero(names == population)
        if len(rows) == 0:
            raise DataError.of(
                f"population '{population}' has no cell model",
                "table cell_models",
                fix="add a cell model, or a rule from which populations it borrows",
            )
        each, more = divmod(int(total), len(rows))
        for place, row in enumerate(rows):
            counts[row] = -((-scale * (each + (place < more))) // 1)  # ceil
    return counts


def mean_size(populations: pd.DataFrame) -> NDArray[np.int64]:
    """[p] mean number of synapses per cell of each population, rounded down to whole numbers."""
    shape = populations["nsyn_lognorm_shape"].to_numpy(dtype=np.float64)
    scale = populations["nsyn_lognorm_scale"].to_numpy(dtype=np.float64)
    return np.floor(scale * np.exp(shape**2 / 2)).astype(np.int64)


def place_cells(
    populations: pd.DataFrame,
    model_population: ArrayLike,
    radius: float,
    seed: int,
    recipe: CellRecipe,
) -> Cells:
    """Make the cells of a column.

    Args:
        populations: the populations table.
        model_population: [m] population name of each cell model, grouped in the order of
            `populations`.
        radius: um.
        seed: of the network.
        recipe: choices about cells.

    Raises:
        ConfigError: the radius is out of range.
        DataError: a population has no cell model.
    """
    counts = cell_counts(populations, model_population, radius)
    if recipe.poisson_counts:
        counts = generator(seed, Purpose.COUNTS).poisson(counts)
    row_of = {name: row for row, name in enumerate(populations["population"])}
    population_of_model = np.array([row_of[name] for name in np.asarray(model_population)])
    type_index = np.repeat(np.arange(len(counts)), counts)
    population_index = population_of_model[type_index]
    n = len(type_index)

    rng = generator(seed, Purpose.POSITIONS)
    phi = 2 * np.pi * rng.random(n)
    r = np.sqrt((radius**2 - 1) * rng.random(n) + 1)
    top = populations["depth_top_um"].to_numpy(dtype=np.float64)[population_index]
    bottom = populations["depth_bottom_um"].to_numpy(dtype=np.float64)[population_index]
    depth = top + (bottom - top) * rng.random(n)

    shape = populations["nsyn_lognorm_shape"].to_numpy(dtype=np.float64)[population_index]
    scale = populations["nsyn_lognorm_scale"].to_numpy(dtype=np.float64)[population_index]
    normal = generator(seed, Purpose.TARGET_SIZES).standard_normal(n)
    sizes = np.maximum(np.rint(scale * np.exp(shape * normal)), 1).astype(np.int64)

    place_in_model = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    return Cells(
        type_index=type_index,
        population_index=population_index,
        x=r * np.cos(phi),
        y=-depth,
        z=r * np.sin(phi),
        tuning_angle=360.0 * place_in_model / counts[type_index],
        target_sizes=sizes,
        size_ratio=sizes / mean_size(populations)[population_index],
    )
