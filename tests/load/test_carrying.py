"""Weights that follow a membrane: PSPs against integration and against the simulated network."""

import dataclasses

import numpy as np
import pytest
import torch
from handmade import make_foreign, make_network
from scipy.integrate import solve_ivp

from v1builder.load.carrying import background_ratio, background_weight, with_membrane
from v1builder.load.coordinates import rheobase
from v1builder.load.psp import unit_psp
from v1builder.model import V1Network
from v1builder.schema.errors import NetworkError
from v1builder.schema.names import PSC_ALPHA, PSC_DELTA, PSC_EXPONENTIAL
from v1builder.schema.psp import exponential_psp_peak

DT = 0.05
SHAPES = (PSC_ALPHA, PSC_EXPONENTIAL, PSC_DELTA)


def with_shapes(network):
    """One port of each shape; only alpha currents have a slow part."""
    receptors = network.receptors
    amp = receptors.values["amp_slow"]
    shapes = np.broadcast_to(np.array(SHAPES, np.float64), amp.shape).copy()
    values = receptors.values | {
        "psc_shape": shapes,
        "amp_slow": np.where(shapes == PSC_ALPHA, amp, 0.0),
    }
    return dataclasses.replace(network, receptors=dataclasses.replace(receptors, values=values))


def other_membrane(network, seed=1):
    """Of the same cells, one row each, all parameters of the passive membrane changed."""
    rng = np.random.default_rng(seed)
    membrane = network.membrane
    values = {name: membrane.per_cell(name).copy() for name in membrane.values}
    distance = values["V_th"] - values["E_L"]
    values["C_m"] *= rng.lognormal(0, 0.6, network.n_cells)
    values["g"] *= rng.lognormal(0, 0.6, network.n_cells)
    values["V_th"] = values["E_L"] + distance * rng.uniform(0.7, 1.5, network.n_cells)
    labels = tuple(str(k) for k in range(network.n_cells))
    return dataclasses.replace(
        membrane, values=values, group_of=np.arange(network.n_cells), labels=labels
    )


def integrated_peak(shape, fast, slow, amp, C_m, g):
    """Peak of the membrane equation's solution for a weight of 1 pA, without the closed form."""

    def current(t):
        if shape == PSC_EXPONENTIAL:
            return np.exp(-t / fast)
        return t / fast * np.exp(1 - t / fast) + amp * t / slow * np.exp(1 - t / slow)

    end = 6 * (fast + C_m / g + (slow if shape == PSC_ALPHA else 0))
    run = solve_ivp(
        lambda t, v: (-g * v + current(t)) / C_m,
        (0, end),
        [0.0],
        rtol=1e-9,
        atol=1e-14,
        max_step=end / 400,
        dense_output=True,
    )
    times = np.linspace(0, end, 20001)
    return run.sol(times)[0].max()


def test_unit_psp_of_every_shape_is_that_of_the_membrane_equation():
    network = with_shapes(make_network())
    found = unit_psp(network)
    rng = np.random.default_rng(0)
    for cell in rng.choice(network.n_cells, 6, replace=False):
        membrane = [network.membrane.per_cell(name)[cell] for name in ("C_m", "g")]
        for port, shape in enumerate(SHAPES):
            own = found.values[found.kind_of[cell], port]
            if shape == PSC_DELTA:  # a weight in mV is the PSP
                assert own == 1.0
                continue
            kinetics = [
                network.receptors.per_cell(name)[cell, port]
                for name in ("tau_syn_fast", "tau_syn_slow", "amp_slow")
            ]
            assert own == pytest.approx(integrated_peak(shape, *kinetics, *membrane), rel=1e-6)


