"""Response of leaky cells to the rates of their inputs against the theory of the diffusion limit."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from preparations import alone, by_window, foreign, prepared
from scipy.integrate import quad
from scipy.special import erfcx

from v1builder.load.network import EdgePopulation, NodePopulation
from v1builder.protocols.input_transfer import InputTransfer
from v1builder.schema.names import PSC_DELTA

TAU, T_REF, THRESHOLD, DT = 10.0, 2.0, 20.0, 0.2  # ms, ms, mV above rest and reset, ms
JUMP, MEAN, SPREAD = 1.0, 17.0, 5.0  # mV of a spike; of the membrane without threshold
DEPTH = 0.3
MISSED = 0.5826  # as in test_cell_transfer


def siegert(times):
    """Hz, rate of a leaky cell (Siegert 1951) whose inputs fire so many times as often."""
    # The modulation itself is noise of the mean: white, held for 2 ms.
    common = (MEAN * times * DEPTH) ** 2 * 2.0 / (2 * TAU)
    mean, spread = MEAN * times, np.sqrt(SPREAD**2 * times + common)
    step = spread * np.sqrt(2 * DT / TAU)
    width = spread * np.sqrt(2)
    low, high = (0.0 - mean) / width, (THRESHOLD + MISSED * step - mean) / width
    area, _ = quad(lambda u: erfcx(-u), low, high)
    return 1000 / (T_REF + TAU * np.sqrt(np.pi) * area)


def driven(n, *, delay=1.0):
    """Leaky cells, each with an excitatory and an inhibitory unit of its own that make V_m jump."""
    network = alone(n)
    both, difference = 2 * SPREAD**2 / (TAU * JUMP**2), MEAN / (TAU * JUMP)  # per ms
    rate = 1000 * np.repeat([(both + difference) / 2, (both - difference) / 2], n)
    kind = pd.DataFrame(index=pd.Index([1], name="node_type_id"))
    attributes = {"model_type": np.full(2 * n, "virtual"), "rate_Hz": rate}
    units = NodePopulation("bkg", np.arange(2 * n), np.ones(2 * n, np.int64), attributes, kind)
    edges = EdgePopulation(
        "bkg_to_v1", "bkg", "v1", np.arange(2 * n, dtype=np.int32),
        np.tile(np.arange(n, dtype=np.int32), 2), np.ones(2 * n, np.int64),
        np.repeat([JUMP, -JUMP], n), np.ones(2 * n, np.int32),
        np.full(2 * n, delay, np.float32), np.zeros(2 * n, np.int16),
        pd.DataFrame(index=pd.Index([1], name="edge_type_id")),
    )  # fmt: skip
    shape = {"psc_shape": np.full((1, 1), float(PSC_DELTA))}
    receptors = dataclasses.replace(network.receptors, values=network.receptors.values | shape)
    return dataclasses.replace(
        network,
        nodes=network.nodes | {"bkg": units},
        edges={"bkg_to_v1": edges},
        receptors=receptors,
    )


def test_slow_changes_of_a_rate_follow_its_slope():
    """White noise whose mean and variance both go with the rate of the inputs."""
    protocol = InputTransfer((2.0, 4.0, 6.0, 8.0), n_rows=4, n_segments=2, segment_ms=1000.0)
    rows = list(protocol.run(prepared(driven(100), dt=DT, levels=())))
    gains = [row.value for row in by_window(rows, "input_gain").values()]
    slope = (siegert(1.001) - siegert(0.999)) / 0.002
    assert protocol.depth == DEPTH
    assert np.mean(gains) == pytest.approx(slope, rel=0.1)
    phases = [row.value for row in by_window(rows, "input_phase").values()]
    assert np.abs(phases).max() < 25


def test_a_delay_turns_the_phase_and_leaves_the_gain():
    """10 ms more are 72 degrees of 20 Hz; rates, draws and cells are the same."""

    def of(delay):
        protocol = InputTransfer((20.0,), n_rows=4, n_segments=2, segment_ms=1000.0)
        rows = list(protocol.run(prepared(driven(60, delay=delay), dt=1.0, levels=())))
        return [by_window(rows, f"input_{name}").popitem()[1].value for name in ("gain", "phase")]

    (gain, phase), (late_gain, late_phase) = of(1.0), of(11.0)
    assert late_gain == pytest.approx(gain, rel=0.15)
    assert (phase - late_phase) % 360 == pytest.approx(72, abs=15)


def test_every_input_that_fires_has_rows_of_its_own():
    network = foreign()
    rows = list(InputTransfer((10.0,), n_segments=1).run(prepared(network)))
    assert {row.window for row in rows} == {"bkg, 10 Hz"}
    assert {row.level for row in rows} == {"network", "population"}


def test_without_inputs_there_is_a_reason():
    for row in InputTransfer((5.0,)).run(prepared(alone(3), levels=())):
        assert np.isnan(row.value)
        assert row.reason == "no input fires on a gray screen"


def test_cells_that_do_not_follow_have_a_reason():
    """Inputs that are too weak to make a cell spike."""
    network = driven(3)
    weak = dataclasses.replace(network.edges["bkg_to_v1"], weight=np.full(6, 1e-6))
    network = dataclasses.replace(network, edges={"bkg_to_v1": weak})
    protocol = InputTransfer((5.0,), n_rows=2, n_segments=1, segment_ms=500.0)
    rows = list(protocol.run(prepared(network, dt=1.0, levels=())))
    assert {row.reason for row in rows} == {"no response beyond noise in 1 s"}
