from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v1builder.analysis.invivo import (
    compare_with_recordings,
    ks_score,
)
from v1builder.load.network import NodePopulation
from v1builder.schema.errors import ConfigError, DataError, NetworkError
from v1builder.schema.names import CELL_CLASSES
from v1builder.schema.recordings import reference_type

Q = np.array([1.0, 2.0, 4.0, 6.0, 10.0])
P = np.array([0.05, 0.25, 0.50, 0.75, 0.95])


def test_a_large_sample_of_the_reference_itself_scores_one():
    u = (np.arange(100_000) + 0.5) / 100_000
    tails = np.where(u < 0.05, 0.3, np.where(u > 0.95, 500.0, np.interp(u, P, Q)))
    assert ks_score(tails, Q) == pytest.approx(1.0, abs=1e-4)


def test_scores_by_hand():
    assert ks_score(np.full(7, 0.5), Q) == pytest.approx(0.05)  # all below: G = 1 where F <= .05
    assert ks_score(np.full(7, 99.0), Q) == pytest.approx(0.05)
    assert ks_score(np.full(7, 4.0), Q) == pytest.approx(0.5)  # G jumps 0 -> 1 where F = .5
    assert ks_score(np.full(7, 5.0), Q) == pytest.approx(1 - 0.625)  # F(5) = .625, G before it 0
    assert ks_score(np.array([2.0, 6.0]), Q) == pytest.approx(
        0.75
    )  # .25 at 2 (before), 2 (after), 6
    assert np.isnan(ks_score(np.array([np.nan]), Q))
    assert ks_score(np.array([np.nan, 4.0]), Q) == pytest.approx(0.5)


def test_equal_quantiles_are_a_jump():
    """A quarter of the units share the value 0: G may jump there too."""
    q = np.array([0.0, 0.0, 1.0, 2.0, 3.0])
    sample = np.concatenate([np.zeros(250), np.interp((np.arange(750) + 0.5) / 1000 + 0.25, P, q)])
    assert ks_score(sample, q) > 0.95
    assert ks_score(np.zeros(10), q) == pytest.approx(0.25)


def halves(low, high):
    return st.integers(low, high).map(lambda value: value / 2)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(halves(-10, 40), min_size=1, max_size=12),
    st.lists(halves(0, 20), min_size=5, max_size=5).map(sorted),
)
def test_the_supremum_agrees_with_a_dense_search(sample, quantiles):
    """Independent: F's allowed range evaluated point by point on a grid, with all jumps on halves."""
    sample, q = np.array(sample), np.array(quantiles)
    step = 1 / 32
    grid = np.arange(-6, 21, step)
    g = (sample[None] <= grid[:, None]).mean(axis=1)
    low, high = np.zeros(len(grid)), np.ones(len(grid))
    for i, x in enumerate(grid):
        below, above = np.flatnonzero(q <= x), np.flatnonzero(q > x)
        if not len(below):
            high[i] = 0.05
        elif not len(above):
            low[i] = 0.95
        else:
            a, b = below[-1], above[0]
            low[i] = high[i] = P[a] + (P[b] - P[a]) * (x - q[a]) / (q[b] - q[a])
    brute = 1 - np.maximum(0, np.maximum(low - g, g - high)).max()
    score = ks_score(sample, q)
    assert 0.05 - 1e-9 <= score <= brute + 1e-9
    assert score >= brute - 0.5 * step - 1e-9  # F rises by at most 0.25 per half


def test_every_population_has_its_recordings():
    assert reference_type("e23Cux2") == "L2/3 Exc"
    assert reference_type("i23Pvalb") == "L2/3 PV"
    assert reference_type("e4other") == "L4 Exc"
    assert reference_type("e5ET") == reference_type("e5NP") == "L5 Exc"
    assert reference_type("i1Htr3a") == "L1 Htr3a"
    assert reference_type("i6Vip") == "L6 VIP"
    types = {reference_type(name) for name in CELL_CLASSES}
    assert len(types) == 17
    with pytest.raises(NetworkError, match="CA1"):
        reference_type("CA1")


def reference():
    rows = [
        ("L2/3 Exc", "osi", 203, *Q / 10),
        ("L2/3 Exc", "mean_rate_Hz", 503, *Q),
        ("L2/3 SST", "osi", 14, *Q / 10),
        ("L4 Exc", "osi", 300, *Q / 10),
    ]
    return pd.DataFrame(
        rows,
        columns=pd.Index(["cell_type", "metric", "n_units", "q05", "q25", "median", "q75", "q95"]),
    )


@pytest.fixture
def cells():
    pop = np.array(["e23Cux2"] * 5 + ["i23Sst"] * 3)
    return NodePopulation(
        "v1", np.arange(8), np.ones(8, np.int64), {"pop_name": pop}, pd.DataFrame()
    )


def test_comparison_with_recordings(cells):
    osi = np.array([0.4, 0.4, 0.4, 0.4, np.nan, 0.4, 0.4, 0.4])
    table = compare_with_recordings(
        {"osi": osi, "mean_rate_Hz": np.full(8, 99.0)}, cells, reference()
    )
    by_key = table.set_index(["cell_type", "metric"])
    assert len(table) == 3  # no L4 cells in the network
    assert by_key.loc[("L2/3 Exc", "osi"), "score"] == pytest.approx(0.5)
    assert by_key.loc[("L2/3 Exc", "osi"), "n_cells"] == 4
    assert by_key.loc[("L2/3 Exc", "mean_rate_Hz"), "score"] == pytest.approx(0.05)
    assert by_key.loc[("L2/3 Exc", "mean_rate_Hz"), "reference_median"] == 4.0
    assert np.isnan(by_key.loc[("L2/3 SST", "osi"), "score"])  # 14 units are too few
    assert by_key.loc[("L2/3 SST", "osi"), "median"] == 0.4
    assert len(compare_with_recordings({}, cells, reference())) == 0


def test_wrong_input(cells):
    with pytest.raises(ConfigError, match="did you mean 'osi'"):
        compare_with_recordings({"osy": np.ones(8)}, cells, reference())
    with pytest.raises(ConfigError, match="not one value per cell"):
        compare_with_recordings({"osi": np.ones(7)}, cells, reference())
    with pytest.raises(DataError, match="n_units"):
        compare_with_recordings({}, cells, reference().drop(columns="n_units"))
    broken = reference()
    broken.loc[2, "q25"] = 9.0
    with pytest.raises(DataError, match="row 2"):
        compare_with_recordings({}, cells, broken)


def test_the_embedded_reference_fits_every_v1_population():
    table = pd.read_csv(
        Path(__file__).parents[2] / "data_manifests/tables/neuropixels_reference.csv"
    )
    pop = np.array(list(CELL_CLASSES))
    cells = NodePopulation(
        "v1", np.arange(22), np.ones(22, np.int64), {"pop_name": pop}, pd.DataFrame()
    )
    measured = {name: np.full(22, 0.2) for name in table["metric"].unique()}
    compared = compare_with_recordings(measured, cells, table)
    assert set(compared["cell_type"]) == {reference_type(name) for name in CELL_CLASSES}
    scored = compared.dropna(subset="score")
    assert (scored["n_units"] >= 15).all()
    assert scored["score"].between(0.05, 1).all()
    assert len(scored) == (table["n_units"] >= 15).sum()
