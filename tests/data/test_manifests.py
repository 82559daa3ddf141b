"""The manifests describe the embedded tables exactly, and are found wherever the package is."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from v1builder.curate.store import TABLES
from v1builder.schema import manifests
from v1builder.schema.errors import ConfigError, DataError
from v1builder.schema.files import sha256_of
from v1builder.schema.manifests import manifest_folder, read_manifests, table_schemas

SCHEMAS = table_schemas(read_manifests())
UNITS_IN_NAMES = {
    "_mV": "mV",
    "_pA": "pA",
    "_pF": "pF",
    "_nS": "nS",
    "_ms": "ms",
    "_um": "um",
    "_Hz": "Hz",
    "_MOhm": "MOhm",
    "_per_s": "1/s",
}


def test_manifests_and_store_name_the_same_tables() -> None:
    assert set(SCHEMAS) == set(TABLES)


def test_every_embedded_file_is_described() -> None:
    described = {schema.file for schema in SCHEMAS.values()}
    present = {f"tables/{path.name}" for path in (manifest_folder() / "tables").glob("*.csv")}
    assert described == present


@pytest.mark.parametrize("name", TABLES)
def test_embedded_table_is_what_its_manifest_says(name: str) -> None:
    schema = SCHEMAS[name]
    path = manifest_folder() / schema.file
    assert sha256_of(path) == schema.sha256
    frame = schema.read(path, schema.sha256, schema.rows)
    assert list(frame.columns) == [column.name for column in schema.columns]
    assert len(frame) == schema.rows


@pytest.mark.parametrize("name", TABLES)
def test_unit_in_a_column_name_is_its_unit(name: str) -> None:
    for column in SCHEMAS[name].columns:
        for suffix, unit in UNITS_IN_NAMES.items():
            if column.name.endswith(suffix) and "Hz_per" not in column.name:
                assert column.unit == unit, column.name


def test_every_source_can_be_cited_and_says_its_terms() -> None:
    for manifest in read_manifests():
        record = manifest.record()
        assert record["citation"]
        assert record["licence"]
        assert record["terms"].startswith("https://")
        assert set(record["tables"]) == set(manifest.tables)


def test_wheel_layout_is_found_before_the_source_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "v1builder"
    monkeypatch.setattr(manifests, "_PACKAGE", package)
    with pytest.raises(DataError, match="not installed") as caught:
        manifest_folder()
    assert str(package / "data_manifests") in str(caught.value)
    (tmp_path / "site-packages" / "data_manifests" / "tables").mkdir(parents=True)
    assert manifest_folder() == tmp_path / "site-packages" / "data_manifests"
    (package / "data_manifests" / "tables").mkdir(parents=True)
    assert manifest_folder() == package / "data_manifests"


def test_package_unpacked_like_a_wheel_reads_its_own_tables(tmp_path: Path) -> None:
    package = tmp_path / "v1builder"
    source = Path(manifests.__file__).parent.parent
    for part in ("schema", "curate"):
        shutil.copytree(source / part, package / part, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").write_text("")
    shutil.copytree(manifest_folder(), package / "data_manifests")
    code = (
        "from v1builder.schema.manifests import manifest_folder\n"
        "from v1builder.curate import read_store, cell_models\n"
        "print(manifest_folder(), len(cell_models(read_store())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(package / "data_manifests"), "226"]


def _copy_of_manifests(tmp_path: Path) -> Path:
    return Path(shutil.copytree(manifest_folder(), tmp_path / "data_manifests"))


def test_unknown_key_in_a_manifest_names_the_nearest(tmp_path: Path) -> None:
    folder = _copy_of_manifests(tmp_path)
    path = folder / "allen_lgn_model.toml"
    path.write_text(path.read_text().replace('licence = "', 'license = "', 1))
    with pytest.raises(ConfigError) as caught:
        read_manifests(folder)
    assert "did you mean 'licence'?" in str(caught.value)


def test_two_manifests_for_one_table(tmp_path: Path) -> None:
    folder = _copy_of_manifests(tmp_path)
    shutil.copy(folder / "allen_lgn_model.toml", folder / "other.toml")
    with pytest.raises(DataError, match="two manifests describe the same table"):
        read_manifests(folder)


def test_table_that_cites_an_unknown_reference(tmp_path: Path) -> None:
    folder = _copy_of_manifests(tmp_path)
    path = folder / "allen_lgn_model.toml"
    path.write_text(path.read_text().replace('key = "durand2016"', 'key = "durand2017"'))
    with pytest.raises(DataError, match="unknown reference") as caught:
        read_manifests(folder)
    assert len(caught.value.problems) == 2  # both tables of that source


def test_no_manifest_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data manifest"):
        read_manifests(tmp_path)
