"""One more spike of one cell is what a cell's spike is; cells that know nothing of one another forget it."""

import dataclasses

import numpy as np
import pytest
import torch
from handmade import make_network, with_plasticity
from preparations import alone, by_window, foreign, prepared, value

from v1builder.model import V1Network
from v1builder.protocols.perturbation_growth import PerturbationGrowth
from v1builder.protocols.probes import sending, with_spike


@pytest.mark.parametrize("network", [make_network(), with_plasticity(make_network())])
def test_one_more_spike_is_what_a_spike_of_that_cell_sends(network):
    """Against a step in which the cell itself is lifted above its threshold."""
    model = V1Network(network, dtype=torch.float64, trainable=(), backend="reference")
    inputs = {"lgn": torch.zeros(3, 1, 6)}
    cells = sending(model)[[0, 3, 7]]
    state = model.initial_state(3)
    if model.n_sites:  # away from rest
        state = dataclasses.replace(
            state, u=torch.full_like(state.u, 0.1), x=torch.full_like(state.x, 0.6)
        )
    U = state.U.clone()
    U[torch.arange(3), cells] = 1e4
    fired = model(inputs, state=dataclasses.replace(state, U=U))
    assert fired.spikes.sum(dim=(1, 2)).tolist() == [1, 1, 1]
    without = model(inputs, state=state)
    assert not without.spikes.any()
    found = with_spike(model, without.state, cells)
    for name in ("pending", "u", "x"):
        torch.testing.assert_close(getattr(found, name), getattr(fired.state, name))
    assert (found.pending != without.state.pending).any()


@pytest.mark.parametrize("strength", [0.03, 0.1])
def test_cells_that_hardly_know_one_another_forget_a_spike(strength):
    """With a tenth of the weights or less the difference decays, within 1/27 s or so."""
    protocol = PerturbationGrowth(n_pairs=6, duration_ms=200.0)
    rows = list(protocol.run(prepared(foreign(strength), dtype=torch.float64)))
    assert -60 < value(rows, "perturbation_growth") < -10
    assert value(rows, "perturbation_distance") < 1e-3


def test_a_spike_grows_in_strong_random_wiring():
    """Ten times the weights: where a spike more is a spike elsewhere, twins end far apart."""
    protocol = PerturbationGrowth(n_pairs=6, duration_ms=200.0)
    weak, strong = (list(protocol.run(prepared(foreign(k)))) for k in (0.1, 10.0))
    assert value(strong, "perturbation_distance") > 100 * value(weak, "perturbation_distance")
    assert value(strong, "perturbation_survival") > 0.9


def test_without_edges_there_is_no_growth():
    rows = list(PerturbationGrowth().run(prepared(alone(4))))
    (row,) = by_window(rows, "perturbation_growth").values()
    assert np.isnan(row.value)
    assert row.reason == "no cell has targets among the cells"


def test_smooth_cells_at_rest_forget_as_slowly_as_their_slowest_current():
    """GLIFR without a spike is linear: the exponent is that of the after-spike current, ln(1 - dt k)."""
    network = alone(2, asc_amps=-20.0, asc_decay=0.004)
    model = {"neuron": "glifr", "dtype": torch.float64}
    protocol = PerturbationGrowth(duration_ms=250.0, transient_ms=100.0, warm_up_ms=10.0)
    rows = list(protocol.run(prepared(network, **model)))
    expected = 1000 * np.log(1 - 0.004)
    assert value(rows, "perturbation_growth") == pytest.approx(expected, rel=0.02)
