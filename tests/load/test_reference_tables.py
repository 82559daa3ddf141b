import shutil

import pytest

from v1builder.load.reference import IN_VIVO, read_in_vivo
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
