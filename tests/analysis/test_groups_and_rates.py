import numpy as np
import pandas as pd
import pytest

from v1builder.analysis.rates import rates_of_cells, rates_of_spike_times, summarise_rates
from v1builder.load.groups import LEVELS, group_cells
from v1builder.load.network import NodePopulation
from v1builder.schema.errors import ConfigError, NetworkError
from v1builder.schema.names import CELL_CLASSES


def nodes(pop, ei=None, types=None):
    n = len(pop)
    attributes = {"model_type": np.full(n, "point_neuron"), "pop_name": np.array(pop)}
    attributes["ei"] = np.array(ei if ei is not None else [name[0] for name in pop])
    types = np.arange(n) if types is None else np.array(types)
    return NodePopulation("v1", np.arange(n) + 5, types, attributes, pd.DataFrame())


POP = ["i4Sst", "e23Cux2", "e4Rorb", "e23Cux2", "i23Sst", "i1Htr3a"]


@pytest.mark.parametrize(
    ("level", "labels", "of_cell"),
    [
        ("cell", ("5", "6", "7", "8", "9", "10"), [0, 1, 2, 3, 4, 5]),
        ("cell_model", ("9", "20", "100"), [2, 1, 0, 1, 0, 0]),
        ("population", ("e23Cux2", "e4Rorb", "i1Htr3a", "i23Sst", "i4Sst"), [4, 0, 1, 0, 3, 2]),
        ("class", ("Exc", "Htr3a", "Sst"), [2, 0, 0, 0, 2, 1]),
        ("ei", ("e", "i"), [1, 0, 0, 0, 1, 1]),
        ("global", ("global",), [0, 0, 0, 0, 0, 0]),
    ],
)
def test_levels(level, labels, of_cell):
    groups = group_cells(nodes(POP, types=[100, 20, 9, 20, 9, 9]), level)
    assert groups.labels == labels
    assert len(groups) == len(labels)
    np.testing.assert_array_equal(groups.of_cell, of_cell)
    np.testing.assert_array_equal(groups.sizes, np.bincount(of_cell))


def test_levels_nest_for_all_v1_populations():
    cells = nodes(list(CELL_CLASSES) * 2)
    finer = group_cells(cells, "cell").of_cell
    for level in LEVELS[1:]:
        coarser = group_cells(cells, level).of_cell
        assert len(set(zip(finer, coarser, strict=True))) == len(set(finer))
        finer = coarser
    assert len(group_cells(cells, "population")) == 22


def test_levels_that_cannot_be():
    with pytest.raises(ConfigError, match="did you mean 'cell_model'"):
        group_cells(nodes(POP), "cell model")
    with pytest.raises(NetworkError, match="must be e or i"):
        group_cells(nodes(POP, ei=["x"] * 6), "ei")
    with pytest.raises(NetworkError, match="CA3"):
        group_cells(nodes(["CA3", "e4Rorb"]), "class")


def test_rates_by_hand():
    spikes = np.zeros((2, 10, 3), bool)  # 2 trials of 10 steps of 2 ms
    spikes[0, 2, 0] = spikes[0, 7, 0] = spikes[1, 9, 0] = spikes[1, 0, 1] = True
    np.testing.assert_allclose(rates_of_cells(spikes, dt=2.0), [75.0, 25.0, 0.0])
    np.testing.assert_allclose(rates_of_cells(spikes, dt=2.0, start=2, stop=16), [2 / 0.028, 0, 0])
    np.testing.assert_allclose(rates_of_cells(spikes[0], dt=2.0), [100.0, 0.0, 0.0])
    for start, stop in ((10, 10), (-2, 10), (0, 22)):
        with pytest.raises(ConfigError, match="time window"):
            rates_of_cells(spikes, dt=2.0, start=start, stop=stop)


def test_rates_of_spike_times_include_silent_cells_and_the_first_moment():
    cell, time = np.array([0, 2, 2, 0]), np.array([10.0, 10.0, 19.9, 20.0])
    np.testing.assert_allclose(
        rates_of_spike_times(cell, time, 4, start=10, stop=20), [100, 0, 200, 0]
    )
    with pytest.raises(ConfigError, match="empty"):
        rates_of_spike_times(cell, time, 4, start=10, stop=10)


def test_summary_of_rates():
    table = summarise_rates(np.array([0.0, 1.0, 4.0, 3.0, 2.0, 0.0]), nodes(POP), "class")
    assert list(table.index) == ["Exc", "Htr3a", "Sst"]
    assert table.loc["Exc", "mean_Hz"] == pytest.approx(8 / 3)
    assert table.loc["Exc", "median_Hz"] == 3
    assert table.loc["Sst", "silent_fraction"] == 0.5
    assert table.loc["Htr3a", "silent_fraction"] == 1
    assert table["n_cells"].sum() == 6
    with pytest.raises(ConfigError, match="wrong number"):
        summarise_rates(np.zeros(5), nodes(POP))
