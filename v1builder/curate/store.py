"""Reading the published tables: from a store made by `fetch`, or straight from the package.

A store is a folder with `tables/<name>.csv` and `provenance.json`, which records the SHA-256 of every
table. A table that was edited after it was fetched is therefore an error, never a silent difference.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from v1builder.schema.errors import DataError, Problem, nearest, raise_if_any
from v1builder.schema.manifests import manifest_folder, read_manifests, table_schemas
from v1builder.schema.tables import TableSchema, reference_problems


@dataclass(frozen=True)
class Store:
    """The published tables, one validated DataFrame each; the manifests describe every column.

    Attributes:
        provenance: {"source": "snapshot" | ..., "sources": [...]}; each source with title, version,
            licence, citation, references, and the sha256 of its tables.
    """

    populations: pd.DataFrame
    specimens: pd.DataFrame
    glif_models: pd.DataFrame
    population_cell_models: pd.DataFrame
    connection_probability: pd.DataFrame
    distance_orientation_rule: pd.DataFrame
    psp_amplitude: pd.DataFrame
    psp_lookup: pd.DataFrame
    synapse_kinetics: pd.DataFrame
    lgn_cell_types: pd.DataFrame
    lgn_to_v1: pd.DataFrame
    background_target_rate: pd.DataFrame
    neuropixels_reference: pd.DataFrame
    neuropixels_units: pd.DataFrame
    synaptic_physiology: pd.DataFrame
    synaptic_physiology_connectivity: pd.DataFrame
    provenance: dict[str, Any]


TABLES = tuple(field.name for field in fields(Store) if field.name != "provenance")


def read_store(path: Path | str | None = None) -> Store:
    """Read and check every table.

    Args:
        path: a store made by `fetch`; None for the snapshot shipped with the package.

    Raises:
        DataError: listing every problem: no store, a missing, edited or damaged table, a value that
            is missing, out of range or unknown to the table it refers to.
    """
    manifests = read_manifests()
    schemas = table_schemas(manifests)
    if path is None:
        folder = manifest_folder()
        files = {name: folder / schemas[name].file for name in TABLES}
        provenance = {
            "source": "snapshot",
            "sources": [manifest.record() for manifest in manifests],
        }
    else:
        folder = Path(path)
        files = {name: folder / "tables" / f"{name}.csv" for name in TABLES}
        provenance = _read_provenance(folder)
    frames, problems = _read_tables(files, schemas, _recorded(provenance, folder))
    if not problems:
        problems = reference_problems(frames, schemas, folder)
    raise_if_any(problems, DataError)
    return Store(**frames, provenance=provenance)


def _read_provenance(folder: Path) -> dict[str, Any]:
    """The record that `fetch` left, without what does not describe the data."""
    path = folder / "provenance.json"
    fix = "give a folder made by 'v1builder fetch', or none for the snapshot"
    try:
        if path.exists() and not path.is_file():  # a pipe would be read forever
            raise DataError.of("this is not a store", path, "a folder, pipe or device", fix)
        record = json.loads(path.read_text(encoding="utf-8"))
        return {"source": record["source"], "sources": list(record["sources"])}
    except OSError as error:
        if (folder / "raw").is_dir():
            raise DataError.of(
                "this store is not finished",
                path,
                "a live fetch began it, and failed or was stopped",
                "run the same 'v1builder fetch' again: it fetches only what is missing",
            ) from None
        raise DataError.of("this is not a store", path, error.strerror or error, fix) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError.of(
            "the provenance of the store is damaged", path, repr(error), fix
        ) from None


def _recorded(provenance: Mapping[str, Any], folder: Path) -> dict[str, tuple[str, int]]:
    """(sha256, rows) of every table, as recorded."""
    try:
        return {
            name: (str(table["sha256"]), int(table["rows"]))
            for source in provenance["sources"]
            for name, table in source["tables"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError.of(
            "the provenance of the store is damaged",
            folder / "provenance.json",
            repr(error),
            "run 'v1builder fetch' again into a new folder",
        ) from None


def _read_tables(
    files: Mapping[str, Path],
    schemas: Mapping[str, TableSchema],
    recorded: Mapping[str, tuple[str, int]],
) -> tuple[dict[str, pd.DataFrame], list[Problem]]:
    """Every table that is as it should be, and the problems of the others."""
    frames: dict[str, pd.DataFrame] = {}
    problems: list[Problem] = []
    for name, path in files.items():
        if name not in recorded:
            guess = nearest(name, recorded)
            problems.append(
                Problem(
                    f"table '{name}' is not recorded",
                    str(path.parent.parent / "provenance.json"),
                    f"the nearest is '{guess}'" if guess else "no table of a similar name",
                    "run 'v1builder fetch' again into a new folder",
                )
            )
            continue
        try:
            frames[name] = schemas[name].read(path, *recorded[name])
        except DataError as error:
            problems += error.problems
    return frames, problems
