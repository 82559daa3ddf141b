"""Answers of docs/faq.md, tried."""

import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from v1builder.load import load_network
from v1builder.schema.errors import NetworkError
from v1builder.simulate import simulate

PAGE = Path(__file__).parents[2] / "docs" / "faq.md"


def block(language: str, holding: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = (each for each in blocks if holding in each)
    return found


@pytest.fixture
def network(small_network_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_network_folder, tmp_path / "net"))


def with_template(network: Path, name: str) -> None:
    types = network / "network" / "v1_node_types.csv"
    types.write_text(types.read_text().replace("glif_psc_double_alpha", name))


def test_old_names_of_glif_load(network: Path) -> None:
    with_template(network, "glif_lif_asc_psc")
    for path in (network / "components" / "cell_models").glob("*.json"):
        values = json.loads(path.read_text())
        values["tau_syn"] = values.pop("tau_syn_fast")
        del values["tau_syn_slow"], values["amp_slow"]
        path.write_text(json.dumps(values))
    assert load_network(network).n_cells == 24


def test_conductance_based_cells_are_refused_by_name(network: Path) -> None:
    with_template(network, "glif_cond")
    with pytest.raises(NetworkError) as caught:
        load_network(network)
    assert caught.value.problems[0].what == block("text", "glif_cond").strip()


def test_a_weight_function_of_a_script_is_refused_by_name(network: Path) -> None:
    types = network / "network" / "v1_v1_edge_types.csv"
    table = pd.read_csv(types, sep=" ").assign(weight_function="DirectionRule_EE")
    table.to_csv(types, sep=" ", index=False)
    with pytest.raises(NetworkError) as caught:
        load_network(network)
    assert caught.value.problems[0].what == block("text", "DirectionRule_EE").strip()


def test_a_weight_is_that_of_all_synapses(network: Path) -> None:
    with h5py.File(network / "network" / "v1_v1_edges.h5") as file:
        group = file["edges/v1_to_v1/0"]
        weight, n = group["syn_weight"][()], group["nsyns"][()]
    assert len(set(n)) > 1
    np.testing.assert_allclose(load_network(network).edges["v1_to_v1"].weight, weight * n)


def test_spikes_of_a_table_and_a_report_of_after_spike_currents(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(network.parent)
    Path("lgn.csv").write_text(block("text", "timestamps"))
    Path("simulation.json").write_text(block("json", "ASCurrents_sum"))
    simulate("simulation.json", backend="reference")
    with h5py.File("out/asc.h5") as report, h5py.File("out/spikes.h5") as spikes:
        current = report["report/v1/data"][()]
        fired = np.unique(spikes["spikes/v1/node_ids"][()])
    assert current.shape == (100, 24)
    assert fired.size
    assert set(np.flatnonzero(current.any(axis=0))) <= set(fired)
    assert current.any()
