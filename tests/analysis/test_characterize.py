"""Derived quantities of a built column, and what is said where they cannot be measured."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from v1builder.analysis import connectivity, psp
from v1builder.characterize import characterize
from v1builder.load import load_network
from v1builder.schema.errors import DataError, StorageError


@pytest.fixture(scope="module")
def measured(small_column, tmp_path_factory):
    page = characterize(small_column, tmp_path_factory.mktemp("characterized") / "out")
    return page.parent


@pytest.fixture(scope="module")
def summary(measured):
    return json.loads((measured / "characterization.json").read_text())["summary"]


def reference(folder, name):
    return pd.read_csv(folder / "reference" / f"{name}.csv")


def column_of(folder, displacement=50.0, change=lambda table: table):
    network = load_network(folder)
    edges = network.edges["v1_to_v1"]
    rule = change(reference(folder, "distance_orientation_rule"))
    column = connectivity.column_of(
        network.cells.attributes,
        reference(folder, "populations"),
        reference(folder, "connection_probability"),
        rule,
        displacement,
        400.0,
    )
    return column, edges.source_index, edges.target_index


def test_every_cell_model_agrees_with_its_closed_forms(summary):
    found = summary["excitability"]
    assert found["rheobase_agrees"] == found["cell_models"] == 152  # of 226, in 374 cells
    assert found["f_i_trains_equal_to_closed_form"] == found["f_i_trains"]


def test_rheobases_follow_the_recorded_ones(measured):
    table = pd.read_csv(measured / "measured.csv").set_index(["quantity", "group"])
    assert table.loc[("rheobase_pA", "all"), "n"] > 110
    assert table.loc[("rheobase_pA", "all"), "spearman"] > 0.7
    assert table.loc[("f_i_slope_Hz_per_pA", "all"), "spearman"] > 0.4


def test_unit_psps_are_those_the_builder_divided_weights_by(summary):
    assert summary["unit_psp"]["compared"] == 10 * summary["excitability"]["cell_models"]
    assert summary["unit_psp"]["largest_relative_error"] < 1e-6


def test_psps_follow_the_measured_lognormals(summary):
    found = summary["psp"]
    assert found["residuals_tested"] > 20
    assert found["residual_sd"] == pytest.approx(1, abs=0.05)
    assert found["residual_p_below_1_percent"] <= 2
    assert found["median_over_expected_edges"] == pytest.approx(1, abs=0.1)


def test_connections_are_those_of_the_rule(summary):
    found = summary["connectivity"]
    assert found["targets"] == found["of_targets"]
    assert abs(found["z"]) < 3
    assert found["connection_probability"]["z_sd"] == pytest.approx(1, abs=0.2)
    assert found["cells_z_sd"] == pytest.approx(1, abs=0.15)


def test_a_wrong_rule_is_seen(small_column):
    """A p_max or sigma that is not the network's, or no orientation rule, gives z scores far from 0."""

    def z_of(**changed):
        sums = connectivity.sum_over_pairs(*column_of(small_column, **changed))
        return (sums.connections - sums.expected).sum() / np.sqrt(sums.variance.sum())

    assert abs(z_of()) < 3
    assert abs(z_of(displacement=150.0)) > 5
    assert abs(z_of(change=lambda table: table.assign(sigma_um=table["sigma_um"] / 1.5))) > 5


def test_a_part_of_the_targets_has_the_same_probabilities(small_column):
    column, source, target = column_of(small_column)
    whole = connectivity.sum_over_pairs(column, source, target)
    part = connectivity.sum_over_pairs(column, source, target, max_pairs=len(column.x) ** 2 / 3)
    assert len(part.targets) == pytest.approx(len(column.x) / 3, abs=1)
    p_whole, p_part = (sums.expected.sum() / sums.pairs.sum() for sums in (whole, part))
    assert p_part == pytest.approx(p_whole, rel=0.1)
    np.testing.assert_allclose(part.in_degree, whole.in_degree[part.targets])
    assert part.connections.sum() == np.isin(target, part.targets).sum()


def test_edges_see_larger_cells_than_the_tables_do():
    """Drawn by the rule, amplitudes have the table's median per cell and e^(-s_n^2) of it per edge."""
    rng = np.random.default_rng(2)
    shape, scale, s_n, sizes = 0.7, 0.5, 0.5, 2000.0
    cells = sizes * np.exp(s_n * rng.standard_normal(4000))
    size = np.repeat(cells, rng.poisson(cells / 100))
    spread = np.sqrt(shape**2 - s_n**2) * rng.standard_normal(len(size))
    edges = pd.DataFrame(
        {
            "connection": "a",
            "psp_mV": scale * sizes / size * np.exp(spread),
            "target_size": size,
            "nsyn_shape": s_n,
            "nsyn_scale": sizes,
        }
    )
    fit = pd.DataFrame(
        {"logn_shape_90th": [shape], "logn_scale_90th": [scale], "N_90th": [20]}, index=["a"]
    )
    row = psp.compare_psps(edges, fit).iloc[0]
    assert row["median_mV"] == pytest.approx(scale * np.exp(-(s_n**2)), rel=0.05)
    assert row["cell_median_mV"] == pytest.approx(scale, rel=0.05)
    assert row["ks_cells"] < 0.03 < 0.1 < row["ks_edges"]
    assert row["residual_ks_p"] > 0.01
    wrong = psp.compare_psps(edges.assign(psp_mV=edges["psp_mV"] * 1.05), fit).iloc[0]
    assert wrong["residual_ks_p"] < 1e-6


def test_sections_without_their_tables_are_named(small_column, tmp_path):
    net = shutil.copytree(small_column, tmp_path / "net")
    (net / "reference" / "psp_amplitude.csv").unlink()
    characterize(net, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "characterization.json").read_text())
    assert list(content["left_out"]) == ["psp"]
    assert "psp_amplitude" in content["left_out"]["psp"]
    assert "psp_amplitude" in (tmp_path / "out" / "index.html").read_text()


def test_the_same_network_gives_the_same_bytes_and_nothing_is_overwritten(
    small_column, measured, tmp_path
):
    again = characterize(small_column, tmp_path / "out").parent
    for name in ("characterization.json", "psp_amplitudes.csv", "degrees.csv", "f_i_curves.csv"):
        assert (again / name).read_bytes() == (measured / name).read_bytes()
    with pytest.raises(StorageError, match="already exists"):
        characterize(small_column, tmp_path / "out")


def test_a_damaged_table_is_one_message_and_leaves_nothing(small_column, tmp_path):
    net = shutil.copytree(small_column, tmp_path / "net")
    (net / "reference" / "populations.csv").write_bytes(b"")
    with pytest.raises(DataError, match=r"populations\.csv"):
        characterize(net, tmp_path / "out")
    assert not (tmp_path / "out").exists()
