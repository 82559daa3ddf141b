"""The command line as a user meets it: exit codes, one clear message, nothing half-written."""

import contextlib
import json
import shutil
import signal

import pytest

from v1builder.terminal import Bars


def test_fetch_and_build_from_the_store(v1builder, tmp_path):
    assert v1builder("fetch", "--out", tmp_path / "store")[0] == 0
    code, _, err = v1builder(
        "build", "--radius", 30, "--store", tmp_path / "store", "--out", tmp_path / "net"
    )
    assert (code, err) == (0, "")
    assert (tmp_path / "net" / "circuit_config.json").exists()


def test_info_names_cells_borrowed_models_and_citations(v1builder, small_column):
    code, out, _ = v1builder("info", small_column)
    assert code == 0
    for expected in ("e4other", "e4Nr5a1, e4Rorb, e4Scnn1a", "lgn_to_v1", "Teeter", "Terms of Use"):
        assert expected in out


def test_validate_says_that_nothing_is_wrong(v1builder, small_column):
    assert v1builder("validate", small_column)[0] == 0


def test_validate_lists_every_problem(v1builder, small_column, tmp_path):
    net = tmp_path / "net"
    shutil.copytree(small_column, net)
    (net / "network" / "bkg_nodes.h5").unlink()
    types = net / "network" / "lgn_v1_edge_types.csv"
    types.write_text(types.read_text().replace("delay", "dealy", 1))
    code, _, err = v1builder("validate", net)
    assert code == 1
    assert "bkg_nodes.h5" in err
    assert "delay" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["build", "--radius", "10", "--out", "net"], "30"),
        (["build", "--radius", "900", "--out", "net"], "700"),
        (["build", "--radius", "nan", "--out", "net"], "radius"),
        (["build", "--seed", "-1", "--out", "net"], "seed"),
        (["build", "--store", "nowhere", "--out", "net"], "nowhere"),
        (["build", "--recipe", "nowhere.toml", "--out", "net"], "nowhere.toml"),
        (["validate", "nowhere"], "nowhere"),
        (["info", "nowhere"], "nowhere"),
        (["simulate", "nowhere.json"], "nowhere.json"),
        (["train", "nowhere.toml", "--out", "run"], "nowhere.toml"),
        (["compare", "nowhere.toml", "--out", "run"], "nowhere.toml"),
        (["report", "nowhere"], "compare"),
        (["fetch", "--source", "liev", "--out", "store"], "live"),
    ],
)
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


def test_an_unknown_recipe_key_names_the_nearest(v1builder, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[background]\nrate_hz = 100\n")
    code, _, err = v1builder("build", "--radius", 30, "--recipe", recipe, "--out", tmp_path / "net")
    assert code == 1
    assert "rate_Hz" in err
    assert not (tmp_path / "net").exists()


def test_an_existing_output_is_not_overwritten_unless_asked(v1builder, tmp_path):
    net = tmp_path / "net"
    net.mkdir()
    (net / "precious").write_text("data")
    code, _, err = v1builder("build", "--radius", 30, "--out", net)
    assert code == 1
    assert "--overwrite" in err
    assert (net / "precious").read_text() == "data"


def test_provenance_says_what_made_the_network(small_column):
    made_by = json.loads((small_column / "provenance.json").read_text())
    assert made_by["radius_um"] == 30
    assert made_by["seed"] == 1
    assert made_by["data"]["sources"][0]["citation"]
    assert len(made_by["borrowed_cell_models"]) == 61


@pytest.mark.parametrize("after", ["cells", "edges v1 -> v1", "edges lgn -> v1"])
def test_an_interrupted_build_leaves_nothing_even_when_python_drops_the_interrupt(
    v1builder, tmp_path, monkeypatch, after
):
    class Dropping(Bars):
        """Ctrl-C falls into a callback in which Python cannot raise."""

        def __call__(self, stage, done, total):
            super().__call__(stage, done, total)
            if stage == after and not self._interrupted:
                with contextlib.suppress(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("v1builder.cli.Bars", Dropping)
    code, _, err = v1builder("build", "--radius", 30, "--out", tmp_path / "net")
    assert code == 130
    assert "interrupted" in err
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
