"""The live sources of a store: which there are, and bringing their raw files into its archive."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from v1builder.fetch.archive import Archive, ProgressCallback, Record
from v1builder.fetch.cell_types import CONFIGS, clients, fetch_cell_types
from v1builder.fetch.transfer import Transfer, WantedFile
from v1builder.schema.config import Settings, load_settings
from v1builder.schema.errors import ConfigError, FetchError, Problem, raise_if_any, unknown_name
from v1builder.schema.manifests import Manifest, Pin

RAW = "raw"
#: Live source -> the manifest that describes it.
MANIFEST_OF = {
    "cell_types": "allen_cell_types",
    "synaptic_physiology": "allen_synaptic_physiology",
    "neuropixels": "allen_visual_coding_neuropixels",
}
_SQLITE_MAGIC = b"SQLite format 3\0"


class Pins(Settings):
    """Files that must be these and no others. A fetch writes its own as `pins.toml`.

    Attributes:
        files: by their name in the store's folder `raw`, which begins with the live source.
    """

    files: dict[str, Pin] = Field(default_factory=dict)


def fetch_live(
    store: Path,
    manifests: Sequence[Manifest],
    select: Sequence[str],
    *,
    transfer: Transfer | None = None,
    services: Mapping[str, str] | None = None,
    pins: Path | str | None = None,
    allow_missing: bool = False,
    progress: ProgressCallback | None = None,
    then: Callable[[Archive], None] = lambda _archive: None,
) -> None:
    """Bring the raw files of live sources into `store`/raw; only what is missing is asked for.

    Args:
        store: its folder.
        manifests: of all sources.
        select: live sources.
        transfer: how to download.
        services: base address by live source, in place of the manifest's: a mirror.
        pins: TOML file of `Pins`.
        allow_missing: go on without parameter files of single models that could not be had.
        progress: told (stage, done, total).
        then: what to do with the complete archive while no other fetch may touch it.

    Raises:
        ConfigError: an unknown source, or the addresses or pins are not valid.
        FetchError: listing everything that could not be had.
        StorageError: the file system refused, or another fetch is at work.
    """
    services = services or {}
    pinned = load_settings(pins, Pins).files if pins is not None else {}
    raise_if_any(_bad_arguments(select, services, pinned, pins), ConfigError)
    by_name = {manifest.name: manifest for manifest in manifests}
    if "cell_types" in select:
        clients("")  # before anything is written
    archive = Archive(store / RAW, transfer, pinned, progress)
    with archive.locked():
        for source in select:
            manifest = by_name[MANIFEST_OF[source]]
            base = services.get(source)
            if source == "cell_types":
                fetch_cell_types(archive, (base or manifest.service or "").rstrip("/"))
            else:
                _fetch_files(archive, source, manifest, base)
        archive.raise_failures(allowed=CONFIGS if allow_missing else None)
        _check_pins_used(archive, select, pinned, pins)
        then(archive)


def _bad_arguments(
    select: Sequence[str],
    services: Mapping[str, str],
    pinned: Mapping[str, Pin],
    pins: Path | str | None,
) -> list[Problem]:
    """Names of sources that do not exist, and addresses that are none."""
    named = [("fetch, select", name) for name in select]
    named += [("fetch, service", name) for name in services]
    named += [(f"{pins}, files", name.partition("/")[0]) for name in pinned]
    problems = [
        unknown_name("live source", name, MANIFEST_OF, where)
        for where, name in dict.fromkeys(named)
        if name not in MANIFEST_OF
    ]
    problems += [
        Problem(
            "this is not an address",
            f"fetch, service {name}",
            address or "nothing",
            f"write {name}=https://...",
        )
        for name, address in services.items()
        if not address.startswith(("https://", "http://"))
    ]
    return problems


def _check_pins_used(
    archive: Archive,
    select: Sequence[str],
    pinned: Mapping[str, Pin],
    pins: Path | str | None,
) -> None:
    """A pin of a file that was never asked for would promise what it does not keep."""
    unused = [n for n in pinned if n.partition("/")[0] in select and n not in archive.asked]
    if unused:
        raise FetchError.of(
            f"{len(unused)} pinned files do not exist in the source",
            f"{pins}, files",
            ", ".join(unused[:3]) + (", ..." if len(unused) > 3 else ""),
            "correct their names, or, where the source no longer has them, use the store that does",
        )


def _fetch_files(archive: Archive, source: str, manifest: Manifest, base: str | None) -> None:
    """Bring the files that a manifest names."""
    for name, offered in manifest.downloads.items():
        url = offered.url
        if base is not None:
            url = f"{base.rstrip('/')}/{url.rpartition('/')[2]}"
        wanted = WantedFile(
            f"{source}/{offered.file}",
            url,
            offered.sha256,
            offered.size,
            _check_sqlite if offered.file.endswith(".sqlite") else _check_csv,
        )
        archive.fetch([wanted], name)


def _check_sqlite(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_SQLITE_MAGIC)) != _SQLITE_MAGIC:
            raise ValueError("not an SQLite database")


def _check_csv(path: Path) -> None:
    with path.open("rb") as file:
        first = file.readline(100_000)
    if b"," not in first or b"<" in first or b"\0" in first:
        raise ValueError("not a CSV table")


def pins_text(records: Sequence[Record]) -> str:
    """A pins file of everything in an archive."""
    lines = [
        "# Give this file to another 'v1builder fetch --source live --pins pins.toml' to get the same",
        "# bytes or an error.",
    ]
    for record in records:
        lines += [
            "",
            f'[files."{record.name}"]',
            f'url = "{record.url}"',
            f"size = {record.size}",
            f'sha256 = "{record.sha256}"',
        ]
    return "\n".join(lines) + "\n"
