"""What `fetch` makes: stores, from the snapshot or the live Allen services, and folders of images.

A live store is the snapshot's tables with those replaced that the selected services give:

    cell_types           glif_models, specimens; population_cell_models is restricted to them
    synaptic_physiology  synaptic_physiology, synaptic_physiology_connectivity
    neuropixels          (none: its classes are not those of neuropixels_reference)

plus further tables in `extra/`, the raw answers in `raw/`, `pins.toml` and the references. Tables are
made anew from the raw files by every run, offline where nothing is missing, so they follow the code.
A run that selects other sources than the one before adds them.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from v1builder.curate import read_store, short_term_plasticity
from v1builder.curate.cell_types import cell_type_tables
from v1builder.curate.neuropixels import area_reference, layer_reference
from v1builder.curate.store import TABLES, Store
from v1builder.curate.synaptic_physiology import (
    METRICS,
    MORE_METRICS,
    SynapticPhysiology,
    by_layer,
)
from v1builder.curate.writing import write_table
from v1builder.fetch import fetch as fetch_snapshot
from v1builder.fetch.snapshot import SOURCES
from v1builder.schema.citations import write_citations
from v1builder.schema.errors import ConfigError, DataError, StorageError, unknown_name
from v1builder.schema.files import atomic_folder, write_json, write_text
from v1builder.schema.manifests import (
    Manifest,
    manifest_folder,
    read_image_manifests,
    read_manifests,
    table_schemas,
)
from v1builder.schema.provenance import provenance

LIVE = "live"
LIVE_SOURCES = ("cell_types", "synaptic_physiology", "neuropixels")
#: Where the provenance of the run before waits while a store is made anew.
_UNFINISHED = "raw/provenance-before.json"
Progress = Callable[[str, int, int], None]


def fetch(
    out: Path | str,
    source: str = "snapshot",
    overwrite: bool = False,
    progress: Progress | None = None,
    *,
    select: Sequence[str] = LIVE_SOURCES,
    pins: Path | str | None = None,
    services: Mapping[str, str] | None = None,
    allow_missing: bool = False,
    origin: Path | str | None = None,
    transfer: Any = None,
) -> Path:
    """Make a store: `tables/<name>.csv`, each with its SHA-256 in `provenance.json`.

    A source of images makes a folder of images instead, see `v1builder.fetch.images`.

    Args:
        out: folder of the store. A live fetch goes on with one that it began, and fetches only what
            is missing.
        source: "snapshot", the tables shipped with the package, or "live"; or a source of images, such
            as "fashion_mnist".
        overwrite: replace what is in `out`; downloaded files stay.
        progress: called with (stage, done, total).
        select: live sources to use, beside those that the store already has (unless `overwrite`).
        pins: TOML file with the hashes that downloads must have; `pins.toml` of another store.
        services: base address by live source, in place of the published ones.
        allow_missing: leave out models whose parameter file cannot be had, instead of failing.
        origin: of images: folder or Debian package that has their files, instead of a download.
        transfer: `v1builder.fetch.transfer.Transfer`, how to download.

    Returns:
        `out` as a path.

    Raises:
        ConfigError: unknown source, pins that are not valid, or images that cannot be downloaded.
        DataError: a table of the package, or what a service or `origin` gave, is not as it should be.
        FetchError: listing everything that could not be downloaded.
        StorageError: `out` is in the way, the file system refused, or another fetch is at work.
    """
    image_sets = read_image_manifests()
    if source in image_sets:
        from v1builder.fetch.images import fetch_images

        return fetch_images(
            out,
            image_sets[source],
            origin=origin,
            overwrite=overwrite,
            progress=progress,
            transfer=transfer,
        )
    if source not in SOURCES:
        raise ConfigError(
            [unknown_name("source", source, (*SOURCES, *image_sets), "fetch, source")]
        )
    if source != LIVE:
        return fetch_snapshot(out, source, overwrite, progress)
    from v1builder.fetch.live import fetch_live

    out = Path(out)
    _check_place(out, overwrite)
    manifests = read_manifests()
    fetch_live(
        out,
        manifests,
        select,
        transfer=transfer,
        services=services,
        pins=pins,
        allow_missing=allow_missing,
        progress=progress,
        then=lambda archive: _make_tables(
            out, manifests, select, archive, {} if overwrite else _before(out)
        ),
    )
    return out


def _check_place(out: Path, overwrite: bool) -> None:
    """A live fetch may write into nothing, into what it began, and into a live store."""
    if not out.exists() or overwrite or (out / "raw").is_dir():
        return
    if out.is_dir() and not any(out.iterdir()):
        return
    raise StorageError.of(
        "the output already exists",
        out,
        "a folder that no live fetch began" if out.is_dir() else "a file",
        "choose another --out, or pass --overwrite",
    )


def _before(out: Path) -> dict[str, Any]:
    """What an earlier run recorded: "live" of its provenance by live source."""
    from v1builder.fetch.live import MANIFEST_OF

    for path in (out / "provenance.json", out / _UNFINISHED):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            of_manifest = {source["name"]: source for source in record["sources"]}
            return {name: of_manifest[MANIFEST_OF[name]][LIVE] for name in record.get("select", ())}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StorageError.of(
                "the provenance of the store is damaged",
                path,
                repr(error),
                "choose another --out, or pass --overwrite: downloaded files stay",
            ) from None
    return {}


def _make_tables(
    out: Path,
    manifests: Sequence[Manifest],
    select: Sequence[str],
    archive: Any,
    before: Mapping[str, Any],
) -> None:
    """Tables, extra tables, pins, references and provenance from the raw files."""
    from v1builder.fetch.live import MANIFEST_OF, pins_text

    for name in before:
        if name not in select:
            archive.verify(f"{name}/", f"run the same command with --select {name}")
    select = [name for name in LIVE_SOURCES if name in select or name in before]
    snapshot = read_store()
    tables, origin, extra = _live_tables(out / "raw", snapshot, manifests, select)
    record_file = out / "provenance.json"
    if record_file.exists():  # from here to the end this is not a store
        record_file.replace(out / _UNFINISHED)
    schemas, package = table_schemas(tuple(manifests)), manifest_folder()
    written: dict[str, dict[str, Any]] = {}
    with atomic_folder(out / "tables", overwrite=True) as folder:
        for name in TABLES:
            if name in tables:
                written[name] = write_table(folder / f"{name}.csv", tables[name])
            else:  # its bytes, which read_store has checked
                shutil.copyfile(package / schemas[name].file, folder / f"{name}.csv")
    with atomic_folder(out / "extra", overwrite=True) as folder:
        extra_written = {
            name: write_table(folder / f"{name}.csv", frame) for name, frame in extra.items()
        }
    live = {MANIFEST_OF[name]: name for name in select}
    sources = []
    for manifest in manifests:
        source = manifest.record()
        for name, table in source["tables"].items():
            table |= written.get(name, {}) | {"from": origin.get(name, "snapshot")}
        if manifest.name in live:
            name = live[manifest.name]
            source |= _taken(archive.records(f"{name}/"), name, before.get(name, {}))
        sources.append(source)
    record = provenance("fetch", source=LIVE, select=list(select), sources=sources)
    record["extra"] = extra_written
    write_text(out / "pins.toml", pins_text(archive.records()))
    write_citations(out, record)
    write_json(record_file, record)
    (out / _UNFINISHED).unlink(missing_ok=True)
    shutil.rmtree(out / "raw" / ".partial", ignore_errors=True)


def _live_tables(
    raw: Path, snapshot: Store, manifests: Sequence[Manifest], select: Sequence[str]
) -> tuple[dict[str, pd.DataFrame], dict[str, str], dict[str, pd.DataFrame]]:
    """Tables in place of the snapshot's, where they come from, and further tables."""
    tables: dict[str, pd.DataFrame] = {}
    origin: dict[str, str] = {}
    extra: dict[str, pd.DataFrame] = {}
    if "cell_types" in select:
        found = cell_type_tables(
            raw / "cell_types", snapshot.specimens, table_schemas(tuple(manifests))
        )
        tables |= {"glif_models": found.glif_models, "specimens": found.specimens}
        origin["glif_models"] = LIVE
        origin["specimens"] = "live; types and exclusions from the snapshot"
        tables["population_cell_models"] = _known_cell_models(
            snapshot, found.specimens, found.glif_models
        )
        origin["population_cell_models"] = "snapshot, restricted to the live specimens"
        extra["left_out"] = found.left_out
    if "synaptic_physiology" in select:
        (path,) = (raw / "synaptic_physiology").glob("*.sqlite")
        database = SynapticPhysiology(path)
        tables["synaptic_physiology"] = database.medians()
        extra |= _plasticity(tables["synaptic_physiology"])
        tables["synaptic_physiology_connectivity"] = database.connectivity()
        origin |= {"synaptic_physiology": LIVE, "synaptic_physiology_connectivity": LIVE}
        layers, every = by_layer(), METRICS + MORE_METRICS
        extra["synaptic_physiology_by_layer"] = database.medians(layers, every)
        extra["synaptic_physiology_connectivity_by_layer"] = database.connectivity(layers)
        extra["synaptic_physiology_connectivity_by_distance"] = database.connectivity_by_distance()
        extra["synaptic_physiology_lognormal"] = database.lognormal_fits()
        extra["synaptic_physiology_lognormal_by_layer"] = database.lognormal_fits(layers)
    if "neuropixels" in select:
        extra["neuropixels_by_area"] = area_reference(raw / "neuropixels")
        layers = layer_reference(raw / "neuropixels", snapshot.populations)
        extra["neuropixels_by_estimated_layer"] = layers
    return tables, origin, extra


