"""The command on the smallest column: the folder it writes, what it says, what it refuses."""

import io
import json
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from v1builder.calibrate import calibrate
from v1builder.calibrate.bisection import LGN_EXCEEDS, MET
from v1builder.calibrate.operating_point import operating_point
from v1builder.calibrate.targets import TARGETS
from v1builder.cli import main
from v1builder.load import load_network
from v1builder.schema.checksums import CHECKSUMS
from v1builder.schema.errors import ConfigError, DataError, NetworkError, StorageError
from v1builder.schema.files import hash_folder
from v1builder.sonata import validate

RATE = 8.0
OPTIONS = {"seed": 3, "tolerance": 0.03, "seconds": 8.0, "trials": 1}


@pytest.fixture(scope="module")
def targets(small_column, tmp_path_factory):
    """The same rate for every population, high enough for short simulations."""
    table = pd.read_csv(small_column / TARGETS).assign(target_median_rate_Hz=RATE)
    path = tmp_path_factory.mktemp("targets") / "targets.csv"
    table.to_csv(path, index=False)
    return path


def v1builder(*arguments):
    """Run the command line; its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["v1builder", *(str(part) for part in arguments)])
        try:
            main()
            code = 0
        except SystemExit as stopped:
            code = stopped.code or 0
    return code, " ".join(out.getvalue().split()), " ".join(err.getvalue().split())


@pytest.fixture(scope="module")
def run(small_column, targets, tmp_path_factory):
    """The folder made by the command, and what it said."""
    out = tmp_path_factory.mktemp("calibrated") / "network"
    options = [part for name, value in OPTIONS.items() for part in (f"--{name}", value)]
    code, said, err = v1builder(
        "calibrate", small_column, "--out", out, "--targets", targets, *options
    )
    assert (code, err) == (0, "")
    return out, said


@pytest.fixture(scope="module")
def calibrated(run):
    return run[0]


def table(folder, name):
    return pd.read_csv(folder / f"calibration/{name}.csv", keep_default_na=False)


def test_cell_models_fire_at_their_targets(calibrated):
    models = table(calibrated, "cell_models")
    met = models["status"] == MET
    assert met.mean() > 0.9
    assert (abs(models.loc[met, "achieved_Hz"] / RATE - 1) <= 0.03).all()
    held_out = models.loc[met, "held_out_Hz"] / RATE - 1
    assert (held_out != 0).any()
    # Normal deviates of sqrt(2) standard errors: their mean square is 1, give or take.
    z = held_out * RATE / (np.sqrt(2) * models.loc[met, "error_Hz"].clip(lower=0.02 * RATE))
    assert 0.3 < np.sqrt((z**2).mean()) < 2


def test_unreachable_targets_are_recorded_never_silent(calibrated):
    models = table(calibrated, "cell_models")
    result = json.loads((calibrated / "calibration/calibration.json").read_text())
    missed = models[models["status"] != MET]
    assert [row["cell_model"] for row in result["unreached"]] == missed["cell_model"].tolist()
    # LGN alone drives one model of i4Pvalb to more than 20 Hz.
    exceeding = missed[missed["status"] == LGN_EXCEEDS]
    assert 478793814 in exceeding["cell_model"].to_numpy()
    assert (exceeding["weight_pA"] == 0).all()
    assert (exceeding["achieved_Hz"] > RATE * 1.03).all()
    page = (calibrated / "calibration/index.html").read_text()
    for row in result["unreached"]:
        assert f"cell model {row['cell_model']}: target" in page


def test_only_the_background_weights_differ(small_column, calibrated):
    assert validate(calibrated) == []
    before, after = hash_folder(small_column), hash_folder(calibrated)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {
        CHECKSUMS,
        "provenance.json",
        "network/bkg_v1_edges.h5",
        "network/bkg_v1_edge_types.csv",
    }
    assert all(name.startswith("calibration/") for name in set(after) - set(before))
    models = table(calibrated, "cell_models").set_index("cell_model")["weight_pA"]
    old, new = load_network(small_column), load_network(calibrated)
    edges, were = new.edges["bkg_to_v1"], old.edges["bkg_to_v1"]
    np.testing.assert_array_equal(edges.source_index, were.source_index)
    np.testing.assert_array_equal(edges.target_index, were.target_index)
    of_cell = models.loc[new.cells.node_type_id].to_numpy()
    np.testing.assert_allclose(edges.weight, of_cell[edges.target_index], rtol=1e-7)
    types = edges.types["syn_weight"].loc[edges.edge_type_id].to_numpy()
    np.testing.assert_allclose(types, edges.weight, rtol=1e-7)


def test_provenance_keeps_the_build_and_says_how_it_was_calibrated(small_column, calibrated):
    before = json.loads((small_column / "provenance.json").read_text())
    after = json.loads((calibrated / "provenance.json").read_text())
    record = after.pop("calibration")
    assert after == before
    assert record["settings"]["seed"] == 3
    assert record["origin"]["network"] == small_column.name
    assert record["summary"]["n_cell_models"] == len(table(calibrated, "cell_models"))


@pytest.mark.slow
def test_same_seed_same_bytes(small_column, targets, calibrated, tmp_path):
    again = calibrate(small_column, tmp_path / "again", targets=targets, **OPTIONS)
    assert hash_folder(again) == hash_folder(calibrated)


def test_gratings_drive_the_column_and_are_compared_with_recordings(calibrated):
    in_vivo = table(calibrated, "in_vivo")
    assert set(in_vivo["metric"]) == {
        "spontaneous_rate_Hz",
        "mean_rate_Hz",
        "preferred_rate_Hz",
        "osi",
        "dsi",
    }
    scored = pd.to_numeric(in_vivo["score"], errors="coerce")
    assert (scored.notna() == ((in_vivo["n_units"] >= 15) & (in_vivo["n_cells"] > 0))).all()
    populations = table(calibrated, "populations")
    assert (populations["grating_preferred_Hz"] >= populations["grating_mean_Hz"]).all()


def test_recurrence_is_off_in_tuning_and_on_in_the_check(calibrated):
    """The check without edges among cells gives the rates of tuning; with them it did not."""
    network = load_network(calibrated)
    edges = {name: e for name, e in network.edges.items() if e.source != "v1"}
    point = operating_point(replace(network, edges=edges), seed=OPTIONS["seed"], trials=1)
    populations = table(calibrated, "populations").set_index("population")
    names = network.cells.attributes["pop_name"].astype(str)
    off = pd.Series(point.spontaneous).groupby(names).median()
    assert abs((off / populations["alone_median_Hz"] - 1).median()) < 0.05
    # The same spike trains of LGN and background, so what differs is recurrence.
    assert (populations["recurrent_median_Hz"] != off).mean() > 0.8
    assert point.evoked is not None
    assert point.evoked.shape == (8, network.n_cells)


@pytest.mark.parametrize("stage", ["tuning, 8 s per cell", "gratings, recurrent"])
def test_an_interrupted_calibration_leaves_nothing(
    small_column, targets, calibrated, tmp_path, monkeypatch, stage
):
    def interrupt(name, done, total):
        if name == stage:
            raise KeyboardInterrupt

    def already_tuned(network, models, _model_of, **_options):
        found = table(calibrated, "cell_models").set_index("cell_model")
        columns = [name for name in found if name not in models]
        return models.join(found[columns], on="cell_model"), np.zeros(network.n_cells)

    if stage == "gratings, recurrent":
        monkeypatch.setattr(sys.modules[calibrate.__module__], "tune", already_tuned)
    with pytest.raises(KeyboardInterrupt):
        calibrate(small_column, tmp_path / "out", progress=interrupt, targets=targets, **OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_arguments_out_of_range_are_listed_together(small_column, tmp_path):
    with pytest.raises(ConfigError) as caught:
        calibrate(small_column, tmp_path / "out", fraction=0, tolerance=2, seconds=0.1, trials=0)
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the network has no target rates"),
        ("population,rate\ne23Cux2,1\n", "target_median_rate_Hz"),
        ("population,target_median_rate_Hz\ne23Cux2,0\n", "not positive"),
        ("population,target_median_rate_Hz\ne23Cux2,fast\n", "fast"),
        ("population,target_median_rate_Hz\ne23Cux2,1\ne23Cux2,2\n", "two target rates"),
        ("population,target_median_rate_Hz\ne23Cux2,1\n", "i23Pvalb"),
    ],
)
def test_bad_targets_are_one_clear_error(small_column, tmp_path, content, message):
    path = tmp_path / "targets.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        calibrate(small_column, tmp_path / "out", targets=path)
    assert not (tmp_path / "out").exists()


def test_a_network_without_a_weight_per_background_edge_is_refused(small_column, tmp_path):
    import h5py

    net = tmp_path / "net"
    shutil.copytree(small_column, net)
    with h5py.File(net / "network/bkg_v1_edges.h5", "r+") as file:
        del file["edges/bkg_to_v1/0/syn_weight"]  # the types table has it too, so that it loads
    with pytest.raises(NetworkError, match="do not have a weight each"):
        calibrate(net, tmp_path / "out")


def test_an_output_in_the_way_is_kept(small_column, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(StorageError, match="already exists"):
        calibrate(small_column, tmp_path / "out")
    assert (tmp_path / "out/mine.txt").read_text() == "mine"


def test_the_command_says_what_came_out(run):
    _, said = run
    assert "cell models meet 100% of their population's recorded median" in said
    assert "cell model 478793814: target 8 Hz not reached" in said
    assert "correlation" in said


def test_the_command_fails_with_one_message(tmp_path):
    code, _, err = v1builder("calibrate", tmp_path / "none", "--out", tmp_path / "out")
    assert code == 1
    assert err.count("error:") == 1
    assert "no such network folder" in err
