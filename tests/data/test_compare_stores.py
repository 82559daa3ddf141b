"""What is different between two stores is said value by value; references are written out."""

import json
import re
from pathlib import Path

import pytest

from v1builder.curate import read_store
from v1builder.curate.compare import Difference, compare_stores, differences_frame, summary
from v1builder.fetch import fetch
from v1builder.schema.citations import citations_bibtex, citations_markdown
from v1builder.schema.errors import DataError
from v1builder.schema.files import sha256_of


def edit(folder: Path, table: str, old: str, new: str, rows: int = 0) -> None:
    """Change a table as a newer release would: with its record."""
    path = folder / "tables" / f"{table}.csv"
    record = folder / "provenance.json"
    before = sha256_of(path)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    text = record.read_text().replace(before, sha256_of(path))
    if rows:
        loaded = json.loads(text)
        for source in loaded["sources"]:
            if table in source["tables"]:
                source["tables"][table]["rows"] += rows
        text = json.dumps(loaded)
    record.write_text(text)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return fetch(tmp_path / "store")


def test_same_data_have_no_difference(store: Path) -> None:
    assert compare_stores(None, store) == []


def test_one_changed_value(store: Path) -> None:
    edit(store, "background_target_rate", "e23Cux2,0.63", "e23Cux2,0.7")
    (one,) = compare_stores(None, store)
    assert (one.table, one.row, one.column) == (
        "background_target_rate",
        "population e23Cux2",
        "target_median_rate_Hz",
    )
    assert (one.before, one.after) == (0.63, 0.7)
    assert str(one).endswith("target_median_rate_Hz 0.63 -> 0.7 (+11.11%)")
    (back,) = compare_stores(store, None)
    assert (back.before, back.after) == (0.7, 0.63)


def test_rows_added_and_removed(store: Path) -> None:
    path = store / "tables" / "synaptic_physiology_connectivity.csv"
    last = path.read_text().splitlines()[-1]
    assert last.startswith("vip,vip")
    edit(store, "synaptic_physiology_connectivity", last + "\n", "", rows=-1)
    (one,) = compare_stores(None, store)
    assert (one.kind, one.row) == ("removed", "pre vip, post vip")
    assert compare_stores(store, None)[0].kind == "added"


def test_value_that_became_empty(store: Path) -> None:
    text = (store / "tables" / "specimens.csv").read_text()
    line = next(line for line in text.splitlines() if line.startswith("313860745,"))
    cells = line.split(",")
    assert cells[16] == "Exc_3"
    cells[16] = ""
    edit(store, "specimens", line, ",".join(cells))
    (one,) = compare_stores(None, store)
    assert (one.before, one.after) == ("Exc_3", None)
    assert "Exc_3 -> empty" in str(one)
    assert list(differences_frame([one])["column"]) == ["e_type"]


def test_summary_says_how_many_and_how_far() -> None:
    found = [Difference("t", f"id {i}", "changed", "tau_ms", 10.0, 10.0 + i) for i in range(1, 6)]
    found.append(Difference("t", "id 9", "added"))
    assert summary(found) == [
        "t: 5 rows changed in tau_ms, by +10.000% to +50.000%",
        "  id 1: tau_ms 10 -> 11 (+10.00%)",
        "  id 2: tau_ms 10 -> 12 (+20.00%)",
        "  id 3: tau_ms 10 -> 13 (+30.00%)",
        "  and 2 more",
        "t: 1 row added",
        "  id 9",
    ]
    assert summary([]) == ["no difference"]


def test_a_folder_that_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a store"):
        compare_stores(None, tmp_path)


def test_references_are_complete_and_parse() -> None:
    provenance = read_store().provenance
    text, bibtex = citations_markdown(provenance), citations_bibtex(provenance)
    keys = {key["key"] for source in provenance["sources"] for key in source["references"]}
    assert set(re.findall(r"@\w+\{(\w+),", bibtex)) == keys
    assert bibtex.count("{") == bibtex.count("}")
    for source in provenance["sources"]:
        assert source["title"] in text
        assert source["terms"] in text
    assert "tables glif_models" in text


def test_references_lie_in_the_store(store: Path) -> None:
    assert (store / "CITATIONS.md").is_file()
    assert (store / "CITATIONS.bib").read_text().startswith("@")
