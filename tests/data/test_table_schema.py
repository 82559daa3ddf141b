"""A table schema finds every fault of a table, and names where it is."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from v1builder.schema.errors import DataError
from v1builder.schema.tables import Column, TableSchema, reference_problems

COLUMNS = (
    Column(name="name", unit="", dtype="str", description="a name"),
    Column(
        name="kind", unit="", dtype="str", description="a kind", choices=("a", "b"), nullable=True
    ),
    Column(name="count", unit="1", dtype="int", description="a number", minimum=0),
    Column(name="tau_ms", unit="ms", dtype="float", description="a time", above=0, maximum=1000),
    Column(name="gain", unit="1", dtype="float", description="a gain", nullable=True),
    Column(name="used", unit="", dtype="bool", description="a flag"),
)
SCHEMA = TableSchema(
    file="tables/example.csv",
    sha256="",
    rows=3,
    key=("name",),
    references=(),
    description="an example",
    columns=COLUMNS,
)


def good() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": ["x", "y", "z"],
            "kind": ["a", None, "b"],
            "count": [0, 1, 2],
            "tau_ms": [0.5, 10.0, 1000.0],
            "gain": [-1.0, np.nan, 2.0],
            "used": [True, False, True],
        }
    )


def messages(frame: pd.DataFrame) -> str:
    return "\n".join(str(problem) for problem in SCHEMA.problems(frame, "example"))


def test_a_good_table_has_no_problem() -> None:
    assert SCHEMA.problems(good(), "example") == []
    SCHEMA.validate_frame(good(), "example")


BROKEN: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], list[str]]] = {
    "missing column, a similar one there": (
        lambda t: t.rename(columns={"tau_ms": "tau"}),
        ["column 'tau_ms' is missing", "rename 'tau' to 'tau_ms'", "unknown column 'tau'"],
    ),
    "missing column": (
        lambda t: t.drop(columns="used"),
        ["column 'used' is missing", "add the column 'used'"],
    ),
    "extra column": (lambda t: t.assign(zzz=1), ["unknown column 'zzz'", "remove it"]),
    "wrong type": (
        lambda t: t.assign(count=[0.5, 1.0, 2.0]),
        ["column is not of type int", "'count'", "float64"],
    ),
    "text among numbers": (
        lambda t: t.assign(tau_ms=pd.Series([1.0, "two", 3.0], dtype=object)),
        ["column is not of type float", "'tau_ms'"],
    ),
    "bool is not int": (lambda t: t.assign(count=[True, False, True]), ["not of type int"]),
    "missing value": (
        lambda t: t.assign(tau_ms=[1.0, np.nan, 3.0]),
        ["a value is missing", "'tau_ms'", "row 2 (name y)", "every row needs a time"],
    ),
    "missing number among integers": (
        lambda t: t.assign(count=pd.Series([1, None, 2], dtype=object)),
        ["a value is missing", "row 2 (name y)"],
    ),
    "missing text": (lambda t: t.assign(name=["x", None, "z"]), ["a value is missing", "'name'"]),
    "on an exclusive bound": (
        lambda t: t.assign(tau_ms=[0.0, 1.0, 2.0]),
        ["out of range", "row 1 (name x): 0.0", "> 0 and <= 1000 ms"],
    ),
    "below the minimum": (
        lambda t: t.assign(count=[0, -1, 2]),
        ["out of range", "row 2 (name y): -1"],
    ),
    "above the maximum": (
        lambda t: t.assign(tau_ms=[1.0, 2.0, 1000.1]),
        ["row 3 (name z): 1000.1"],
    ),
    "infinite": (lambda t: t.assign(gain=[1.0, math.inf, 2.0]), ["row 2 (name y): inf", "finite"]),
    "not a choice": (
        lambda t: t.assign(kind=["a", "c", "b"]),
        ["not one of the choices", "row 2 (name y): c", "choose one of: a, b"],
    ),
    "doubled key": (
        lambda t: t.assign(name=["x", "y", "x"]),
        ["a row occurs twice", "row 3 (name x)"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_thing_broken(name: str) -> None:
    breaking, expected = BROKEN[name]
    found = messages(breaking(good()))
    for text in expected:
        assert text in found


def test_all_problems_at_once() -> None:
    frame = good().assign(tau_ms=[0.0, 1.0, 2.0], kind=["a", "c", "b"]).drop(columns="used")
    with pytest.raises(DataError) as caught:
        SCHEMA.validate_frame(frame, "example")
    assert len(caught.value.problems) == 3


def test_many_bad_rows_are_one_problem_that_counts_them() -> None:
    frame = pd.concat([good()] * 2, ignore_index=True).assign(name=list("abcdef"), tau_ms=-1.0)
    (problem,) = SCHEMA.problems(frame, "example")
    assert "and 3 more" in problem.got


# text that a CSV cell can hold; line ends inside a cell are not what a published table has
TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\x00", exclude_categories=["Cs"]),
    min_size=1,
)
ROWS = st.lists(
    st.tuples(
        TEXT,
        st.sampled_from(["a", "b", None]),
        st.integers(0, 2**63 - 1),
        st.floats(0, 1000, exclude_min=True),
        st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda row: row[0],
)


@given(rows=ROWS)
def test_reading_gives_what_was_written(
    rows: list[tuple[object, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = [column.name for column in COLUMNS]
    frame = pd.DataFrame({name: [row[i] for row in rows] for i, name in enumerate(names)})
    frame["gain"] = frame["gain"].astype(np.float64)
    path = tmp_path_factory.mktemp("round") / "example.csv"
    frame.to_csv(path, index=False, lineterminator="\n")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    back = SCHEMA.read(path, sha256, len(rows))
    for name in names:
        ours = [None if value is None or value != value else value for value in back[name]]
        theirs = [None if value is None or value != value else value for value in frame[name]]
        assert ours == theirs, name


def write(tmp_path: Path, text: str | bytes) -> tuple[Path, str]:
    path = tmp_path / "example.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


HEADER = "name,kind,count,tau_ms,gain,used\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("x,a,one,1.0,,True\n", ["not of type int", "line 2: 'one'"]),
        ("x,a,1.0,1.0,,True\n", ["not of type int", "line 2: '1.0'"]),
        ("x,a,1,1.0,,True\ny,a,1,nan,,True\n", ["not of type float", "line 3: 'nan'"]),
        ("x,a,1,1.0,,yes\n", ["not of type bool", "line 2: 'yes'"]),
        ("x,a,99999999999999999999,1.0,,True\n", ["not of type int"]),
        ("x,a,1,1.0,True\n", ["wrong number of cells", "line 2: 5 cells, the header has 6"]),
        ("x,a,,1.0,,True\n", ["a value is missing", "'count'", "row 1 (name x)"]),
        ("", ["wrong number of rows", "0, recorded 1"]),
    ],
)
def test_broken_files(tmp_path: Path, body: str, expected: list[str]) -> None:
    path, sha256 = write(tmp_path, HEADER + body)
    with pytest.raises(DataError) as caught:
        SCHEMA.read(path, sha256, 1)
    for text in expected:
        assert text in str(caught.value)


def test_wrong_hash_shows_both(tmp_path: Path) -> None:
    path, sha256 = write(tmp_path, HEADER + "x,a,1,1.0,,True\n")
    with pytest.raises(DataError) as caught:
        SCHEMA.read(path, "0" * 64, 1)
    assert sha256 in str(caught.value)
    assert "0" * 64 in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "a table is empty"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"name,name,count,tau_ms,gain,used\n", "a column occurs twice"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, content: bytes, expected: str) -> None:
    path, sha256 = write(tmp_path, content)
    with pytest.raises(DataError, match=expected):
        SCHEMA.read(path, sha256, 0)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read a table"):
        SCHEMA.read(tmp_path / "example.csv", "", 0)


def test_value_unknown_to_the_table_it_refers_to() -> None:
    referring = SCHEMA.model_copy(
        update={
            "columns": (
                Column(
                    name="of",
                    unit="",
                    dtype="str",
                    description="",
                    refers_to="a.name",
                    nullable=True,
                ),
            )
        }
    )
    frames = {"a": good(), "b": pd.DataFrame({"of": ["x", "xx", None, "xx"]})}
    (problem,) = reference_problems(frames, {"a": SCHEMA, "b": referring}, "store")
    assert problem.what == "'xx' is not in column 'name' of table a"
    assert problem.fix == "did you mean 'x'?"
