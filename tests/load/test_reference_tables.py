import shutil

import pytest
from scipy import stats

from v1builder.load.reference import (
    IN_VIVO,
    IN_VIVO_UNITS,
    read_in_vivo,
    read_in_vivo_units,
)
from v1builder.schema.errors import DataError


@pytest.fixture
def folder(tmp_path, small_column):
    (tmp_path / "reference").mkdir()
    shutil.copy(small_column / IN_VIVO, tmp_path / IN_VIVO)
    return tmp_path


def test_recordings_travel_with_a_network(folder):
    table = read_in_vivo(folder)
    assert table is not None
    row = table.set_index(["cell_type", "metric"]).loc[("L2/3 Exc", "mean_rate_Hz")]
    assert (row["n_units"], row["median"]) == (503, pytest.approx(0.6716666667))
    config = folder / "circuit_config.json"
    config.write_text("{}")
    assert read_in_vivo(config) is not None


def test_a_network_of_others_has_none(tmp_path):
    assert read_in_vivo(tmp_path) is None


@pytest.mark.parametrize(("change", "said"), [
    (lambda text: text.replace("q75", "third"), "lack columns"),
    (lambda text: text.replace("0.6716666667", "much"), r"row \d+, column median"),
    (lambda text: "", "cannot be read"),
])  # fmt: skip
def test_a_damaged_table_names_its_file(folder, change, said):
    path = folder / IN_VIVO
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=said) as error:
        read_in_vivo(folder)
    assert str(path) in str(error.value)


@pytest.fixture
def units(tmp_path, small_column):
    (tmp_path / "reference").mkdir()
    shutil.copy(small_column / IN_VIVO_UNITS, tmp_path / IN_VIVO_UNITS)
    return tmp_path


def test_units_travel_too_and_those_held_out_are_others_of_the_same_kinds(units):
    table = read_in_vivo_units(units)
    assert table is not None
    assert table["unit_id"].is_unique
    parts = table.groupby(["cell_type", "split"]).size().unstack(fill_value=0)
    assert set(parts.columns) == {"target", "judge"}
    assert ((parts["target"] - parts["judge"]).abs() <= 2).all()
    # Both halves of a class are draws of one distribution (Bonferroni over classes); two layers are not.
    rates = {
        kind: [half["mean_rate_Hz"] for _, half in own.groupby("split")]
        for kind, own in table.groupby("cell_type")
        if len(own) > 30
    }
    p = [stats.ks_2samp(*halves).pvalue for halves in rates.values()]
    assert len(p) == 8
    assert min(p) * len(p) > 0.05
    assert stats.ks_2samp(rates["L5 Exc"][0], rates["L2/3 Exc"][0]).pvalue < 1e-6
    assert read_in_vivo_units(units / "nowhere") is None


@pytest.mark.parametrize(("change", "said"), [
    (lambda text: text.replace("split", "half"), "lack columns"),
    (lambda text: text.replace(",5.4,0.25", ",fast,0.25"), r"(?s)not a number.*row 2, column mean_rate_Hz"),
    (lambda text: text.replace(",5.4,0.25", ",-5.4,0.25"), r"(?s)negative.*row 2, column mean_rate_Hz"),
])  # fmt: skip
def test_a_damaged_table_of_units_names_its_file(units, change, said):
    path = units / IN_VIVO_UNITS
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=said):
        read_in_vivo_units(units)
