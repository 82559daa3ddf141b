"""Currents of a file into the cells: what their nodes say is injected, in every trial."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from example_nodes import EXAMPLES, units
from handmade import make_network

from v1builder.inputs import InjectedCurrent, input_sources
from v1builder.load import load_network, save_network
from v1builder.model import V1Network
from v1builder.model.observation import EverySpike, observe
from v1builder.schema.errors import ConfigError, NetworkError
from v1builder.tasks import DirectionClassification, make_task


@pytest.fixture
def network(tmp_path):
    """Every second cell gets 300 pA from 20 ms on, for 50 ms."""
    network = make_network()
    (tmp_path / "step.csv").write_text("timestamps amplitudes\n20 300\n70 0\n")
    files = np.where(np.arange(network.n_cells) % 2, str(tmp_path / "step.csv"), "")
    attributes = network.cells.attributes | {"current_file": files}
    nodes = {network.simulated: dataclasses.replace(network.cells, attributes=attributes)}
    for name, virtual in network.nodes.items():
        if virtual.is_virtual:
            rates = virtual.attributes | {"rate_Hz": np.full(len(virtual), 20.0)}
            nodes[name] = dataclasses.replace(virtual, attributes=rates)
    return dataclasses.replace(network, nodes=nodes)


@pytest.mark.parametrize("dt", [0.5, 1.0])
def test_the_table_holds_until_its_next_time(dt):
    nodes = EXAMPLES["InjectedCurrent"]
    source = InjectedCurrent.of(nodes, np.arange(3), dt=dt, dtype=torch.float64)
    given = source.spikes([(), ()], round(80 / dt), torch.Generator())
    onset = torch.arange(round(80 / dt)) * dt
    expected = torch.zeros(len(onset), dtype=torch.float64)
    expected[(onset >= 5) & (onset < 25.5)] = 120.0
    expected[(onset >= 25.5) & (onset < 60)] = -30.0
    for trial in given:
        assert torch.equal(trial[:, 0], expected)
        assert torch.equal(trial[:, 2], expected)
        assert not trial[:, 1].any()
    assert not source.gray(2, 5, torch.Generator()).any()


def test_trials_of_a_task_carry_it_into_the_cells_and_their_warm_up_does_not(network):
    task = make_task(DirectionClassification(), input_sources(network, dt=1.0), dt=1.0)
    model = V1Network(network, dt=1.0, trainable=[])
    trials = task.draw(3, "train", torch.Generator().manual_seed(1))
    inputs = task.inputs(trials, torch.Generator().manual_seed(2))
    current = inputs[network.simulated]
    assert current[:, 20:70, 1::2].eq(300).all()
    assert current.sum() == 3 * 50 * 300 * (network.n_cells // 2)
    warm_up = task.warm_up(3, torch.Generator().manual_seed(3))
    assert not warm_up[network.simulated].any()
    state = model.settled(warm_up)
    spikes = {name: given for name, given in inputs.items() if name != network.simulated}
    seen = EverySpike()
    observe(model, inputs, [seen], state=state, steps=17)
    found = seen.spikes
    assert torch.equal(found, model(spikes, current=current, state=state).spikes)
    without = model(spikes, state=state).spikes
    more = (found.sum(1) - without.sum(1)).double().mean(0)
    assert (more[1::2] > 0).all()  # 50 ms above rheobase, strong recurrence
    both = model(inputs, current=torch.full((1, 1, network.n_cells), -50.0), state=state).spikes
    assert torch.equal(both, model(spikes, current=current - 50, state=state).spikes)


def test_the_network_asks_for_a_current_per_cell(network):
    model = V1Network(network, dt=1.0, trainable=[])
    inputs = {name: torch.zeros(1, 5, size) for name, size in model.input_sizes.items()}
    wrong = torch.zeros(1, 5, network.n_cells + 1)
    with pytest.raises(ConfigError, match=f"make it .batch, time, {network.n_cells}"):
        model(inputs | {network.simulated: wrong})


def test_the_table_is_beside_the_types_that_name_it(small_network_folder, tmp_path):
    network = load_network(small_network_folder)
    save_network(network, tmp_path / "net")
    (table,) = (tmp_path / "net" / "network").glob(f"{network.simulated}_node_types.csv")
    types = pd.read_csv(table, sep=" ")
    types.assign(current_file="step.csv").to_csv(table, sep=" ", index=False)
    (table.parent / "step.csv").write_text("timestamps amplitudes\n0 40\n")
    found = load_network(tmp_path / "net")
    every = np.arange(found.n_cells)
    source = InjectedCurrent.of(found.cells, every, dt=1.0, dtype=torch.float32)
    assert source.spikes([()], 3, torch.Generator()).eq(40).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time amplitudes\n0 1\n", "a column is missing.*time, amplitudes"),
        ("timestamps amplitudes\n0 much\n", "not a number"),
        ("timestamps amplitudes\n5 1\n5 2\n", "times do not ascend"),
        ("timestamps amplitudes\n", "no current in the file"),
    ],
)
def test_a_table_that_is_none(tmp_path, text, message):
    (tmp_path / "step.csv").write_text(text)
    nodes = units("v1", 2, current_file=np.full(2, str(tmp_path / "step.csv")))
    with pytest.raises(NetworkError, match=f"(?s){message}"):
        InjectedCurrent.of(nodes, np.arange(2), dt=1.0, dtype=torch.float32)
