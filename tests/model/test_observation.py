"""Runs in segments that observers watch: the numbers of one rollout, whatever the segments are."""

import numpy as np
import pytest
import torch
from networks import random_network

from v1builder.model import V1Network
from v1builder.model.observation import (
    Observer,
    SpikeCounts,
    SpikeEvents,
    observe,
    segment_steps,
)
from v1builder.model.recordables import GLIF_RECORDABLES, port_names
from v1builder.schema.errors import ConfigError

STEPS = 90


class Kept(Observer):
    """Keeps all that it sees."""

    def __init__(self, *needs):
        self.needs = needs
        self.segments = []

    def see(self, segment):
        self.segments.append(segment)

    def spikes(self):
        return torch.cat([segment.spikes for segment in self.segments], dim=1)

    def recorded(self, name):
        return torch.cat([segment.recorded[name] for segment in self.segments], dim=1)


@pytest.fixture(scope="module")
def network(glif_models, kinetics):
    return random_network(glif_models, kinetics, n=16, drive=0.6)


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(0)
    return {"lgn": (torch.rand(3, STEPS, 10, generator=generator) < 0.15).to(torch.uint8)}


def pulse(start=0, stop=STEPS):
    """[1, steps, cell] pA, some of the cells, some of the time."""
    current = torch.zeros(1, STEPS, 16, dtype=torch.float64)
    current[0, 20:60, :5] = 200.0
    return current[:, start:stop]


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("as_functions", [False, True])
@pytest.mark.parametrize("steps", [1, 37, 500])
def test_segments_are_parts_of_one_rollout(network, inputs, backend, as_functions, steps):
    model = V1Network(network, backend=backend)
    with torch.no_grad():
        whole = model(inputs, current=pulse(), record_voltage=True)
    assert whole.spikes.sum() > 100
    seen, counts, events = Kept("V_m"), SpikeCounts(11), SpikeEvents()
    given, injected = inputs, pulse()
    if as_functions:
        injected = pulse

        def given(start, stop):
            return {"lgn": inputs["lgn"][:, start:stop]}

    state = observe(model, given, [seen, counts, events], current=injected,
                    n_steps=STEPS, steps=steps)  # fmt: skip
    lengths = [segment.stop - segment.start for segment in seen.segments]
    assert lengths == [min(steps, STEPS - start) for start in range(0, STEPS, steps)]
    assert torch.equal(seen.spikes(), whole.spikes)
    assert torch.equal(seen.recorded("V_m"), whole.voltage.double() + model.cells.E_L)
    for name, value in vars(whole.state).items():
        assert torch.equal(getattr(state, name), value), name
    np.testing.assert_array_equal(counts.counts, whole.spikes[:, 11:].sum(dim=1))
    (sample, step, cell), number = events.events()
    dense = np.zeros(whole.spikes.shape)
    dense[sample, step, cell] = number
    np.testing.assert_array_equal(dense, whole.spikes)


def test_a_run_goes_on_where_another_stopped_and_counts_on(network, inputs):
    model = V1Network(network)
    first, second = ({"lgn": inputs["lgn"][:, part]} for part in (slice(0, 40), slice(40, STEPS)))
    events, of_input, whole = SpikeEvents(), SpikeEvents("lgn"), Kept()
    state = observe(model, first, [events, of_input])
    observe(model, second, [events, of_input], state=state, first_step=40)
    observe(model, inputs, [whole])
    for found, dense in ((events, whole.spikes()), (of_input, inputs["lgn"])):
        (sample, step, unit), _ = found.events()
        expected = dense.nonzero().numpy()
        order = np.lexsort((unit, step, sample))
        np.testing.assert_array_equal(np.stack([sample, step, unit], 1)[order], expected)


def test_what_is_recorded_agrees_with_itself(network, inputs):
    """Step by step: the spikes stay, ports add up, and a refractory cell keeps what NEST keeps."""
    model = V1Network(network, dtype=torch.float64, keep_ports=True)
    ports = port_names(10)
    assert model.n_ports == 10
    seen = Kept(*GLIF_RECORDABLES, *ports, "I_syn_by_port")
    observe(model, inputs, [seen], current=pulse, steps=25)
    with torch.no_grad():
        whole = model(inputs, current=pulse(), record_voltage=True)
    assert torch.equal(seen.spikes(), whole.spikes)
    found = {name: seen.recorded(name) for name in seen.needs}
    assert torch.equal(found["V_m"], whole.voltage + model.cells.E_L)
    assert torch.allclose(sum(found[name] for name in ports), found["I_syn"], rtol=1e-12)
    assert torch.equal(found["I"], pulse().expand(3, -1, -1))
    parts = found["threshold_spike"] + found["threshold_voltage"]
    resting = model.cells.E_L + model.cells.V_th()
    assert torch.allclose(found["threshold"], resting + parts)
    # The current that acts in a step is that of the end of the step before.
    after = found["I_syn_by_port"]
    assert after.shape == (3, STEPS, 16, 10)
    silent = torch.ones(3, STEPS - 1, 16, dtype=torch.bool)  # no refractory period in the step
    refractory = int(model.propagators().t_ref_steps.max())
    for back in range(refractory + 1):
        silent[:, back:] &= whole.spikes[:, : STEPS - 1 - back] == 0
    assert silent.sum() > 100
    for port, name in enumerate(ports):
        assert torch.equal(found[name][:, 1:][silent], after[:, :-1, :, port][silent])
    held = whole.spikes[:, :-1] > 0
    for name in ("I_syn", "ASCurrents_sum", *ports):
        assert torch.equal(found[name][:, 1:][held], found[name][:, :-1][held])


def test_ports_of_equal_kinetics_are_merged_unless_they_are_kept(network):
    assert V1Network(network).n_ports < 10
    assert V1Network(network, keep_ports=True).n_ports == 10


def test_what_cannot_be_run_is_said(network, inputs):
    model = V1Network(network)
    with pytest.raises(ConfigError, match="the number of steps is not known"):
        observe(model, lambda start, stop: {})
    with pytest.raises(ConfigError, match="input 'lgn' is missing"):
        observe(model, {}, n_steps=3)
    with pytest.raises(ConfigError, match="did you mean 'I_syn'"):
        observe(model, inputs, [Kept("I_sin")])


def test_a_segment_is_shorter_where_its_spikes_would_fill_the_memory():
    assert segment_steps(1, 1000) == 250
    assert segment_steps(1, 1000, longest_delay=2000) == 16_000
    assert segment_steps(16, 100_000) == 10
    assert segment_steps(1, 10**9) == 1


def test_currents_of_many_ports_make_a_segment_shorter(network, inputs, monkeypatch):
    """Memory is that of all that is kept of a segment, not of its spikes alone; no number depends on it."""
    monkeypatch.setattr("v1builder.model.observation._SEGMENT_SPIKES", 3 * 16 * 10 * 7)
    model = V1Network(network, keep_ports=True)
    state = model.initial_state(3)
    of_spikes, of_ports, whole = Kept("V_m"), Kept("I_syn_by_port"), Kept("I_syn_by_port")
    observe(model, inputs, [of_spikes], state=state)
    observe(model, inputs, [of_ports], state=state)
    observe(model, inputs, [whole], state=state, steps=STEPS)
    assert {segment.stop - segment.start for segment in of_spikes.segments[:-1]} == {70}
    assert {segment.stop - segment.start for segment in of_ports.segments[:-1]} == {7}
    assert torch.equal(of_ports.recorded("I_syn_by_port"), whole.recorded("I_syn_by_port"))
