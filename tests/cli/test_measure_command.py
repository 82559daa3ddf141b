"""`v1builder measure`: trials of a task on an untrained network, as tables."""

import json

import pandas as pd
import pytest
from handmade import make_foreign

from v1builder.load import save_network

EXPERIMENT = """
name = "a test"
[network]
path = "nowhere"
[task]
name = "flow_perturbation"
warm_up_ms = 50.0
before_ms = 60.0
baseline_ms = 40.0
changed_ms = 80.0
after_ms = 20.0
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign") / "network"
    save_network(make_foreign(), folder)
    return folder


def test_it_writes_tables_of_the_intact_and_the_ablated_network(v1builder, net, tmp_path):
    experiment, out = tmp_path / "experiment.toml", tmp_path / "measures.csv"
    experiment.write_text(EXPERIMENT)
    arguments = ["measure", net, "--task", experiment, "--out", out, "--trials", 4,
                 "--select", "voltage_change", "--select", "hyperpolarised_share",
                 "--ablation", "mean(population)", "--background", "ratio"]  # fmt: skip
    code, said, err = v1builder(*arguments)
    assert (code, err) == (0, "")
    assert "mean(population)" in said
    assert f"table: {out}" in said
    table = pd.read_csv(out)
    assert set(table["ablation"]) == {"intact", "mean(population)"}
    assert set(table["measure"]) == {"voltage_change", "hyperpolarised_share"}
    assert set(table["window"]) == {"motion_begins", "motion_ends"}
    assert table["value"].notna().all()
    assert table["low"].notna().sum() == (table["measure"] == "hyperpolarised_share").sum()
    before = out.read_bytes(), out.with_suffix(".json").read_bytes()
    code, _, err = v1builder(*arguments)
    assert code == 1
    assert "already exists" in err
    assert v1builder(*arguments, "--overwrite")[0] == 0
    assert (out.read_bytes(), out.with_suffix(".json").read_bytes()) == before
    assert json.loads(before[1])["task"]["changed_ms"] == 80.0


def test_groups_may_be_single_cells(v1builder, net, tmp_path):
    experiment, out = tmp_path / "experiment.toml", tmp_path / "measures.csv"
    experiment.write_text(EXPERIMENT)
    code, _, err = v1builder("measure", net, "--task", experiment, "--out", out, "--trials", 2,
                             "--level", "cell", "--level", "population")  # fmt: skip
    assert (code, err) == (0, "")
    table = pd.read_csv(out)
    change = table[table["measure"] == "voltage_change"]
    assert change["level"].value_counts().to_dict() == {"cell": 48, "population": 8}
    assert "fano_factor" in set(table["measure"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "flow_pertubation"], "did you mean 'flow_perturbation'"),
        (["--task", "grating_tuning", "--select", "osi_vectr"], "did you mean 'osi_vector'"),
        (["--task", "grating_tuning", "--ablation", "no_asq"], "did you mean 'no_asc'"),
        (["--task", "grating_tuning", "--level", "layr"], "did you mean 'layer'"),
        (["--task", "nowhere.toml"], "cannot read the configuration"),
    ],
)
def test_a_wrong_name_names_the_nearest(v1builder, net, tmp_path, options, message):
    out = tmp_path / "measures.csv"
    code, _, err = v1builder("measure", net, "--out", out, *options)
    assert code == 1
    assert message in err
    assert not out.exists()
