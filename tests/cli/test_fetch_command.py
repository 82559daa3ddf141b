"""`v1builder fetch` as a user meets it, live sources and comparison included."""

import sys

import pytest


@pytest.fixture
def without_allensdk(monkeypatch):
    monkeypatch.setitem(sys.modules, "allensdk.api.queries.cell_types_api", None)


def test_no_difference(v1builder, tmp_path):
    v1builder("fetch", "--out", tmp_path / "store")
    assert v1builder("fetch", "--diff", "snapshot", tmp_path / "store") == (0, "no difference", "")


def test_differences_as_a_file(v1builder, tmp_path):
    v1builder("fetch", "--out", tmp_path / "store")
    code, _out, _ = v1builder(
        "fetch", "--diff", "snapshot", tmp_path / "store", "--out", tmp_path / "d.csv"
    )
    assert code == 0
    assert (tmp_path / "d.csv").read_text() == "table,row,kind,column,before,after\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["fetch"], "--out"),
        (["fetch", "--diff", "snapshot", "nowhere"], "nowhere"),
        (["fetch", "--source", "live", "--out", "s"], "make env-allen"),
        (["fetch", "--source", "live", "--out", "s", "--select", "celltypes"], "'cell_types'"),
        (
            [
                "fetch",
                "--source",
                "live",
                "--out",
                "s",
                "--pins",
                "no.toml",
                "--select",
                "neuropixels",
            ],
            "no.toml",
        ),
        (
            [
                "fetch",
                "--source",
                "live",
                "--out",
                "s",
                "--service",
                "nuropixels=http://127.0.0.1:9",
            ],
            "'neuropixels'",
        ),
    ],
)
@pytest.mark.usefixtures("without_allensdk")
def test_bad_input_is_one_message_and_leaves_nothing(
    v1builder, tmp_path, monkeypatch, arguments, expected
):
    monkeypatch.chdir(tmp_path)
    code, _, err = v1builder(*arguments)
    assert code == 1
    assert err.count("error:") == 1
    assert expected in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_service_out_of_reach_says_what_is_missing(v1builder, tmp_path, monkeypatch):
    from v1builder.fetch import archive
    from v1builder.fetch.transfer import Transfer

    monkeypatch.setattr(archive, "Transfer", lambda: Transfer(attempts=1))
    code, _, err = v1builder(
        "fetch", "--source", "live", "--out", tmp_path / "s", "--select", "neuropixels",
        "--service", "neuropixels=http://127.0.0.1:9",
    )  # fmt: skip
    assert code == 1
    assert "4 files could not be downloaded: connection refused" in err
    assert "same command again" in err
    assert not (tmp_path / "s" / "provenance.json").exists()