def _plasticity(synaptic_physiology: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The fit with its residuals; nothing where there are too few synapses.

    A build that needs the fit says so.
    """
    try:
        return {"short_term_plasticity": short_term_plasticity(synaptic_physiology)}
    except DataError:
        return {}


def _known_cell_models(
    snapshot: Store, specimens: pd.DataFrame, glif_models: pd.DataFrame
) -> pd.DataFrame:
    """The published cell models of specimens that the service gives."""
    published = snapshot.population_cell_models
    known = published["specimen_id"].isin(specimens["specimen_id"])
    restricted = pd.DataFrame(published[known]).reset_index(drop=True)
    level3 = glif_models.loc[glif_models["glif_level"] == 3, "specimen_id"]
    return restricted.assign(in_glif_models=pd.Series(restricted["specimen_id"]).isin(list(level3)))


def _taken(records: Sequence[Any], name: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """What was downloaded, in a few lines: the list of all files is raw/downloads.jsonl."""
    listing = json.dumps([[record.name, record.sha256] for record in records])
    queries: dict[str, str] = {}
    for record in records:
        queries.setdefault("/".join(record.name.split("/")[:2]), record.url)
    days = sorted({record.day for record in records})
    live: dict[str, Any] = {
        "files": len(records),
        "bytes": sum(record.size for record in records),
        "sha256": hashlib.sha256(listing.encode()).hexdigest(),
        "first_of_each_kind": queries,
    }
    if name == "cell_types":
        live["client"] = _client(live["sha256"], before)
    taken: dict[str, Any] = {"retrieved": " to ".join(dict.fromkeys((days[0], days[-1])))}
    if name == "cell_types":  # the database has no release numbers
        taken["version"] = f"live service, {taken['retrieved']}"
    return taken | {LIVE: live}


def _client(sha256: str, before: Mapping[str, Any]) -> str:
    """What asked the queries: as recorded, where nothing was fetched since, be it installed or not."""
    if before.get("sha256") == sha256:
        return str(before["client"])
    return f"allensdk {metadata.version('allensdk')}"
