"""The command line, called in this process."""

import sys

import pytest

from v1builder.cli import main


@pytest.fixture
def v1builder(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["v1builder", *(str(a) for a in arguments)])
        try:
            main()
            code = 0
        except SystemExit as stopped:
            code = stopped.code or 0
        output = capsys.readouterr()
        return code, " ".join(output.out.split()), " ".join(output.err.split())

    return run
