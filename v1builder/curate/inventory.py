"""What is in a store: its tables, where they come from, what was left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from v1builder.curate.store import read_store


@dataclass(frozen=True)
class StoreInventory:
    """A store in a table a person reads.

    Attributes:
        tables: table, rows, from (snapshot, live, or a mixture in words).
        notes: what was fetched, what was left out, and which further tables there are.
        sources: data sources with version, citation and licence.
    """

    tables: pd.DataFrame
    notes: list[str]
    sources: list[dict[str, Any]]


def take_store_inventory(folder: Path) -> StoreInventory:
    """Read and check a store.

    Raises:
        DataError: it is not a store, or a table is not as it was fetched.
    """
    sources = read_store(folder).provenance["sources"]
    rows = [
        {
            "table": name,
            "rows": table["rows"],
            "from": table.get("from", "snapshot"),
        }
        for source in sources
        for name, table in source["tables"].items()
    ]
    notes = live_notes(sources)
    left_out = folder / "extra" / "left_out.csv"
    if left_out.is_file():
        n = len(left_out.read_text(encoding="utf-8").splitlines()) - 1
        notes.append(f"specimens and models left out, with the reason: {n} ({left_out})")
    further = sorted(path.name for path in folder.glob("extra/*.csv") if path != left_out)
    if further:
        notes.append(f"further tables in {folder / 'extra'}: {', '.join(further)}")
    return StoreInventory(pd.DataFrame(rows), notes, sources)


def live_notes(sources: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence per source that was asked live, with the tables that are only partly from it."""
    notes = []
    for source in sources:
        live = source.get("live")
        if live is None:
            continue
        client = f" through {live['client']}" if "client" in live else ""
        mixed = [
            f"{name}: {table['from']}"
            for name, table in source["tables"].items()
            if table.get("from", "snapshot") != "live"
        ]
        but = f"; {', '.join(mixed)}" if mixed else ""
        files = "1 file" if live["files"] == 1 else f"{live['files']} files"
        notes.append(f"live: {source['name']}, {files} on {source['retrieved']}{client}{but}")
    return notes
