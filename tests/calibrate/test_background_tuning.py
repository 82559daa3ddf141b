"""Tuned weights against the closed form of a cell, and what a measurement of rates must be."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from v1builder.calibrate.bisection import BOUND, MET
from v1builder.calibrate.spontaneous import (
    IndependentCells,
    gray_rates,
    only_cells,
    poisson_trains,
)
from v1builder.calibrate.targets import cell_models
from v1builder.calibrate.tuning import as_written, medians, tune
from v1builder.load import load_network
from v1builder.schema.errors import NetworkError


@pytest.fixture
def network(small_network_folder):
    """The hand-made network with a background that fires; its LGN has no filters, so without it."""
    network = load_network(small_network_folder)
    bkg = network.nodes["bkg"]
    rates = bkg.attributes | {"rate_Hz": np.full(len(bkg), 20_000.0)}
    edges = {name: e for name, e in network.edges.items() if e.source != "lgn"}
    # Every cell gets both units, whatever the drawing gave it.
    n = network.n_cells
    old = edges["bkg_to_v1"]
    edges["bkg_to_v1"] = dataclasses.replace(
        old,
        source_index=np.tile([0, 1], n).astype(np.int32),
        target_index=np.repeat(np.arange(n), 2).astype(np.int32),
        edge_type_id=np.full(2 * n, old.edge_type_id[0]),
        weight=np.full(2 * n, 2.0),
        nsyns=np.ones(2 * n, np.int32),
        delay=np.full(2 * n, old.delay[0]),
        receptor=np.full(2 * n, old.receptor[0]),
    )
    return dataclasses.replace(
        network,
        nodes=network.nodes | {"bkg": dataclasses.replace(bkg, attributes=rates)},
        edges=edges,
    )


def targets(network, rate):
    names = np.unique(network.cells.attributes["pop_name"].astype(str))
    return cell_models(network, pd.Series(rate, index=names))


def test_tuned_weight_is_that_of_the_closed_form(network):
    """Many weak spikes are nearly a constant current I, for which a cell without after-spike currents
    fires every t_ref + tau ln(I / (I - I_rheobase)), and half a step later on a grid.

    A synapse of 1 pA carries e (tau_fast + amp_slow tau_slow) pA ms per spike.
    """
    models, model_of = targets(network, 50.0)
    found, held_out = tune(network, models, model_of, seed=1, seconds=16.0, dt=0.5)
    assert (found["status"] == MET).all()
    assert (abs(found["achieved_Hz"] / 50 - 1) <= 0.01).all()
    row = found["cell_model"].tolist().index(101)  # the model without after-spike currents
    cell = np.flatnonzero(model_of == row)[0]
    value = {k: network.membrane.per_cell(k)[cell] for k in ("C_m", "g", "E_L", "V_th", "t_ref")}
    port = network.edges["bkg_to_v1"].receptor[0]
    fast, slow, amp = (
        network.receptors.per_cell(k)[cell, port]
        for k in ("tau_syn_fast", "tau_syn_slow", "amp_slow")
    )
    interval = 1000 / 50 - value["t_ref"] - 0.25
    tau = value["C_m"] / value["g"]
    current = value["g"] * (value["V_th"] - value["E_L"]) / (1 - np.exp(-interval / tau))
    weight = current / (2 * 20.0 * np.e * (fast + amp * slow))
    assert found.loc[row, "weight_pA"] == pytest.approx(weight, rel=0.02)
    # On spike trains no weight was fitted to, rates are those of the target up to their error.
    np.testing.assert_allclose(medians(held_out, model_of, 3), found["held_out_Hz"])
    deviation = found["held_out_Hz"] - found["achieved_Hz"]
    assert (deviation != 0).any()
    assert (abs(deviation) <= 5 * np.sqrt(2) * np.maximum(found["error_Hz"], 0.1)).all()


def test_tuning_ignores_recurrence(network):
    models, model_of = targets(network, 20.0)
    recurrent = network.edges["v1_to_v1"]
    wild = dataclasses.replace(recurrent, weight=100 * abs(recurrent.weight))
    other = dataclasses.replace(network, edges=network.edges | {"v1_to_v1": wild})
    options = {"seed": 4, "seconds": 4.0, "tolerance": 0.05}
    one, rates = tune(network, models, model_of, **options)
    two, same = tune(other, models, model_of, **options)
    pd.testing.assert_frame_equal(one, two)
    np.testing.assert_array_equal(rates, same)
    three, _ = tune(network, models, model_of, **options | {"seed": 5})
    assert (three["weight_pA"] != one["weight_pA"]).any()


def test_a_weight_at_its_bound_is_reported(network):
    models, model_of = targets(network, 50.0)
    found, _ = tune(network, models, model_of, seed=1, seconds=4.0, max_weight=1e-3)
    assert (found["status"] == BOUND).all()
    np.testing.assert_array_equal(found["weight_pA"], as_written(np.full(3, 1e-3)))
    assert (found["achieved_Hz"] == 0).all()


def test_some_cells_alone_fire_as_among_the_others(network):
    alone = network.without_recurrence()
    assert list(alone.edges) == ["bkg_to_v1"]
    rates = gray_rates(alone, 1.0)
    whole = IndependentCells(alone, rates, dt=1.0)
    weight = np.linspace(4, 12, network.n_cells)
    counts = whole.counts(weight, 4.0, seed=9)
    cells = np.array([1, 2, 7, 20])
    assert counts[:, cells].min() > 0
    np.testing.assert_array_equal(
        whole.part(cells).counts(weight[cells], 4.0, seed=9), counts[:, cells]
    )
    np.testing.assert_array_equal(whole.counts(weight, 4.0, seed=9), counts)
    assert (whole.counts(weight, 4.0, seed=10) != counts).any()


def test_cells_keep_their_inputs_and_parameters(small_network_folder):
    network = load_network(small_network_folder).without_recurrence()
    cells = np.array([0, 4, 5, 17])
    part = only_cells(network, cells)
    for name, edges in network.edges.items():
        kept = np.isin(edges.target_index, cells)
        few = part.edges[name]
        np.testing.assert_array_equal(cells[few.target_index], edges.target_index[kept])
        of = part.nodes[edges.source].node_id
        np.testing.assert_array_equal(of[few.source_index], edges.source_index[kept])
        np.testing.assert_array_equal(few.weight, edges.weight[kept])
        assert set(few.source_index) == set(range(len(of)))
    np.testing.assert_array_equal(
        part.membrane.per_cell("C_m"), network.membrane.per_cell("C_m")[cells]
    )


def test_poisson_trains_have_their_rates_and_the_scatter_of_poisson():
    rates = {"a": np.array([0.0, 5.0, 200.0]), "b": np.array([1000.0])}
    counts = {"a": [], "b": []}
    drawn = poisson_trains(rates, 4, 1.0, seed=2)
    for start in range(0, 25_000, 2_000):
        for name, train in drawn(start, min(start + 2_000, 25_000)).items():
            counts[name].append(train.double().sum(dim=(0, 1)).numpy())
    seconds = 100.0
    assert [len(parts) for parts in counts.values()] == [13, 13]
    for name, expected in rates.items():
        total = np.sum(counts[name], axis=0)
        assert (abs(total - expected * seconds) <= 4 * np.sqrt(expected * seconds)).all()
    in_segment = np.array([part[0] for part in counts["b"][:12]])
    assert 0.2 < in_segment.var(ddof=1) / 8_000 < 2.5  # chi-square with 11 degrees of freedom, .1 %


def test_medians_of_groups_in_any_order():
    rates = np.array([[5.0, 1.0, 9.0, 2.0, 4.0], [0.0, 0.0, 1.0, 3.0, 1.0]])
    model_of = np.array([1, 0, 1, 0, 1])
    np.testing.assert_array_equal(medians(rates, model_of, 2), [[1.5, 5.0], [1.5, 1.0]])


def test_an_input_of_unknown_rate_is_named(small_network_folder):
    network = load_network(small_network_folder)
    edges = {name: e for name, e in network.edges.items() if e.source != "lgn"}
    with pytest.raises(NetworkError, match="rate_Hz"):
        gray_rates(dataclasses.replace(network, edges=edges), 1.0)
