"""A network built from a live store carries where its data come from."""

import json
from pathlib import Path

import pytest
from allen_server import AllenServer
from synphys_database import write_database

from v1builder.fetch.transfer import Transfer
from v1builder.schema.files import sha256_of
from v1builder.stores import fetch

pytest.importorskip("numba", reason="networks are built in the environment that trains")


def test_provenance_and_references_travel_into_the_network(
    server: AllenServer, tmp_path: Path, quick: Transfer
) -> None:
    from v1builder import pipeline

    database = write_database(tmp_path / "synphys_r2.1_small.sqlite")
    server.files["/synphys_r2.1_small.sqlite"] = database.read_bytes()
    pins = tmp_path / "pins.toml"
    pins.write_text(
        '[files."synaptic_physiology/synphys_r2.1_small.sqlite"]\n'
        f'size = {database.stat().st_size}\nsha256 = "{sha256_of(database)}"\n'
    )
    store = fetch(
        tmp_path / "store",
        source="live",
        select=["synaptic_physiology"],
        pins=pins,
        services={"synaptic_physiology": server.url},
        transfer=quick,
    )
    net = pipeline.build(tmp_path / "net", radius=30, seed=1, store=store)
    data = json.loads((net / "provenance.json").read_text())["data"]
    assert data["source"] == "live"
    source = next(one for one in data["sources"] if one["name"] == "allen_synaptic_physiology")
    assert source["live"]["files"] == 1
    assert source["retrieved"]
    assert (
        sha256_of(store / "tables/synaptic_physiology.csv")
        == (source["tables"]["synaptic_physiology"]["sha256"])
    )
    assert source["retrieved"] in (net / "CITATIONS.md").read_text()
    assert "campagnola2022" in (net / "CITATIONS.bib").read_text()
