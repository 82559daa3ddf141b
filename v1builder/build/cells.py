"""V1 cells: how many of each cell model, where they are, what they prefer, how large they are.

Numbers. A column of radius R has the fraction (R / 700 um)^2 of all published cells, rounded (half
up); populations share it by largest remainder (ties in the order of the table), and no population
vanishes: one that would get no cell gets one. Inside a population each cell model has its share of
the published numbers (as even as possible, the first models taking the remainder) to less than a cell,
by rounding along the list of models: a column that is too small for every model has some from all
over the list, so that a population that borrows still borrows from all its lenders. The published
model rounded every cell model up, which is more cells the more models there are (i6Vip 7.5 times too
many at 50 um):

    R, um                            50     100      200      400      700
    cells                         1 040   4 160   16 638   66 552  203 816
    published                     1 141   4 239   16 728   66 652  203 816
    cell models in use, of 226      200     221      226      226      226

Positions are uniform over a disc (the central 1 um is left free) and over the depth of the layer:
r = sqrt((R^2 - 1) U + 1), x = r cos(phi), z = r sin(phi), y = -depth. Within each cell model the
tuning angles are evenly spaced over 360 deg, beginning at an angle drawn for the model (beginning
all of them at 0 made 57 % of the inhibitory cells of a small column prefer exactly 0); positions are
independent of them.

`target_sizes` is the number of synapses a cell receives, lognormal by population (MICrONS). The
rare value that rounds to 0 is set to 1, because weights are divided by it.
"""

from dataclasses import dataclass, fields
from fractions import Fraction
from math import floor

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from v1builder.build.random import Purpose, generator
from v1builder.schema.errors import ConfigError, DataError
from v1builder.schema.recipe import CellRecipe

RADIUS_MIN_UM = 30.0
RADIUS_MAX_UM = 700.0


@dataclass(frozen=True)
class PlacedCells:
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


def population_counts(populations: pd.DataFrame, radius: float) -> NDArray[np.int64]:
    """Number of cells of each population in a column, by largest remainder (module docstring).

    Args:
        populations: [p] rows with column n_cells_radius_700um. All of them, also those that a
            network leaves out: who gets a remaining cell depends on the others.
        radius: um.

    Returns:
        [p] numbers, at least 1.

    Raises:
        ConfigError: the radius is out of range.
    """
    check_radius(radius)
    # Fractions, because sums of rounded quotas could make a tie or a total the wrong one.
    scale = Fraction(radius) ** 2 / Fraction(RADIUS_MAX_UM) ** 2
    quotas = [scale * int(n) for n in populations["n_cells_radius_700um"]]
    counts = [floor(quota) for quota in quotas]
    left = floor(sum(quotas) + Fraction(1, 2)) - sum(counts)
    for row in sorted(range(len(quotas)), key=lambda row: counts[row] - quotas[row])[:left]:
        counts[row] += 1
    return np.maximum(np.array(counts, dtype=np.int64), 1)


def cell_counts(
    populations: pd.DataFrame,
    model_population: ArrayLike,
    radius: float,
    published: pd.DataFrame | None = None,
) -> NDArray[np.int64]:
    """Number of cells of each cell model.

    Args:
        populations: of the network: columns population and n_cells_radius_700um.
        model_population: [m] population name of each cell model, in the order of the table.
        radius: um.
        published: the whole table, where `populations` is a part of it.

    Returns:
        [m] numbers.

    Raises:
        ConfigError: the radius is out of range.
        DataError: a population has no cell model.
    """
    published = populations if published is None else published
    counts_of = dict(
        zip(published["population"], population_counts(published, radius), strict=True)
    )
    names = np.asarray(model_population, dtype=object)
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
        n, total = int(counts_of[population]), int(total)
        each, more = divmod(total, len(rows))
        upto = each * np.arange(len(rows) + 1) + np.minimum(np.arange(len(rows) + 1), more)
        counts[rows] = np.diff((2 * n * upto + total) // (2 * total))  # n upto / total, rounded
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
    published: pd.DataFrame | None = None,
) -> PlacedCells:
    """Make the cells of a column.

    Args:
        populations: the populations of the network.
        model_population: [m] population name of each cell model, grouped in the order of
            `populations`.
        radius: um.
        seed: of the network.
        recipe: choices about cells.
        published: the whole populations table, where `populations` is a part of it.

    Raises:
        ConfigError: the radius is out of range.
        DataError: a population has no cell model.
    """
    counts = cell_counts(populations, model_population, radius, published)
    if recipe.poisson_counts:
        counts = generator(seed, Purpose.COUNTS).poisson(counts)
    row_of = {name: row for row, name in enumerate(populations["population"])}
    population_of_model = np.array([row_of[name] for name in np.asarray(model_population)])
    type_index = np.repeat(np.arange(len(counts)), counts)
    population_index = population_of_model[type_index]
    x, y, z = positions(
        generator(seed, Purpose.POSITIONS), populations, population_index, (1.0, radius)
    )
    shape = populations["nsyn_lognorm_shape"].to_numpy(dtype=np.float64)[population_index]
    scale = populations["nsyn_lognorm_scale"].to_numpy(dtype=np.float64)[population_index]
    normal = generator(seed, Purpose.TARGET_SIZES).standard_normal(len(type_index))
    sizes = np.maximum(np.rint(scale * np.exp(shape * normal)), 1).astype(np.int64)
    return PlacedCells(
        type_index=type_index,
        population_index=population_index,
        x=x,
        y=y,
        z=z,
        tuning_angle=tuning_angles(generator(seed, Purpose.TUNING), counts),
        target_sizes=sizes,
        size_ratio=sizes / mean_size(populations)[population_index],
    )


def positions(
    rng: np.random.Generator,
    populations: pd.DataFrame,
    population_index: NDArray[np.int64],
    ring: tuple[float, float],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """x, y, z (um, [n] each): uniform over a ring of cortex and the depth of a cell's layer.

    Args:
        rng: draws them.
        populations: columns depth_top_um and depth_bottom_um.
        population_index: [n] row of `populations`.
        ring: its inner and outer radius, um.
    """
    n = len(population_index)
    inner, outer = ring
    phi = 2 * np.pi * rng.random(n)
    r = np.sqrt((outer**2 - inner**2) * rng.random(n) + inner**2)
    top = populations["depth_top_um"].to_numpy(dtype=np.float64)[population_index]
    bottom = populations["depth_bottom_um"].to_numpy(dtype=np.float64)[population_index]
    depth = top + (bottom - top) * rng.random(n)
    return r * np.cos(phi), -depth, r * np.sin(phi)


def tuning_angles(rng: np.random.Generator, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Preferred directions in [0, 360) deg, evenly spaced in every group from a random one on.

    Args:
        rng: draws where each group begins.
        counts: [k] sizes of the groups.

    Returns:
        [counts.sum()] deg, group after group.
    """
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = np.repeat(rng.random(len(counts)), counts)
    return 360.0 * ((place / np.repeat(counts, counts) + begin) % 1.0)


def join(one: PlacedCells, other: PlacedCells) -> PlacedCells:
    """The cells of both, `one` first."""
    return PlacedCells(
        **{
            field.name: np.concatenate((getattr(one, field.name), getattr(other, field.name)))
            for field in fields(PlacedCells)
        }
    )
