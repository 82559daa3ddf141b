"""What is different between two stores, value by value."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from v1builder.curate.store import TABLES, read_store
from v1builder.schema.manifests import read_manifests, table_schemas

ADDED, REMOVED, CHANGED = "added", "removed", "changed"


@dataclass(frozen=True)
class Difference:
    """One row that only one store has, or one value that is not the same.

    Attributes:
        table: name.
        row: its key, "specimen_id 485058595, glif_level 3".
        kind: "added", "removed" or "changed".
        column: that changed; empty for a row added or removed.
        before: value in the first store; None where empty.
        after: value in the second store.
    """

    table: str
    row: str
    kind: str
    column: str = ""
    before: Any = None
    after: Any = None

    def relative_change(self) -> float | None:
        """(after - before) / |before| of numbers."""
        numbers = [isinstance(value, int | float) for value in (self.before, self.after)]
        if not all(numbers) or not self.before:
            return None
        return (self.after - self.before) / abs(self.before)

    def __str__(self) -> str:
        if self.kind != CHANGED:
            return f"{self.table}: {self.row}: {self.kind}"
        change = self.relative_change()
        percent = f" ({change:+.2%})" if change is not None else ""
        shown = [
            "empty" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
            for value in (self.before, self.after)
        ]
        return f"{self.table}: {self.row}: {self.column} {shown[0]} -> {shown[1]}{percent}"


def compare_stores(before: Path | str | None, after: Path | str | None) -> list[Difference]:
    """Every difference between two stores.

    Args:
        before: a store; None for the snapshot shipped with the package.
        after: another.

    Raises:
        DataError: one of them is missing or damaged.
    """
    one, other = read_store(before), read_store(after)
    schemas = table_schemas(read_manifests())
    found: list[Difference] = []
    for table in TABLES:
        found += _compare(
            table, schemas[table].key, _by_key(getattr(one, table), schemas[table].key),
            _by_key(getattr(other, table), schemas[table].key),
        )  # fmt: skip
    return found


def source_changes(before: Path | str | None, after: Path | str | None) -> list[str]:
    """A line per source whose version is not the same in two stores."""
    versions = [
        {source["name"]: source["version"] for source in read_store(store).provenance["sources"]}
        for store in (before, after)
    ]
    return [
        f"source {name}: {versions[0].get(name, 'none')} -> {versions[1].get(name, 'none')}"
        for name in sorted(set(versions[0]) | set(versions[1]))
        if versions[0].get(name) != versions[1].get(name)
    ]


def _by_key(frame: pd.DataFrame, key: tuple[str, ...]) -> dict[tuple[Any, ...], dict[str, Any]]:
    rows = frame.to_dict("records")
    return {
        tuple(row[name] for name in key): {str(k): _present(v) for k, v in row.items()}
        for row in rows
    }


def _present(value: Any) -> Any:
    return None if value is None or value != value else value  # NaN


def _compare(
    table: str,
    key: tuple[str, ...],
    before: dict[tuple[Any, ...], dict[str, Any]],
    after: dict[tuple[Any, ...], dict[str, Any]],
) -> list[Difference]:
    found = []
    for identity in sorted(set(before) | set(after), key=str):
        row = ", ".join(f"{name} {value}" for name, value in zip(key, identity, strict=True))
        if identity not in after:
            found.append(Difference(table, row, REMOVED))
        elif identity not in before:
            found.append(Difference(table, row, ADDED))
        else:
            old, new = before[identity], after[identity]
            found += [
                Difference(table, row, CHANGED, name, old[name], new[name])
                for name in old
                if old[name] != new[name]
            ]
    return found


def summary(differences: list[Difference], n_examples: int = 3) -> list[str]:
    """Lines for a person: how many rows of which table and column, how far apart, and examples."""
    groups: dict[tuple[str, str, str], list[Difference]] = {}
    for one in differences:
        groups.setdefault((one.table, one.kind, one.column), []).append(one)
    lines = []
    for (table, kind, column), group in groups.items():
        n_rows = "1 row" if len(group) == 1 else f"{len(group)} rows"
        changes = [change for one in group if (change := one.relative_change()) is not None]
        span = f", by {min(changes):+.3%} to {max(changes):+.3%}" if changes else ""
        lines.append(f"{table}: {n_rows} {kind}{f' in {column}' if column else ''}{span}")
        lines += [
            f"  {str(one).removeprefix(f'{table}: ').removesuffix(f': {kind}')}"
            for one in group[:n_examples]
        ]
        if len(group) > n_examples:
            lines.append(f"  and {len(group) - n_examples} more")
    return lines or ["no difference"]


def differences_frame(differences: list[Difference]) -> pd.DataFrame:
    """As a table, to save."""
    columns = ["table", "row", "kind", "column", "before", "after"]
    return pd.DataFrame(
        [[getattr(one, name) for name in columns] for one in differences], columns=columns
    )