@pytest.mark.parametrize("ratio", [0.02, 0.5, 0.999, 1 - 1e-8, 1.0, 1 + 1e-7, 1.001, 2.0, 50.0])
def test_the_exponential_peak_where_time_constants_meet(ratio):
    """tau over tau_m through 1, where the textbook formula is 0/0."""
    C_m, g = 120.0, 8.0
    tau = ratio * C_m / g
    expected = integrated_peak(PSC_EXPONENTIAL, tau, 1.0, 0.0, C_m, g)
    assert exponential_psp_peak(tau, C_m, g) == pytest.approx(expected, rel=2e-6)
    if ratio == 1.0:
        assert exponential_psp_peak(tau, C_m, g) == pytest.approx(tau / (np.e * C_m), rel=1e-12)


def peaks(network):
    """[n_cells] mV, largest depolarisation after one spike of the first LGN unit, simulated."""
    model = V1Network(network, dt=DT, dtype=torch.float64, trainable=[], backend="reference")
    spikes = torch.zeros(1, round(250 / DT), len(network.nodes["lgn"]), dtype=torch.float64)
    spikes[0, 0, 0] = 1
    with torch.no_grad():
        rollout = model({"lgn": spikes}, record_voltage=True)
    assert rollout.spikes.sum() == 0
    return rollout.drive[0].abs().amax(dim=0).numpy()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_carried_weight_has_the_same_psp_in_the_simulated_cell(sign):
    network = with_shapes(make_network())
    n = network.n_cells
    port = np.arange(n) % 3
    wanted = np.random.default_rng(4).uniform(0.5, 2.0, n)  # mV
    found = unit_psp(network)
    weight = sign * wanted / found.values[found.kind_of, port]
    edges = dataclasses.replace(
        network.edges["lgn_to_v1"],
        source_index=np.zeros(n, np.int32),
        target_index=np.arange(n, dtype=np.int32),
        edge_type_id=np.ones(n, np.int64),
        nsyns=np.ones(n, np.int32),
        delay=np.full(n, 1.0, np.float32),
        receptor=port.astype(np.int16),
        weight=weight,
    )
    network = dataclasses.replace(network, edges=network.edges | {"lgn_to_v1": edges})
    np.testing.assert_allclose(peaks(network), wanted, rtol=0.01)
    carried, record = with_membrane(network, other_membrane(network), None)
    np.testing.assert_allclose(peaks(carried), wanted, rtol=0.01)
    uncarried = dataclasses.replace(network, membrane=carried.membrane)
    off = np.abs(peaks(uncarried) / wanted - 1)[port != 2]
    assert np.median(off) > 0.15  # it was needed
    factor = carried.edges["lgn_to_v1"].weight / weight
    np.testing.assert_array_equal(factor[port == 2], 1.0)
    assert record["lgn_to_v1"]["median"] == pytest.approx(np.median(factor))
    assert record["lgn_to_v1"]["range"] == pytest.approx([factor.min(), factor.max()])


def test_every_edge_keeps_its_psp_and_nothing_else_changes():
    network = make_foreign()
    carried, record = with_membrane(network, other_membrane(network), background_ratio(network))
    assert set(record) == set(network.edges)
    before, after = network.edges["v1_to_v1"], carried.edges["v1_to_v1"]
    np.testing.assert_allclose(
        unit_psp(carried).of(after) * after.weight, unit_psp(network).of(before) * before.weight
    )
    for name, edges in network.edges.items():
        for field in dataclasses.fields(edges):
            if field.name != "weight":
                assert getattr(carried.edges[name], field.name) is getattr(edges, field.name)
    assert carried.receptors is network.receptors


