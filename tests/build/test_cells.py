"""Numbers, places and sizes of V1 cells against the published ones and their distributions."""

import numpy as np
import pytest
from scipy import stats

from v1builder.build.cells import cell_counts, mean_size, place_cells
from v1builder.schema.errors import ConfigError, DataError
from v1builder.schema.recipe import CellRecipe


@pytest.mark.parametrize(
    ("radius", "published"), [(400, 66_652), (200, 16_728), (100, 4_239), (50, 1_141)]
)
def test_published_numbers_with_the_201_published_models(tables, radius, published):
    models = tables.population_cell_models["population"]
    assert len(models) == 201
    assert cell_counts(tables.populations, models, radius).sum() == published


def test_full_column_has_the_number_of_the_table_population_by_population(tables, models):
    counts = cell_counts(tables.populations, models["population"], 700.0)
    for row in tables.populations.to_dict("records"):
        of_population = counts[models["population"] == row["population"]]
        assert of_population.sum() == row["n_cells_radius_700um"]
        assert np.ptp(of_population) <= 1  # spread evenly


@pytest.mark.parametrize("radius", [29.9, 700.1, 0.0, -100.0, np.nan, np.inf])
def test_radius_out_of_range(tables, models, radius):
    with pytest.raises(ConfigError, match="from 30 to 700 um"):
        cell_counts(tables.populations, models["population"], radius)


def test_population_without_a_cell_model(tables, models):
    others = models["population"][models["population"] != "i6Vip"]
    with pytest.raises(DataError, match="'i6Vip' has no cell model"):
        cell_counts(tables.populations, others, 100.0)


def test_positions_are_uniform_over_disc_and_layer(tables, models):
    cells = place_cells(tables.populations, models["population"], 150.0, 2, CellRecipe())
    r = np.hypot(cells.x, cells.z)
    assert r.min() >= 1
    assert r.max() <= 150
    assert stats.kstest((r**2 - 1) / (150**2 - 1), "uniform").pvalue > 1e-3
    phi = np.arctan2(cells.z, cells.x) / (2 * np.pi) % 1
    assert stats.kstest(phi, "uniform").pvalue > 1e-3
    assert abs(stats.spearmanr(r, phi).statistic) < 0.05
    for index, row in enumerate(tables.populations.to_dict("records")):
        y = cells.y[cells.population_index == index]
        depth = (-y - row["depth_top_um"]) / (row["depth_bottom_um"] - row["depth_top_um"])
        assert stats.kstest(depth, "uniform").pvalue > 1e-4


def test_tuning_is_evenly_spaced_within_each_cell_model(column):
    for kind in np.unique(column.type_index):
        angles = column.tuning_angle[column.type_index == kind]
        np.testing.assert_allclose(angles, np.arange(len(angles)) * 360 / len(angles))


def test_target_sizes_are_lognormal_by_population(tables, models):
    cells = place_cells(tables.populations, models["population"], 300.0, 4, CellRecipe())
    assert cells.target_sizes.min() >= 1
    for index, row in enumerate(tables.populations.to_dict("records")):
        here = cells.population_index == index
        logs = np.log(cells.target_sizes[here])
        shape, n = row["nsyn_lognorm_shape"], here.sum()
        assert abs(logs.mean() - np.log(row["nsyn_lognorm_scale"])) < 4 * shape / np.sqrt(n)
        assert abs(logs.std() / shape - 1) < 4 / np.sqrt(2 * n)
        mean = int(row["nsyn_lognorm_scale"] * np.exp(shape**2 / 2))
        np.testing.assert_array_equal(cells.size_ratio[here], cells.target_sizes[here] / mean)
        assert mean_size(tables.populations)[index] == mean


def test_poisson_counts_vary_with_the_seed_around_the_published_numbers(tables, models):
    population = models["population"]
    expected = cell_counts(tables.populations, population, 100.0)
    recipe = CellRecipe(poisson_counts=True)
    draws = [
        np.bincount(
            place_cells(tables.populations, population, 100.0, seed, recipe).type_index,
            minlength=len(expected),
        )
        for seed in range(20)
    ]
    chi_square = ((np.array(draws) - expected) ** 2 / expected).sum()
    assert stats.chi2(20 * len(expected)).sf(chi_square) > 1e-4
    assert stats.chi2(20 * len(expected)).cdf(chi_square) > 1e-4


def test_seed_decides_everything_random(tables, models):
    first, again, other = (
        place_cells(tables.populations, models["population"], 50.0, seed, CellRecipe())
        for seed in (1, 1, 2)
    )
    for name in ("x", "y", "z", "target_sizes"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert np.any(getattr(first, name) != getattr(other, name))
