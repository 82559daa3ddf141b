"""Joining types tables to nodes and edges: what libsonata leaves to its users.

A value in the HDF5 file overrides the value of the type; a value that neither has is an error of
whoever needs it, never a one.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.sonata.foreign import read_json

#: Older networks name the number of synapses so.
ALIASES = {"nsyns": ("nsyns", "n_syns_")}

#: Prefix of the columns that hold what synaptic model files say.
SYNAPSE_PARAMETER = "dynamics_params/"


def type_rows(ids: NDArray[Any], types: pd.DataFrame) -> NDArray[np.int64]:
    """Row of the types table of every id; -1 where the table lacks the id."""
    known = types.index.to_numpy(dtype=np.int64)
    if len(known) == 0:
        return np.full(len(ids), -1, dtype=np.int64)
    order = np.argsort(known)
    wanted = np.asarray(ids).astype(np.int64)
    found = order[np.searchsorted(known, wanted, sorter=order).clip(max=len(known) - 1)]
    return np.where(known[found] == wanted, found, -1)


def joined(
    name: str, own: Mapping[str, NDArray[Any]], types: pd.DataFrame, rows: NDArray[np.int64]
) -> NDArray[Any] | None:
    """One attribute of nodes or edges: their own value, else that of their type.

    Args:
        name: attribute; "nsyns" also finds "n_syns_".
        own: [n]-arrays of the HDF5 file by name.
        types: the types table.
        rows: [n] row of each type, all known.

    Returns:
        [n] values, NaN or "" where there is none; None when neither has the attribute.
    """
    key = next((alias for alias in ALIASES.get(name, (name,)) if alias in own), None)
    of_type = None
    if name in types:
        column = types[name].to_numpy()
        if not np.issubdtype(column.dtype, np.number):
            column = np.array(["" if pd.isna(value) else value for value in column], dtype=object)
        of_type = column
    if key is None:
        return None if of_type is None else of_type[rows]
    values = own[key]
    if of_type is None:
        return values
    absent = values == "" if values.dtype == object else np.isnan(values.astype(np.float64))
    if not absent.any():
        return values
    return np.where(absent, of_type[rows], values)


#: A column so much like another name is that name misspelled (ratio of difflib).
_MISSPELLED = 0.75


def misspelled(name: str, *columns: Iterable[object]) -> str | None:
    """A column whose name is nearly `name`: what a user meant, where the column is missing."""
    present = [str(column) for names in columns for column in names if column != name]
    return next(iter(difflib.get_close_matches(name, present, n=1, cutoff=_MISSPELLED)), None)


def with_synapse_models(types: pd.DataFrame, folder: Path | None) -> pd.DataFrame:
    """An edge types table with the contents of the synaptic model files as columns.

    Args:
        types: the edge types table; its column `dynamics_params` names the files.
        folder: where the files are; None leaves the table as it is.

    Returns:
        The table with one more column "dynamics_params/<name>" per entry, NaN where absent.

    Raises:
        NetworkError: a file is missing or is not JSON.
    """
    if "dynamics_params" not in types or folder is None:
        return types
    file_of, files = pd.factorize(types["dynamics_params"])  # -1 where there is none
    models = [read_json(folder / str(name)) for name in files]
    keys = dict.fromkeys(key for model in models for key in model)
    if not keys:
        return types
    said = pd.DataFrame(
        {SYNAPSE_PARAMETER + key: [model.get(key, np.nan) for model in models] for key in keys}
    )
    columns = said.reindex(file_of).set_axis(types.index)
    return pd.concat([types, columns], axis=1)


def is_absent(value: Any) -> bool:
    """True for the NaN that stands for an entry that a file lacks."""
    return isinstance(value, float) and np.isnan(value)


def receptor_of_type(types: pd.DataFrame) -> NDArray[np.float64]:
    """Receptor port (from 1) of every edge type; NaN where nothing says.

    It is the column `receptor_type`, or the entry of that name in the synaptic model's file (see
    `with_synapse_models`), which is where BMTK and NEST take it from.
    """
    ports = np.full(len(types), np.nan)
    for column in (SYNAPSE_PARAMETER + "receptor_type", "receptor_type"):
        if column in types:
            own = numbers(types[column].to_numpy())
            ports = np.where(np.isnan(own), ports, own)
    return ports


def numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    """Values as float64; NaN for what is not a number, texts and truth values included."""
    if values.dtype.kind in "iuf":
        return values.astype(np.float64)
    if values.dtype != object:
        return np.full(len(values), np.nan)

    def number(value: Any) -> float:
        real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        try:
            return float(value) if real else np.nan
        except OverflowError:
            return np.inf

    return np.array([number(value) for value in values], dtype=np.float64)
