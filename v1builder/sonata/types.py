"""SONATA node and edge types tables: CSV separated by spaces, one row per type."""

import io
from pathlib import Path

import numpy as np
import pandas as pd

from v1builder.schema.errors import NetworkError
from v1builder.schema.files import write_text
from v1builder.sonata.foreign import parsed, read_rows

#: What an absent value is written as (BMTK's convention).
NULL = "NULL"


def write_types(path: Path | str, types: pd.DataFrame) -> None:
    """Write a types table.

    Args:
        path: CSV file to create.
        types: indexed by, or with a column, `node_type_id` or `edge_type_id`. NaN, None and ""
            are written as NULL.

    Raises:
        NetworkError: there is no id column, an id is not an integer, or an id occurs twice.
        StorageError: the file system refused.
    """
    kind = types.index.name
    if kind not in ("node_type_id", "edge_type_id"):
        kind = next((name for name in ("node_type_id", "edge_type_id") if name in types), None)
        if kind is None:
            raise NetworkError.of(
                "a types table needs ids",
                path,
                ", ".join(map(str, types.columns)),
                "add node_type_id or edge_type_id",
            )
        types = types.set_index(kind)
    _check_ids(types.index, path)
    table = types.copy()
    table.index = pd.Index(table.index.to_numpy(dtype=np.int64), name=kind)
    buffer = io.StringIO()
    table.replace("", np.nan).to_csv(buffer, sep=" ", na_rep=NULL, lineterminator="\n")
    write_text(path, buffer.getvalue())


def read_types(path: Path | str, id_column: str, population: str = "") -> pd.DataFrame:
    """Read a types table, indexed by its int64 ids.

    Args:
        path: CSV file.
        id_column: "node_type_id" or "edge_type_id".
        population: whose types; several may share a table, each with ids of its own, if the table has a
            column `population`.

    Returns:
        The table. `n_syns_` of older networks is named `nsyns` here. Absent values stay NaN; a
        column that is absent stays absent.

    Raises:
        NetworkError: the file is missing, is not a table, lacks the id column, or an id is not an
            integer or occurs twice.
    """
    path = Path(path)
    header, rows = read_rows(path)
    present = [[np.nan if value in (NULL, "") else value for value in row] for row in rows]
    text = pd.DataFrame(present, columns=header, dtype=object)
    if id_column not in text:
        raise NetworkError.of(
            f"the types table has no column '{id_column}'",
            path,
            ", ".join(map(str, text.columns)),
            "separate columns by single spaces and name the id column",
        )
    table = pd.DataFrame({name: _typed(column) for name, column in text.items()})
    if {"nsyns", "n_syns_"} <= set(table):
        raise NetworkError.of(
            "a column occurs under two names", path, "nsyns and n_syns_", "remove one of the two"
        )
    if population and "population" in table:
        own = (table["population"] == population).to_numpy()
        if own.any():
            table = table[own | table["population"].isna().to_numpy()]
    table = table.set_index(id_column).rename(columns={"n_syns_": "nsyns"})
    _check_ids(table.index, path)
    table.index = pd.Index(table.index.to_numpy(dtype=np.int64), name=id_column)
    return table


def _typed(text: pd.Series) -> pd.Series:
    """A column of text as whole numbers, numbers or text, whichever all its values are.

    A column without any value stays text.

    Python's own conversion gives back exactly the number that was written; that of `read_csv` is
    faster and may miss the last bit.
    """
    present = text.dropna()
    if present.empty and len(text):
        return text
    for kind in (int, float):
        try:
            values = {index: parsed(value, kind) for index, value in present.items()}
        except ValueError:
            continue
        if kind is int and any(abs(value) >= 2**63 for value in values.values()):
            continue  # beyond what a column holds: a number of floating point
        if kind is int and len(values) == len(text):
            return pd.Series(values, index=text.index, dtype=np.int64)
        return pd.Series(values, index=text.index, dtype=np.float64)
    return text


def _check_ids(index: pd.Index, path: Path | str) -> None:
    if not pd.api.types.is_integer_dtype(index.dtype):
        raise NetworkError.of(
            "a type id is not an integer", path, str(list(index[:3])), "use integer type ids"
        )
    twice = index[index.duplicated()]
    if len(twice):
        raise NetworkError.of(
            "a type id occurs twice",
            path,
            ", ".join(map(str, twice[:5])),
            "give every type its own id",
        )
