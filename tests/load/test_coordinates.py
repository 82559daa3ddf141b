"""Cells as points: there and back, means that keep what they should, and one table for every parameter."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from handmade import make_network
from hypothesis import given, settings
from hypothesis import strategies as st
from small_network import CELL_MODELS

from v1builder import curate
from v1builder.build.node_types import build_models
from v1builder.experiments.ablations import parse_ablation
from v1builder.load import load_network
from v1builder.load.coordinates import ASPECTS, BACKGROUND, from_theta, group_means, to_theta
from v1builder.load.groups import group_cells
from v1builder.load.network import GroupedValues
from v1builder.model import V1Network
from v1builder.schema.parameters import (
    GLIF_UNITS,
    PARAMETERS,
    PLASTICITY_UNITS,
    RECEPTOR_UNITS,
    THRESHOLD_PARAMETERS,
)


def one_of(low, high):
    return st.floats(low, high, allow_nan=False)


@st.composite
def membranes(draw):
    """Up to five cells of any GLIF level, inside the ranges of `schema.parameters`."""
    n, k = draw(st.integers(1, 5)), draw(st.integers(0, 3))

    def cells(low, high):
        return np.array(draw(st.lists(one_of(low, high), min_size=n, max_size=n)))

    def currents(low, high):
        flat = draw(st.lists(one_of(low, high), min_size=n * k, max_size=n * k))
        return np.array(flat).reshape(n, k)

    E_L = cells(-90, -50)
    distance = cells(1, 60)
    return GroupedValues(
        {
            "C_m": cells(10, 500),
            "g": cells(0.5, 40),
            "E_L": E_L,
            "V_th": E_L + distance,
            "V_reset": E_L + cells(-0.5, 0.98) * distance,
            "t_ref": cells(0.1, 20),
            "asc_amps": currents(-300, 300),
            "asc_decay": currents(1e-4, 3),
            "asc_r": currents(0, 1),
            "th_spike_add": cells(0, 30),
            "th_spike_decay": cells(0, 1),
            "voltage_reset_fraction": cells(-0.5, 1),
            "th_voltage_index": cells(-0.1, 0.1),
            "th_voltage_decay": cells(0, 1),
        },
        np.arange(n),
        tuple(f"model-{i}" for i in range(n)),
    )


@settings(max_examples=80, deadline=None)
@given(membranes())
def test_there_and_back(membrane):
    theta, space = to_theta(membrane)
    assert np.isfinite(theta).all()
    assert theta.shape == (len(membrane.labels), len(space.columns))
    values, clipped = from_theta(theta, space)
    assert clipped == {}
    assert list(values) == list(GLIF_UNITS)
    for name, value in membrane.values.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-11, atol=1e-11, err_msg=name)
        assert values[name].shape == value.shape


@settings(max_examples=80, deadline=None)
@given(membranes())
def test_the_mean_cell_has_the_mean_charge_and_resets_below_its_threshold(membrane):
    (mean,) = _means(membrane)
    charge = (membrane.values["asc_amps"] / membrane.values["asc_decay"]).mean(axis=0)
    np.testing.assert_allclose(mean["asc_amps"] / mean["asc_decay"], charge, rtol=1e-10, atol=1e-9)
    assert mean["V_reset"] < mean["V_th"]
    tau_m = (membrane.values["C_m"] / membrane.values["g"]).astype(float)
    assert np.log(mean["C_m"] / mean["g"]) == pytest.approx(np.log(tau_m).mean())


def _means(membrane):
    """The mean of all cells of a table, one dict of numbers."""
    groups = group_cells(_nodes(len(membrane.labels)), "global")
    means = group_means(membrane, groups)
    return [{name: value[row] for name, value in means.items()} for row in range(len(groups))]


def _nodes(n):
    network = make_network()
    return dataclasses.replace(
        network.cells, node_id=np.arange(n), node_type_id=np.arange(n), attributes={}
    )


def test_a_reset_averaged_in_mV_could_lie_above_the_threshold():
    """Two cells, 5 and 50 mV from threshold, each reset to .98 of it."""
    network = make_network()
    values = {name: value[:2].copy() for name, value in network.membrane.values.items()}
    values |= {"E_L": np.array([-70.0, -70.0]), "V_th": np.array([-65.0, -20.0]),
               "V_reset": np.array([-65.1, -21.0])}  # fmt: skip
    (mean,) = _means(GroupedValues(values, np.arange(2), ("a", "b")))
    assert mean["V_th"] == pytest.approx(-70 + np.sqrt(5 * 50))  # log
    assert values["V_reset"].mean() > mean["V_th"]  # what a mean in mV would have done
    assert mean["V_reset"] == pytest.approx(-70 + 0.98 * np.sqrt(5 * 50))


@pytest.mark.parametrize("level", ["cell_model", "population", "ei", "global"])
def test_a_mean_keeps_the_charge_of_every_group(small_column, level):
    for network in (make_network(), load_network(small_column)):
        mean = parse_ablation(f"mean({level})")(network)
        groups = group_cells(network.cells, level)
        before, after = (
            np.array([charge(one)[groups.of_cell == g].mean(axis=0) for g in range(len(groups))])
            for one in (network, mean)
        )
        np.testing.assert_allclose(after, before, rtol=1e-12, atol=1e-12 * np.abs(before).max())


def charge(network):
    """[n_cells, 2] pA ms per spike."""
    return network.membrane.per_cell("asc_amps") / network.membrane.per_cell("asc_decay")


def test_amplitudes_and_rates_averaged_apart_make_fast_spiking_cells_adapt_too_much():
    """The published i23Pvalb models: mean(a)/exp(mean(log k)) against mean(a/k), both currents."""
    tables = curate.read_store()
    models = build_models(curate.cell_models(tables), tables.populations)
    models = models[models["population"] == "i23Pvalb"]
    values = {
        name: models[[f"{name}_0", f"{name}_1"]].to_numpy()
        if f"{name}_0" in models
        else models[name].to_numpy()
        for name in GLIF_UNITS
    }
    amps, rate = values["asc_amps"], values["asc_decay"]
    true = (amps / rate).mean(axis=0).sum()
    apart = (amps.mean(axis=0) / np.exp(np.log(rate).mean(axis=0))).sum()
    assert len(models) == 10
    assert true == pytest.approx(-822.18, abs=0.01)  # pA ms per spike
    assert apart / true == pytest.approx(4.57, abs=0.01)
    labels = tuple(models["specimen_id"].astype(str))
    (mean,) = _means(GroupedValues(values, np.arange(len(models)), labels))
    assert (mean["asc_amps"] / mean["asc_decay"]).sum() == pytest.approx(true, rel=1e-12)


# As NEST documents them: nestml/glif_psc_double_alpha, tsodyks2_synapse; and voltages relative to E_L.
UNITS = {
    "C_m": "pF", "g": "nS", "E_L": "mV", "V_th": "mV", "V_reset": "mV", "t_ref": "ms",
    "asc_amps": "pA", "asc_decay": "1/ms", "asc_r": "1",
    "th_spike_add": "mV", "th_spike_decay": "1/ms", "voltage_reset_fraction": "1",
    "th_voltage_index": "1/ms", "th_voltage_decay": "1/ms",
    "tau_syn_fast": "ms", "tau_syn_slow": "ms", "amp_slow": "1", "psc_shape": "1",
    "U": "1", "tau_rec": "ms", "tau_fac": "ms", "u": "1", "x": "1",
}  # fmt: skip


def test_the_table_has_every_parameter_once_with_the_unit_of_the_files():
    assert {name: parameter.unit for name, parameter in PARAMETERS.items()} == UNITS
    assert list(PARAMETERS) == [*GLIF_UNITS, *RECEPTOR_UNITS, *PLASTICITY_UNITS]
    assert set(THRESHOLD_PARAMETERS) < set(GLIF_UNITS)
    # What is made from it: a coordinate, and an aspect, for every parameter that shapes spikes.
    for name in GLIF_UNITS:
        assert (PARAMETERS[name].aspect is None) == (name == "E_L"), name
    assert set(ASPECTS) == {p.aspect for p in PARAMETERS.values() if p.aspect} | {BACKGROUND}
    _, space = to_theta(make_network().membrane)
    of_aspects = [space.of(names) for names in ASPECTS.values()]
    np.testing.assert_array_equal(np.sum(of_aspects, axis=0), space.dynamics.astype(int))


def test_values_in_files_are_in_the_units_of_the_table(small_network_folder):
    """Read from hand-made files unchanged: pF, nS, mV, ms, pA, 1/ms."""
    network = load_network(small_network_folder)
    row = list(network.membrane.labels).index(str(CELL_MODELS[0][3]))
    values = {name: value[row] for name, value in network.membrane.values.items()}
    names = ("C_m", "g", "E_L", "V_th", "t_ref")
    assert [values[name] for name in names] == list(CELL_MODELS[0][4:9])
    assert values["asc_amps"].tolist() == list(CELL_MODELS[0][9])
    assert values["asc_decay"].tolist() == [0.003, 0.03]
    file = next(small_network_folder.rglob("100_glif_lif_asc_config.json"))
    known = set(PARAMETERS) | {
        "V_m", "asc_init", "spike_dependent_threshold", "after_spike_currents", "adapting_threshold"
    }  # fmt: skip
    assert set(json.loads(file.read_text())) <= known


@pytest.mark.parametrize("level", ["cell", "cell_model", "population", "ei", "global"])
def test_a_grouped_model_is_made_of_the_cells_of_mean(level):
    """V1Network(group_by) and the ablation mean(level) have one rule of averaging."""
    network = make_network()
    model = V1Network(network, group_by=level, trainable=[], dtype=torch.float64)
    mean = parse_ablation(f"mean({level})")(network, carry="none")
    for name in GLIF_UNITS:
        expected = mean.membrane.per_cell(name)
        if name in ("V_th", "V_reset"):
            expected = expected - mean.membrane.per_cell("E_L")
        if name == "E_L":
            continue
        found = getattr(model.cells, name)().detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=name)
