"""`v1builder fetch` as a user meets it, live sources and comparison included."""

import sys

import pytest


@pytest.fixture
def without_allensdk(monkeypatch):
    monkeypatch.setitem(sys.modules, "allensdk.api.queries.cell_types_api", None)


def test_no_difference(v1builder, tmp_path):
    v1builder("fetch", "--out", tmp_path / "store")
    assert v1builder("fetch", "--diff", "snapshot", tmp_path / "store") == (0, "no difference", "")


def test_info_checks_a_store_and_says_where_its_tables_are_from(v1builder, tmp_path):
    v1builder("fetch", "--out", tmp_path / "store")
    code, out, _ = v1builder("info", tmp_path / "store")
    assert code == 0
    assert " glif_models 2051 snapshot " in out
    assert "Teeter" in out
    table = tmp_path / "store" / "tables" / "glif_models.csv"
    table.write_text(table.read_text().replace("313860745", "313860746"))
    code, _, err = v1builder("info", tmp_path / "store")
    assert code == 1
    assert "glif_models" in err


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
        (["fetch", "--out", "s", "--select", "cell_types"], "add --source live"),
        (["fetch", "--out", "s", "--pins", "p.toml", "--allow-missing"], "--pins, --allow-missing"),
        (
            ["fetch", "--source", "live", "--out", "s", "--service", "cell_types"],
            "write cell_types=https://...",
        ),
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
