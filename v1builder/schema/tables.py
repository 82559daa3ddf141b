"""What a table of published data must look like, and every way in which one does not.

A schema comes from a data manifest. Tables are read as text first, so that a value that does not parse
is reported with its line instead of turning a whole column into text. An empty cell is a missing value.
"""

import csv
import errno
import hashlib
import io
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.schema.config import Settings
from v1builder.schema.errors import DataError, Problem, nearest, raise_if_any

_SHOWN = 3  # bad rows named one by one per column; a problem of the whole column is one problem


def _parse_int(text: str) -> int:
    value = int(text)
    if abs(value) > np.iinfo(np.int64).max:
        raise ValueError(text)
    return value


def _parse_float(text: str) -> float:
    value = float(text)
    if math.isnan(value):  # a missing value is an empty cell
        raise ValueError(text)
    return value


def _parse_bool(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError(text)
    return text == "True"


_PARSERS: dict[str, Callable[[str], Any]] = {
    "int": _parse_int,
    "float": _parse_float,
    "bool": _parse_bool,
    "str": str,
}
_KINDS = {"int": "iu", "float": "f", "bool": "b", "str": "U"}
#: (types, types that are not meant although they are subtypes): bool is an int in Python
_PYTHON_TYPES: dict[str, tuple[tuple[type, ...], tuple[type, ...]]] = {
    "int": ((int, np.integer), (bool,)),
    "float": ((float, np.floating), ()),
    "bool": ((bool, np.bool_), ()),
    "str": ((str,), ()),
}


class Column(Settings):
    """One column.

    Attributes:
        name: as in the file; it ends in the unit where there is one.
        unit: unit of the values; "1" without dimension, "" for names and identifiers.
        dtype: type of the values.
        description: what the values are.
        nullable: whether a cell may be empty.
        above: values must be greater than this.
        minimum: smallest value allowed.
        maximum: largest value allowed.
        choices: the only values allowed.
        refers_to: "table.column" in which every value must occur.
    """

    name: str
    unit: str
    dtype: Literal["int", "float", "str", "bool"]
    description: str
    nullable: bool = False
    above: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None
    refers_to: str | None = None

    def has_dtype(self, values: pd.Series, missing: NDArray[np.bool_]) -> bool:
        """Whether the present values are of this column's type."""
        array = values.to_numpy()
        if array.dtype == object:  # text, or numbers with missing ones among them
            types, excluded = _PYTHON_TYPES[self.dtype]
            present = array[~missing]
            return all(isinstance(x, types) and not isinstance(x, excluded) for x in present)
        return array.dtype.kind in _KINDS[self.dtype]

    def range_text(self) -> str:
        """The allowed range, for a person."""
        limits = [
            f"{sign} {limit:g}"
            for sign, limit in ((">", self.above), (">=", self.minimum), ("<=", self.maximum))
            if limit is not None
        ]
        return " and ".join(["finite", *limits]) + (
            f" {self.unit}" if self.unit not in ("", "1") else ""
        )

    def out_of_range(self, values: pd.Series) -> NDArray[np.bool_]:
        """Which values break a bound or are infinite; missing values do not."""
        numbers = values.to_numpy(dtype=np.float64)
        bad = np.isinf(numbers)
        if self.above is not None:
            bad |= numbers <= self.above
        if self.minimum is not None:
            bad |= numbers < self.minimum
        if self.maximum is not None:
            bad |= numbers > self.maximum
        return bad


class TableSchema(Settings):
    """One table of a manifest.

    Attributes:
        file: path of the embedded table, relative to the folder of the manifests.
        sha256: of the bytes of the embedded file.
        rows: number of rows of the embedded table.
        key: columns that together name a row.
        references: keys of the publications behind the table.
        description: what the table holds.
        columns: in the order of the file.
    """

    file: str
    sha256: str
    rows: int
    key: tuple[str, ...]
    references: tuple[str, ...]
    description: str
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """The column called `name`; KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def read(self, path: Path | str, sha256: str, rows: int) -> pd.DataFrame:
        """Read and check a CSV file.

        Args:
            path: the file.
            sha256: that the file must have.
            rows: number of rows that the file must have.

        Returns:
            The table; text columns have dtype object, with None where empty.

        Raises:
            DataError: every problem found.
        """
        path = Path(path)
        try:
            if path.exists() and not path.is_file():  # a pipe would be read forever
                raise OSError(errno.EINVAL, "a folder, pipe or device")
            data = path.read_bytes()
            text = data.decode("utf-8")
        except OSError as error:
            raise DataError.of(
                "cannot read a table", path, error.strerror or error, "run 'v1builder fetch' again"
            ) from None
        except UnicodeDecodeError as error:
            raise DataError.of(
                "a table is not UTF-8 text", path, error, "run 'v1builder fetch' again"
            ) from None
        problems = []
        got = hashlib.sha256(data).hexdigest()
        if got != sha256:
            problems.append(
                Problem(
                    "a table was changed after it was recorded",
                    str(path),
                    f"sha256 {got}, recorded {sha256}",
                    "restore the file, or run 'v1builder fetch' again into a new folder",
                )
            )
        try:
            lines = list(csv.reader(io.StringIO(text, newline="")))
        except csv.Error as error:
            raise DataError.of(
                "a table is not CSV", path, error, "run 'v1builder fetch' again"
            ) from None
        if not lines:
            problems.append(
                Problem("a table is empty", str(path), fix="run 'v1builder fetch' again")
            )
            raise DataError(problems)
        frame, parse_problems = self._parse(lines[0], lines[1:], path)
        problems += parse_problems
        if frame is not None:
            problems += self.problems(frame, path)
            if len(frame) != rows:
                problems.append(
                    Problem(
                        "a table has the wrong number of rows",
                        str(path),
                        f"{len(frame)}, recorded {rows}",
                        "restore the missing rows or remove the added ones",
                    )
                )
        raise_if_any(problems, DataError)
        assert frame is not None
        return frame

    def _parse(
        self, header: list[str], body: list[list[str]], path: Path
    ) -> tuple[pd.DataFrame | None, list[Problem]]:
        """Convert text to typed columns. A column that is unknown stays text; None: not a table."""
        problems = _in_rows(
            "a line has the wrong number of cells",
            path,
            [row for row, line in enumerate(body) if len(line) != len(header)],
            lambda row: f"line {row + 2}: {len(body[row])} cells, the header has {len(header)}",
            "correct the line",
        )
        doubled = sorted({name for name in header if header.count(name) > 1})
        if doubled:
            problems.append(
                Problem("a column occurs twice", str(path), ", ".join(doubled), "keep one of them")
            )
        if problems:
            return None, problems
        known = {column.name: column for column in self.columns}
        parsed = {}
        for place, name in enumerate(header):
            column = known.get(name)
            cells = [line[place] for line in body]
            parsed[name], bad = _convert(cells, column.dtype if column else "str")
            if column is None:
                continue
            problems += _in_rows(
                f"a value is not of type {column.dtype}",
                f"{path}, column '{name}'",
                bad,
                lambda row, cells=cells: f"line {row + 2}: {cells[row]!r}",
                f"write {column.description} as {column.dtype}, or leave the cell empty if it may be",
            )
        return (None if problems else pd.DataFrame(parsed)), problems

    def problems(self, frame: pd.DataFrame, where: object) -> list[Problem]:
        """Everything in which `frame` differs from this schema, apart from its number of rows."""
        names = [column.name for column in self.columns]
        extra = [name for name in frame.columns if name not in names]
        found = []
        for name in names:
            if name not in frame.columns:
                guess = nearest(name, map(str, extra))
                fix = f"rename '{guess}' to '{name}'" if guess else f"add the column '{name}'"
                found.append(Problem(f"column '{name}' is missing", str(where), fix=fix))
        for name in extra:
            guess = nearest(str(name), names)
            fix = f"remove it, or rename it to '{guess}'" if guess else "remove it"
            found.append(Problem(f"unknown column '{name}'", str(where), fix=fix))
        for column in self.columns:
            if column.name in frame.columns:
                found += self._column_problems(frame, column, where)
        return found + self._key_problems(frame, where)

    def validate_frame(self, frame: pd.DataFrame, where: object) -> None:
        """Raise a DataError with every problem of `frame`, if there are any."""
        raise_if_any(self.problems(frame, where), DataError)

    def _row_name(self, frame: pd.DataFrame, row: int) -> str:
        """Where a row is and what its key is."""
        key = ", ".join(
            f"{name} {frame[name].iloc[row]}" for name in self.key if name in frame.columns
        )
        return f"row {row + 1} ({key})"

    def _column_problems(self, frame: pd.DataFrame, column: Column, where: object) -> list[Problem]:
        values = pd.Series(frame[column.name])
        place = f"{where}, column '{column.name}'"
        missing = values.isna().to_numpy(dtype=np.bool_)
        if not column.has_dtype(values, missing):
            fix = f"convert it to {column.dtype} ({column.description})"
            got = str(values.dtype)
            return [Problem(f"a column is not of type {column.dtype}", place, got, fix)]

        def name_with_value(row: int) -> str:
            return f"{self._row_name(frame, row)}: {values.iloc[row]}"

        found = []
        if not column.nullable:
            found += _in_rows(
                "a value is missing",
                place,
                np.flatnonzero(missing),
                lambda row: self._row_name(frame, row),
                f"every row needs {column.description}",
            )
        if column.dtype in ("int", "float"):
            found += _in_rows(
                "a value is out of range",
                place,
                np.flatnonzero(column.out_of_range(values)),
                name_with_value,
                f"values must be {column.range_text()}",
            )
        if column.choices is not None:
            found += _in_rows(
                "a value is not one of the choices",
                place,
                np.flatnonzero(~missing & ~values.isin(column.choices).to_numpy()),
                name_with_value,
                f"choose one of: {', '.join(column.choices)}",
            )
        return found

    def _key_problems(self, frame: pd.DataFrame, where: object) -> list[Problem]:
        if any(name not in frame.columns for name in self.key):
            return []
        return _in_rows(
            "a row occurs twice",
            where,
            np.flatnonzero(frame.duplicated(list(self.key))),
            lambda row: self._row_name(frame, row),
            f"keep one row per {', '.join(self.key)}",
        )


def _convert(cells: list[str], dtype: str) -> tuple[pd.Series, list[int]]:
    """Typed values of text cells, and the rows that do not parse."""
    parse, values, bad = _PARSERS[dtype], [], []
    for row, cell in enumerate(cells):
        try:
            value = parse(cell) if cell else None
        except ValueError:
            value = None
            bad.append(row)
        values.append(value)
    if dtype == "float":
        return pd.Series(values, dtype=np.float64), bad
    if dtype in ("int", "bool") and None not in values:
        return pd.Series(values, dtype=np.int64 if dtype == "int" else np.bool_), bad
    return pd.Series(values, dtype=object), bad


def _in_rows(
    what: str, where: object, rows: Iterable[int], describe: Callable[[int], str], fix: str
) -> list[Problem]:
    """One problem that names the first bad rows and says how many more there are."""
    rows = [int(row) for row in rows]
    if not rows:
        return []
    named = "; ".join(describe(row) for row in rows[:_SHOWN])
    more = f"; and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return [Problem(what, str(where), named + more, fix)]


def reference_problems(
    frames: dict[str, pd.DataFrame], schemas: dict[str, TableSchema], where: object
) -> list[Problem]:
    """Values that must occur in another table and do not."""
    found = []
    for name, schema in schemas.items():
        for column in schema.columns:
            if column.refers_to is None:
                continue
            table, _, other = column.refers_to.partition(".")
            known = set(frames[table][other])
            unknown = dict.fromkeys(
                value
                for value in frames[name][column.name]
                if not (value is None or value != value or value in known)  # NaN != NaN
            )
            for value in unknown:
                guess = nearest(str(value), map(str, known))
                fix = f"did you mean '{guess}'?" if guess else f"add it to table {table}"
                place = f"{where}, table {name}, column '{column.name}'"
                found.append(
                    Problem(
                        f"'{value}' is not in column '{other}' of table {table}", place, value, fix
                    )
                )
    return found
