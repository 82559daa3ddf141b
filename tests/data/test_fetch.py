"""A store is made of verified tables, and an edited store is refused."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from v1builder.curate import citations, read_store
from v1builder.curate.store import TABLES
from v1builder.fetch import fetch, snapshot
from v1builder.schema.errors import ConfigError, DataError, StorageError, V1BuilderError
from v1builder.schema.files import hash_folder, sha256_of
from v1builder.schema.manifests import manifest_folder


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetch(tmp_path_factory.mktemp("fetched") / "store")


@pytest.fixture
def store_folder(fetched: Path, tmp_path: Path) -> Path:
    """A store to break."""
    return Path(shutil.copytree(fetched, tmp_path / "store"))


def test_store_equals_the_snapshot(fetched: Path) -> None:
    ours, embedded = read_store(fetched), read_store()
    assert ours.provenance == embedded.provenance
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(ours, name), getattr(embedded, name))


def test_store_holds_the_tables_and_their_provenance(fetched: Path) -> None:
    record = json.loads((fetched / "provenance.json").read_text())
    assert record["stage"] == "fetch"
    assert record["source"] == "snapshot"
    tables = {name: t for source in record["sources"] for name, t in source["tables"].items()}
    assert sorted(path.stem for path in (fetched / "tables").iterdir()) == sorted(TABLES)
    for name in TABLES:
        assert sha256_of(fetched / "tables" / f"{name}.csv") == tables[name]["sha256"]
    assert all(
        source[key]
        for source in record["sources"]
        for key in ("title", "url", "version", "licence", "terms", "citation", "references")
    )


def test_fetching_twice_gives_the_same_bytes(fetched: Path, tmp_path: Path) -> None:
    assert hash_folder(fetch(tmp_path / "again")) == hash_folder(fetched)


def test_progress_counts_the_tables(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    fetch(tmp_path / "store", progress=lambda *call: calls.append(call))
    assert calls == [("fetch", done, len(TABLES)) for done in range(1, len(TABLES) + 1)]


def test_an_existing_store_is_kept_unless_told(store_folder: Path) -> None:
    before = hash_folder(store_folder)
    with pytest.raises(StorageError, match="already exists"):
        fetch(store_folder)
    assert hash_folder(store_folder) == before
    (store_folder / "tables" / "populations.csv").unlink()
    fetch(store_folder, overwrite=True)
    assert hash_folder(store_folder) == before


def test_live_is_said_to_be_absent(tmp_path: Path) -> None:
    with pytest.raises(V1BuilderError, match="not available") as caught:
        fetch(tmp_path / "store", source="live")
    assert "--source snapshot" in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_unknown_source_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        fetch(tmp_path / "store", source="snapshit")
    assert "did you mean 'snapshot'?" in str(caught.value)
    assert "snapshot, live" in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_damaged_package_leaves_nothing_behind(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(shutil.copytree(manifest_folder(), tmp_path / "data_manifests"))
    table = package / "tables" / "specimens.csv"
    if damage == "missing":
        table.unlink()
    else:
        table.write_text(table.read_text().replace("VISp", "VISl", 1))
    monkeypatch.setattr(snapshot, "manifest_folder", lambda: package)
    with pytest.raises(DataError, match="specimens") as caught:
        fetch(tmp_path / "out" / "store")
    assert "install v1builder again" in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def _edit_cell(folder: Path) -> None:
    path = folder / "tables" / "glif_models.csv"
    path.write_text(path.read_text().replace("-69.0438207", "-68.0438207", 1))


def _drop_column(folder: Path) -> None:
    path = folder / "tables" / "lgn_to_v1.csv"
    pd.read_csv(path).drop(columns="psp_mV").to_csv(path, index=False)


def _drop_table(folder: Path) -> None:
    (folder / "tables" / "psp_lookup.csv").unlink()


def _empty_cell(folder: Path) -> None:
    path = folder / "tables" / "background_target_rate.csv"
    path.write_text(path.read_text().replace("e23Cux2,0.63", "e23Cux2,"))


def _drop_row(folder: Path) -> None:
    path = folder / "tables" / "distance_orientation_rule.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def _forget_table(folder: Path) -> None:
    path = folder / "provenance.json"
    path.write_text(path.read_text().replace('"lgn_to_v1": {', '"lgn_to_v2": {'))


def _truncate_provenance(folder: Path) -> None:
    path = folder / "provenance.json"
    path.write_text(path.read_text()[:100])


def _deep_provenance(folder: Path) -> None:
    (folder / "provenance.json").write_text("[" * 100_000)


def _pipe_for_provenance(folder: Path) -> None:
    (folder / "provenance.json").unlink()
    os.mkfifo(folder / "provenance.json")


def _pipe_for_table(folder: Path) -> None:
    (folder / "tables" / "psp_lookup.csv").unlink()
    os.mkfifo(folder / "tables" / "psp_lookup.csv")


def _provenance_of_something_else(folder: Path) -> None:
    (folder / "provenance.json").write_text('{"stage": "train"}')


def _provenance_without_hash(folder: Path) -> None:
    path = folder / "provenance.json"
    path.write_text(path.read_text().replace('"sha256"', '"sha1"'))


def _drop_provenance(folder: Path) -> None:
    (folder / "provenance.json").unlink()


@pytest.mark.parametrize(
    ("breaking", "expected"),
    [
        (_edit_cell, ["changed after it was recorded", "glif_models.csv", ", recorded "]),
        (_drop_column, ["column 'psp_mV' is missing", "lgn_to_v1.csv"]),
        (_drop_table, ["cannot read a table", "psp_lookup.csv"]),
        (_empty_cell, ["a value is missing", "row 2 (population e23Cux2)"]),
        (_drop_row, ["wrong number of rows", "3, recorded 4"]),
        (_forget_table, ["table 'lgn_to_v1' is not recorded", "'lgn_to_v2'"]),
        (_truncate_provenance, ["provenance of the store is damaged"]),
        (_deep_provenance, ["provenance of the store is damaged"]),
        (_pipe_for_provenance, ["this is not a store", "pipe"]),
        (_pipe_for_table, ["cannot read a table", "psp_lookup.csv"]),
        (_provenance_of_something_else, ["provenance of the store is damaged", "source"]),
        (_provenance_without_hash, ["provenance of the store is damaged", "sha256"]),
        (_drop_provenance, ["this is not a store", "provenance.json"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_broken_store(
    store_folder: Path, breaking: Callable[[Path], None], expected: list[str]
) -> None:
    breaking(store_folder)
    with pytest.raises(DataError) as caught:
        read_store(store_folder)
    for text in expected:
        assert text in str(caught.value)


def test_edited_table_shows_both_hashes(store_folder: Path) -> None:
    path = store_folder / "tables" / "glif_models.csv"
    before = sha256_of(path)
    _edit_cell(store_folder)
    with pytest.raises(DataError) as caught:
        read_store(store_folder)
    assert before in str(caught.value)
    assert sha256_of(path) in str(caught.value)


def test_every_broken_table_is_reported(store_folder: Path) -> None:
    for breaking in (_edit_cell, _drop_table, _empty_cell):
        breaking(store_folder)
    with pytest.raises(DataError) as caught:
        read_store(store_folder)
    for name in ("glif_models", "psp_lookup", "background_target_rate"):
        assert name in str(caught.value)


def test_population_that_no_table_knows(store_folder: Path) -> None:
    """Hash and shape are right, but two tables do not fit each other."""
    path = store_folder / "tables" / "background_target_rate.csv"
    old = sha256_of(path)
    path.write_text(path.read_text().replace("e4Rorb,", "e4Rorbb,"))
    record = store_folder / "provenance.json"
    record.write_text(record.read_text().replace(old, sha256_of(path)))
    with pytest.raises(DataError) as caught:
        read_store(store_folder)
    assert "'e4Rorbb' is not in column 'population' of table populations" in str(caught.value)
    assert "did you mean 'e4Rorb'?" in str(caught.value)


def test_citations_name_every_table_once_more(fetched: Path) -> None:
    found = citations(read_store(fetched).provenance)
    assert {table for citation in found for table in citation.tables} == set(TABLES)
    assert len({citation.key for citation in found}) == len(found)
    teeter = next(citation for citation in found if citation.key == "teeter2018")
    assert teeter.doi == "10.1038/s41467-017-02717-4"
    assert "Nature Communications 9:709" in teeter.text
    assert teeter.bibtex.startswith("@article{teeter2018,")


def test_neither_torch_nor_a_network_library_is_imported() -> None:
    code = (
        "import sys, v1builder.fetch, v1builder.curate\n"
        "print(*({'torch', 'requests', 'urllib3', 'allensdk', 'boto3', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
