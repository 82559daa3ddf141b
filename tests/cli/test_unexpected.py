"""What nobody thought of: one message, the traceback in a file; and names with any characters."""

import errno
import os
import re
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest

from v1builder.terminal import show_table

#: The module, which the function of that name hides.
VALIDATE = import_module("v1builder.validate")


@pytest.mark.parametrize(
    "error",
    [RecursionError("too deep"), KeyError("x"), MemoryError(), RuntimeError("line 1\nline 2")],
)
def test_an_error_that_nobody_thought_of_is_one_message_and_a_file(
    v1builder, tmp_path, monkeypatch, error
):
    def fail(_):
        raise error

    monkeypatch.setattr(VALIDATE, "validate", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, out, err = v1builder("validate", "net")
    assert (code, out) == (1, "")
    assert err.count("error:") == 1
    assert type(error).__name__ in err
    assert "line 2" not in err
    (kept,) = tmp_path.iterdir()
    assert str(kept) in err
    text = kept.read_text()
    assert "Traceback" in text
    assert "validate net" in text


def test_where_nothing_can_be_written_the_traceback_is_printed(v1builder, monkeypatch):
    def fail(_):
        raise RecursionError("too deep")

    monkeypatch.setattr(VALIDATE, "validate", fail)
    monkeypatch.setattr("tempfile.tempdir", "/dev/null/nowhere")
    code, _, err = v1builder("validate", "net")
    assert code == 1
    assert "Traceback" in err


def test_a_full_disk_of_which_nobody_thought_is_said_as_such(v1builder, tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x")

    monkeypatch.setattr(VALIDATE, "validate", fail)
    code, _, err = v1builder("validate", "net")
    assert code == 1
    assert re.search("cannot write the output.*/data/x.*free some disk space", err)


@pytest.mark.parametrize("name", ["[/x]", "[red]net", "a:smile:b", "caf\udce9", "[bold"])
def test_names_are_printed_as_they_are(v1builder, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = v1builder("validate", name)
    assert code == 1
    assert name.encode("utf-8", "backslashreplace").decode() in err
    monkeypatch.setattr(VALIDATE, "validate", lambda _: [])
    code, out, _ = v1builder("validate", name)
    assert code == 0
    assert name.encode("utf-8", "backslashreplace").decode() in out


def test_tables_print_names_as_they_are(capsys):
    show_table(pd.DataFrame({"[/a]": ["[red]b" * 3]}), "[/c] :smile:")
    shown = " ".join(capsys.readouterr().out.split())
    assert all(name in shown for name in ("[/a]", "[red]b", "[/c] :smile:"))
    assert not list(Path().glob("v1builder-*"))
