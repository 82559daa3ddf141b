"""`measure` runs protocols beside measures, of the intact network and of ablated ones."""

import numpy as np
import pytest
from handmade import make_foreign

from v1builder.experiments.measure_network import measure_network
from v1builder.load import save_network
from v1builder.schema.errors import ConfigError


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign") / "network"
    save_network(make_foreign(), folder)
    return folder


def test_protocols_need_no_task(net, tmp_path):
    shown = []
    found = measure_network(
        net,
        None,
        select=["cell_parameters", "perturbation_growth"],
        ablations=["no_asc"],
        levels=["network"],
        background="ratio",
        progress=lambda what, done, total: shown.append(what),
    )
    table = found.table()
    assert set(table["ablation"]) == {"intact", "no_asc"}
    charge = table[table["measure"] == "asc_charge"].set_index("ablation")["value"]
    assert charge["no_asc"] == 0 != charge["intact"]
    assert np.isfinite(table[table["measure"] == "perturbation_distance"]["value"]).all()
    assert "intact, perturbation_growth" in shown
    assert found.made_by["task"] is None
    found.write(tmp_path / "rows.csv")


def test_measures_need_one(net):
    with pytest.raises(ConfigError, match="measures are of the trials of a task"):
        measure_network(net, None, select=["mean_rate", "cell_parameters"])
    with pytest.raises(ConfigError, match="did you mean 'memory_capacity'"):
        measure_network(net, None, select=["memory_capcity"])
