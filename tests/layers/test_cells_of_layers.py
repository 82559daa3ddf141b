"""Which cells a layer has: what is kept of the data in each way to draw them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from v1builder.layers import GLIF, allen_cells
from v1builder.layers.cells import draw_cells, from_table
from v1builder.load.coordinates import to_theta
from v1builder.load.network import GroupedValues
from v1builder.schema.errors import ConfigError
from v1builder.schema.parameters import THRESHOLD_PARAMETERS

N = 3000


def drawn(cells, level=3, n=N, seed=0):
    return draw_cells(cells, n, level, np.random.default_rng(seed))


def test_the_allen_table_is_the_published_selection():
    table = allen_cells()
    assert len(table) == 165  # of the published model's, those with GLIF parameters
    assert set(table["ei"]) == {"e", "i"}
    assert table["share"].sum() == pytest.approx(1)
    of_populations = table.groupby("population")["share"].sum()
    assert of_populations.idxmax() == "e23Cux2"  # the largest population of V1
    inhibitory = table.loc[table["ei"] == "i", "share"].sum()
    assert 0.1 < inhibitory < 0.2  # Billeh et al. 2020: 15 % of V1's cells


def test_whole_cells_are_drawn_in_proportion():
    table = allen_cells()
    cells = drawn("allen:VISp")
    theirs = from_table(table, 3)
    row_of = {label: row for row, label in enumerate(theirs.labels)}
    rows = np.array([row_of[label] for label in cells.membrane.labels])
    for name, values in cells.membrane.values.items():
        np.testing.assert_array_equal(values, theirs.values[name][rows])
    found = pd.Series(cells.population).value_counts(normalize=True)
    wanted = table.groupby("population")["share"].sum()
    assert np.abs(found.reindex(wanted.index).fillna(0) - wanted).max() < 0.03
    assert (cells.ei == [name[0] for name in cells.population]).all()


def correlation(cells):
    """Of the coordinates log tau_m and log g over cells: what drawing aspects apart must destroy."""
    theta, space = to_theta(cells.membrane)
    per_cell = theta[cells.membrane.group_of]
    columns = [int(np.flatnonzero(space.of((name,)))[0]) for name in ("tau_m", "g")]
    return np.corrcoef(per_cell[:, columns].T)[0, 1], per_cell


def test_random_cells_have_the_spread_without_the_covariance():
    whole, of_whole = correlation(drawn("allen"))
    apart, of_apart = correlation(drawn("random"))
    assert whole < -0.3
    assert abs(apart) < 0.06  # 3/sqrt(N)
    spread = of_whole.std(0) > 0
    np.testing.assert_allclose(of_apart.std(0)[spread], of_whole.std(0)[spread], rtol=0.2)
    off = np.abs(of_apart.mean(0) - of_whole.mean(0))[spread] / of_whole.std(0)[spread]
    assert off.max() < 0.12  # 4 sqrt(2/N)


def test_mean_cells_are_the_mean_of_the_data():
    cells = drawn("mean", n=5)
    assert cells.membrane.labels == ("mean 0",)
    table, found = allen_cells(), cells.membrane.values
    models, share = from_table(table, 3).values, table["share"].to_numpy()
    tau = np.exp(share @ np.log(models["C_m"] / models["g"]))
    assert found["C_m"] / found["g"] == pytest.approx(tau)
    threshold = np.exp(share @ np.log(models["V_th"] - models["E_L"]))
    assert found["V_th"] - found["E_L"] == pytest.approx(threshold)
    charge = share @ (models["asc_amps"] / models["asc_decay"])
    np.testing.assert_allclose((found["asc_amps"] / found["asc_decay"])[0], charge)


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_a_level_has_what_it_has(level):
    values = drawn("allen", level, n=200).membrane.values
    assert np.any(values["asc_amps"]) == (level in (3, 4, 5))
    for name in THRESHOLD_PARAMETERS:
        with_it = (5,) if name.startswith("th_voltage") else (2, 4, 5)
        assert np.any(values[name]) == (level in with_it), name


def table_of(n=3):
    return pd.DataFrame(
        {
            "C_m": np.linspace(80, 120, n), "g": 5.0, "E_L": -70.0, "V_th": -50.0, "V_reset": -70.0,
            "t_ref": 2.0, "asc_amps_0": -10.0, "asc_decay_0": 0.01,
        }
    )  # fmt: skip


def test_a_table_of_as_many_cells_is_taken_in_order():
    cells = drawn(table_of(7), n=7)
    np.testing.assert_array_equal(cells.membrane.per_cell("C_m"), np.linspace(80, 120, 7))
    assert cells.membrane.values["asc_r"].tolist() == [[1.0]] * 7
    few = drawn(table_of(2), n=7)
    assert set(few.membrane.per_cell("C_m")) == {80.0, 120.0}
    weighted = drawn(table_of(2).assign(share=[0.0, 1.0]), n=2)
    assert weighted.membrane.per_cell("C_m").tolist() == [120.0, 120.0]


@pytest.mark.parametrize(
    ("table", "level", "message"),
    [
        (table_of().drop(columns="g"), 3, "need 'g'"),
        (table_of().drop(columns="asc_decay_0"), 3, "need 'asc_decay_0'"),
        (table_of().drop(columns="asc_amps_0"), 3, "need 'asc_amps_0'"),
        (table_of().assign(g=np.nan), 3, "'g' is not a number"),
        (table_of().assign(g="x"), 3, "'g' is not a number"),
        (table_of(0), 3, "table of cells is empty"),
        (table_of().assign(share=-1.0), 3, "shares of cell models"),
    ],
)
def test_tables_that_are_wrong(table, level, message):
    with pytest.raises(ConfigError, match=message) as caught:
        drawn(table, level, n=3)
    assert len(caught.value.problems) == 1


def test_a_level_without_data_names_every_column():
    with pytest.raises(ConfigError, match="choose a level below 5") as caught:
        drawn(table_of(), level=5, n=3)
    assert len(caught.value.problems) == len(THRESHOLD_PARAMETERS)


def test_grouped_values_and_levels_below():
    cells = drawn("allen", n=6).membrane
    again = drawn(cells, n=6).membrane
    for name in cells.values:
        np.testing.assert_array_equal(again.per_cell(name), cells.per_cell(name))
    assert not drawn(cells, level=1, n=6).membrane.values["asc_amps"].any()
    without = replace(cells, values={k: v for k, v in cells.values.items() if k != "g"})
    with pytest.raises(ConfigError, match="need 'g'"):
        drawn(without, n=6)


def test_cells_that_another_layer_has_learned():
    """Refined: drawn from the learned distribution, with everything else new."""
    options = {"dtype": torch.float64, "backend": "reference"}
    learned = GLIF(2, 10, cells="mean", trainable=["g", "V_th"], group_by="cell", seed=1, **options)
    with torch.no_grad():
        learned.network.cells.g.raw.add_(torch.linspace(-0.5, 0.5, 10))
    of_learned = learned.to_network().membrane
    assert isinstance(of_learned, GroupedValues)
    refined = GLIF(2, 25, cells=learned, seed=2, **options)
    g = refined.arrays.membrane.per_cell("g")
    assert set(g) <= set(of_learned.per_cell("g"))
    assert len(set(g)) > 5
    same = GLIF(2, 10, cells=learned, seed=2, **options)
    np.testing.assert_array_equal(same.arrays.membrane.per_cell("g"), of_learned.per_cell("g"))
    assert not torch.equal(same.weight_in, learned.weight_in)


@pytest.mark.parametrize(
    ("cells", "group_by", "different"),
    [
        ("mean", "cell_model", 1),
        ("mean", "cell", 8),
        ("random", "cell_model", 8),
        ("random", "global", 1),
    ],
)
def test_what_is_shared_is_learned_together(cells, group_by, different):
    """Homogeneous, learned from a homogeneous start, and from a spread one."""
    layer = GLIF(2, 8, cells=cells, group_by=group_by, trainable=["g"], seed=1, backend="reference")
    assert len(layer.network.cells.g.raw) == different
    start = layer.network.cells.g().detach().clone()
    assert len(start.unique()) == (8 if different == 8 and cells == "random" else 1)
    x = torch.randn(4, 50, 2, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(layer.parameters(), lr=10.0)
    layer(x)[0].mean().neg().backward()
    optimizer.step()
    after = layer.network.cells.g().detach()
    assert (after != start).any()
    assert (len(after.unique()) == 1) == (different == 1)
