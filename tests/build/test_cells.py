"""Numbers, places and sizes of V1 cells against the published ones and their distributions."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from v1builder.build.cells import cell_counts, mean_size, place_cells, population_counts
from v1builder.schema.errors import ConfigError, DataError
from v1builder.schema.recipe import CellRecipe

#: PlacedCells of the published model, which rounds every cell model up.
PUBLISHED = {400: 66_652, 200: 16_728, 100: 4_239, 50: 1_141}


@pytest.mark.parametrize(
    ("radius", "total"), [(700, 203_816), (400, 66_552), (200, 16_638), (100, 4_160), (50, 1_040)]
)
def test_a_column_has_its_share_of_the_published_cells(tables, models, radius, total):
    """The share of the area, to half a cell, whatever the number of cell models."""
    everyone = tables.populations["n_cells_radius_700um"].sum()
    assert abs(total - everyone * (radius / 700) ** 2) <= 0.5
    for names in (models["population"], tables.population_cell_models["population"]):
        assert cell_counts(tables.populations, names, radius).sum() == total


@pytest.mark.parametrize(("radius", "total"), PUBLISHED.items())
def test_the_published_totals_are_those_of_rounding_every_cell_model_up(tables, radius, total):
    """So that what the table is read as is what the published model was built from."""
    names = tables.population_cell_models["population"]
    full = cell_counts(tables.populations, names, 700)
    assert len(full) == 201
    assert (-(-full * int(radius) ** 2 // 700**2)).sum() == total


@pytest.mark.parametrize("radius", [30, 33.3, 50, 100, 123.4, 250, 400, 699, 700])
def test_no_population_is_off_by_a_cell(tables, radius):
    quota = tables.populations["n_cells_radius_700um"] * (radius / 700) ** 2
    counts = population_counts(tables.populations, radius)
    assert np.all(np.abs(counts - quota) < 1)
    assert abs(counts.sum() - quota.sum()) <= 0.5 + 1e-9


def test_remaining_cells_go_to_the_largest_remainders_and_then_to_the_first():
    def shares(*numbers, radius=350.0):  # a quarter of the cells
        return list(population_counts(pd.DataFrame({"n_cells_radius_700um": numbers}), radius))

    assert shares(6, 6, 6) == [2, 2, 1]  # 1.5 each, 4.5 in all
    assert shares(5, 7, 6) == [1, 2, 2]  # 1.25, 1.75, 1.5
    assert shares(400, 8) == [100, 2]
    assert shares(40_000, 1) == [10_000, 1]  # nobody vanishes


@pytest.mark.parametrize("radius", [30, 50, 100, 123.4, 400])
def test_a_cell_model_has_its_share_to_less_than_a_cell(tables, models, radius):
    full = cell_counts(tables.populations, models["population"], 700)
    counts = cell_counts(tables.populations, models["population"], radius)
    of_population = population_counts(tables.populations, radius)
    for name, total in zip(tables.populations["population"], of_population, strict=True):
        here = models["population"] == name
        assert counts[here].sum() == total
        quota = full[here] * total / full[here].sum()
        assert np.all(np.abs(counts[here] - quota) < 1)
        # and so has every stretch of the list: no part of it is left out
        assert np.all(np.abs(np.cumsum(counts[here]) - np.cumsum(quota)) <= 0.5 + 1e-9)


def test_a_small_column_borrows_from_every_lender(tables, models):
    counts = cell_counts(tables.populations, models["population"], 30.0)
    other = models["population"] == "e4other"
    used = set(models["borrowed_from"][other & (counts > 0)])
    assert used == {"e4Nr5a1", "e4Rorb", "e4Scnn1a"}
    vip = cell_counts(tables.populations, models["population"], 50.0)
    assert vip[models["population"] == "i6Vip"].sum() == 1  # 1.47 expected; 11 when rounded up


def test_a_network_of_some_populations_has_the_counts_of_the_whole(tables, models):
    whole = cell_counts(tables.populations, models["population"], 77.0)
    for name in ("i6Vip", "i23Pvalb", "e4Rorb"):
        here = models["population"] == name
        part = pd.DataFrame(tables.populations[tables.populations["population"] == name])
        alone = cell_counts(part, models["population"][here], 77.0, tables.populations)
        np.testing.assert_array_equal(alone, whole[here])


def test_full_column_has_the_number_of_the_table_population_by_population(tables, models):
    counts = cell_counts(tables.populations, models["population"], 700.0)
    for row in tables.populations.to_dict("records"):
        of_population = counts[models["population"] == row["population"]]
        assert of_population.sum() == row["n_cells_radius_700um"]
        assert np.ptp(of_population) <= 1  # spread evenly


def test_the_smallest_column_for_a_readout_has_enough_layer_5_cells(tables, models):
    """Two pools of 30 cells within 55 um."""
    cells = place_cells(tables.populations, models["population"], 50.0, 1, CellRecipe())
    names = tables.populations["population"].to_numpy()[cells.population_index]
    assert np.isin(names, ["e5IT", "e5ET", "e5NP"]).sum() == 146


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
        angles = np.sort(column.tuning_angle[column.type_index == kind])
        gaps = np.diff(np.append(angles, angles[0] + 360))
        np.testing.assert_allclose(gaps, 360 / len(angles), atol=1e-9)


def test_tuning_is_uniform_in_every_sign_and_no_angle_is_preferred(tables, models):
    """With every model starting at 0, 57 % of a small column's inhibitory cells sat at exactly 0."""
    inhibitory = (tables.populations["ei"] == "i").to_numpy()
    begins = []
    for seed in range(10):
        cells = place_cells(tables.populations, models["population"], 50.0, seed, CellRecipe())
        assert np.all((cells.tuning_angle >= 0) & (cells.tuning_angle < 360))
        for sign in (inhibitory, ~inhibitory):
            angles = cells.tuning_angle[sign[cells.population_index]]
            assert np.max(np.unique(angles, return_counts=True)[1]) == 1
            assert np.sum(angles == 0) == 0
            assert stats.kstest(angles / 360, "uniform").pvalue > 1e-3
        _, first = np.unique(cells.type_index, return_index=True)
        begins.append(cells.tuning_angle[first] / 360)
    assert stats.kstest(np.concatenate(begins), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(begins[0], begins[1])[0, 1]) < 0.3  # 175 models


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


def test_poisson_counts_vary_with_the_seed_around_the_fixed_numbers(tables, models):
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
    used = expected > 0
    assert np.array(draws)[:, ~used].sum() == 0
    chi_square = ((np.array(draws) - expected)[:, used] ** 2 / expected[used]).sum()
    law = stats.chi2(20 * used.sum())
    assert min(law.sf(chi_square), law.cdf(chi_square)) > 1e-4


def test_seed_decides_everything_random(tables, models):
    first, again, other = (
        place_cells(tables.populations, models["population"], 50.0, seed, CellRecipe())
        for seed in (1, 1, 2)
    )
    for name in ("x", "y", "z", "tuning_angle", "target_sizes"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert np.any(getattr(first, name) != getattr(other, name))
