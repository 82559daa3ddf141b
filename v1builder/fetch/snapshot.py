"""The snapshot of published tables that ships with the package, verified and copied into a store."""

import shutil
from collections.abc import Callable
from pathlib import Path

from v1builder.schema.citations import write_citations
from v1builder.schema.errors import (
    ConfigError,
    DataError,
    Problem,
    V1BuilderError,
    raise_if_any,
    unknown_name,
)
from v1builder.schema.files import atomic_folder, sha256_of, write_json
from v1builder.schema.manifests import manifest_folder, read_manifests, table_schemas
from v1builder.schema.provenance import provenance

SOURCES = ("snapshot", "live")


def fetch(
    out: Path | str,
    source: str = "snapshot",
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Make a store: `tables/<name>.csv`, each verified by its SHA-256, and `provenance.json`.

    Args:
        out: folder of the store.
        source: "snapshot", the tables shipped with the package; "live" is for `v1builder.stores.fetch`.
        overwrite: replace `out` if it exists.
        progress: called with (stage, done, total) after every table.

    Returns:
        `out` as a path.

    Raises:
        ConfigError: unknown source.
        V1BuilderError: the source is "live".
        DataError: a table of the package is missing or damaged.
        StorageError: `out` is in the way or the file system refused.
    """
    if source not in SOURCES:
        raise ConfigError([unknown_name("source", source, SOURCES, "fetch, source")])
    if source == "live":
        raise V1BuilderError.of(
            "the live Allen services are not available to this function",
            "v1builder.fetch.fetch, source",
            source,
            "call v1builder.fetch, or use the snapshot (--source snapshot)",
        )
    out = Path(out)
    manifests = read_manifests()
    schemas = table_schemas(manifests)
    folder = manifest_folder()
    with atomic_folder(out, overwrite=overwrite) as temporary:
        (temporary / "tables").mkdir()
        for done, (name, schema) in enumerate(schemas.items(), start=1):
            _copy(folder / schema.file, temporary / "tables" / f"{name}.csv", schema.sha256)
            if progress is not None:
                progress("fetch", done, len(schemas))
        sources = [manifest.record() for manifest in manifests]
        record = provenance("fetch", source=source, sources=sources)
        write_json(temporary / "provenance.json", record)
        write_citations(temporary, record)
    return out


def _copy(origin: Path, target: Path, sha256: str) -> None:
    """Copy one table; what arrived must have the recorded hash."""
    if not origin.is_file():
        raise DataError.of(
            "a table of the snapshot is missing", origin, fix="install v1builder again"
        )
    shutil.copyfile(origin, target)
    got = sha256_of(target)
    raise_if_any(
        [
            Problem(
                "a table of the snapshot is damaged",
                str(origin),
                f"sha256 {got}, the manifest says {sha256}",
                "install v1builder again",
            )
        ]
        if got != sha256
        else [],
        DataError,
    )