def test_the_background_keeps_its_ratio_to_rheobase():
    network = make_foreign()
    ratio = background_ratio(network)
    np.testing.assert_allclose(ratio, 0.12)  # as the network was made
    carried, _ = with_membrane(network, other_membrane(network), ratio)
    np.testing.assert_allclose(background_ratio(carried), ratio, rtol=1e-12)
    weight = carried.edges["bkg_to_v1"].weight
    scale = rheobase(carried.membrane)[carried.membrane.group_of]
    np.testing.assert_allclose(weight, 0.12 * scale[carried.edges["bkg_to_v1"].target_index])
    # Another ratio is given to the cells, spread over a cell's edges as before.
    edges = network.edges["bkg_to_v1"]
    uneven = dataclasses.replace(edges, weight=edges.weight * np.tile([0.5, 1.0, 1.5], 24))
    network = dataclasses.replace(network, edges=network.edges | {"bkg_to_v1": uneven})
    asked = np.linspace(0.0, 0.3, network.n_cells)
    given, _ = with_membrane(network, network.membrane, asked)
    np.testing.assert_allclose(background_ratio(given), asked, atol=1e-15)
    per_cell = given.edges["bkg_to_v1"].weight.reshape(-1, 3)
    np.testing.assert_allclose(per_cell / per_cell.mean(axis=1, keepdims=True).clip(1e-300),
                               np.where(asked[:, None] > 0, [[0.5, 1.0, 1.5]], 0.0))  # fmt: skip
    np.testing.assert_allclose(background_weight(given), per_cell.mean(axis=1))


def test_a_network_without_background_has_no_ratio():
    network = make_network()
    assert background_ratio(network) is None
    assert not background_weight(network).any()
    carried, record = with_membrane(network, other_membrane(network), None)
    assert set(record) == {"v1_to_v1", "lgn_to_v1"}
    np.testing.assert_allclose(
        unit_psp(carried).of(carried.edges["lgn_to_v1"]) * carried.edges["lgn_to_v1"].weight,
        unit_psp(network).of(network.edges["lgn_to_v1"]) * network.edges["lgn_to_v1"].weight,
    )


def test_a_cell_without_background_gets_none():
    network = make_foreign()
    edges = network.edges["bkg_to_v1"]
    kept = edges.target_index != 5
    fewer = dataclasses.replace(
        edges,
        **{
            name: getattr(edges, name)[kept]
            for name in (
                "source_index", "target_index", "edge_type_id", "weight", "nsyns", "delay", "receptor"
            )
        },
    )  # fmt: skip
    network = dataclasses.replace(network, edges=network.edges | {"bkg_to_v1": fewer})
    ratio = background_ratio(network)
    assert ratio[5] == 0
    carried, _ = with_membrane(network, other_membrane(network), ratio)
    np.testing.assert_allclose(background_ratio(carried), ratio)


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [("membrane", "g", 0.0), ("membrane", "C_m", 0.0), ("receptors", "tau_syn_fast", 0.0)],
)
@pytest.mark.parametrize("shape", [PSC_ALPHA, PSC_EXPONENTIAL])
def test_a_port_without_psp_is_one_error_that_names_it(table, name, value, shape):
    network = make_network()
    receptors = network.receptors
    shapes = np.full_like(receptors.values["psc_shape"], shape)
    receptors = dataclasses.replace(receptors, values=receptors.values | {"psc_shape": shapes})
    network = dataclasses.replace(network, receptors=receptors)
    changed = getattr(network, table)
    values = changed.values[name].copy()
    values[...] = value
    changed = dataclasses.replace(changed, values=changed.values | {name: values})
    broken = dataclasses.replace(network, **{table: changed})
    with pytest.raises(NetworkError, match="a port has no PSP") as error:
        with_membrane(broken, network.membrane, None)
    assert len(error.value.problems) == 1
    assert "edges v1_to_v1, port" in str(error.value)
    assert 'carry = "none"' in str(error.value)
    if table == "membrane":  # of the new cells as well
        with pytest.raises(NetworkError, match="a port has no PSP"):
            with_membrane(network, broken.membrane, None)


def test_a_port_that_nothing_reaches_may_be_anything():
    network = make_network()
    tau = network.receptors.values["tau_syn_fast"].copy()
    tau[:, 2] = 0.0  # of the LGN
    values = network.receptors.values | {"tau_syn_fast": tau}
    network = dataclasses.replace(
        network,
        receptors=dataclasses.replace(network.receptors, values=values),
        edges={"v1_to_v1": network.edges["v1_to_v1"]},
    )
    with_membrane(network, other_membrane(network), None)
