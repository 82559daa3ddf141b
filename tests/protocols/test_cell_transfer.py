"""Response of leaky cells to currents against the theory of the diffusion limit."""

import numpy as np
import pytest
from preparations import alone, by_window, prepared
from scipy.integrate import quad
from scipy.special import erfcx

from v1builder.protocols.cell_transfer import CellTransfer

TAU, T_REF, THRESHOLD, DT = 10.0, 2.0, 20.0, 0.1  # ms, ms, mV above rest and reset, ms
G = 10.0  # nS
MEAN, SPREAD = 17.0, 5.0  # mV of the membrane without threshold
#: A walk in steps misses crossings as if the threshold were higher by this times the width of a step
#: (-zeta(1/2) / sqrt(2 pi), Chernoff 1965).
MISSED = 0.5826


def siegert(mean):
    """Hz, rate of a leaky cell in white noise (Siegert 1951), for a membrane watched every DT."""
    step = SPREAD * np.sqrt(2 * DT / TAU)
    width = SPREAD * np.sqrt(2)
    low, high = (0.0 - mean) / width, (THRESHOLD + MISSED * step - mean) / width
    area, _ = quad(lambda u: erfcx(-u), low, high)
    return 1000 / (T_REF + TAU * np.sqrt(np.pi) * area)


def test_slow_currents_follow_the_slope_of_the_f_I_curve(monkeypatch):
    """The random current is all the noise there is, and white: held for a step."""
    monkeypatch.setattr("v1builder.protocols.cell_transfer._HOLD_MS", DT)
    network = alone(600, bias=MEAN * G)
    # A current that is drawn anew every step moves the membrane by g SPREAD sqrt(2 tau / dt).
    amplitude = SPREAD * np.sqrt(2 * TAU / DT) / THRESHOLD
    protocol = CellTransfer((2.0, 3.0, 4.0), n_rows=2, n_seconds=2, amplitude=amplitude)
    rows = list(protocol.run(prepared(network, dt=DT, levels=())))
    gains = [row.value for row in by_window(rows, "transfer_gain").values()]
    slope = (siegert(MEAN + 0.01) - siegert(MEAN - 0.01)) / 0.02 / G
    assert np.mean(gains) == pytest.approx(slope, rel=0.12)
    phases = [row.value for row in by_window(rows, "transfer_phase").values()]
    assert np.abs(phases).max() < 25


def test_after_spike_currents_lower_the_gain_of_slow_currents():
    """Adaptation with a corner of 5 Hz: 20 Hz pass, 1 Hz does not."""
    k = 2 * np.pi * 5 / 1000
    plain, adapting = alone(60, bias=230.0), alone(60, bias=330.0, asc_amps=-120.0, asc_decay=k)
    protocol = CellTransfer((2.0, 20.0), n_rows=4, n_seconds=6)

    def ratio(network):
        rows = by_window(protocol.run(prepared(network, levels=())), "transfer_gain")
        return rows["2 Hz", "network"].value / rows["20 Hz", "network"].value

    assert ratio(adapting) < 0.7 * ratio(plain)


def test_silent_cells_have_no_response():
    rows = CellTransfer((5.0,), n_rows=2, n_seconds=2).run(prepared(alone(5), levels=()))
    for row in rows:
        assert np.isnan(row.value)
        assert row.reason == "no response beyond noise in 4 s"
