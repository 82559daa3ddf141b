"""The gray warm-up before a trial: carried into it whole, and nothing is learned from it."""

import dataclasses

import numpy as np
import pytest
import torch

from v1builder.load import load_network
from v1builder.load.network import GroupedValues
from v1builder.model import V1Network, observation
from v1builder.readout import Asked
from v1builder.readout.pools import PoolsSettings
from v1builder.schema.parameters import PLASTICITY_UNITS
from v1builder.train import Classifier, stream


@pytest.fixture(scope="module")
def plastic(small_column):
    """The smallest column with after-spike currents and with short-term plasticity on half its edges."""
    network = load_network(small_column)
    rows = {"U": [0.2, 0.6], "tau_rec": [130.0, 400.0], "tau_fac": [500.0, 20.0],
            "u": [0.2, 0.6], "x": [1.0, 1.0]}  # fmt: skip
    assert rows.keys() == PLASTICITY_UNITS.keys()
    edges = network.edges["v1_to_v1"]
    of_edge = np.random.default_rng(0).integers(-1, 2, len(edges)).astype(np.int16)
    table = GroupedValues({k: np.array(v) for k, v in rows.items()}, of_edge, ("a", "b"))
    plastic = dataclasses.replace(edges, plasticity=table)
    assert (network.membrane.values["asc_amps"] != 0).any()
    return dataclasses.replace(network, edges=network.edges | {"v1_to_v1": plastic})


def some_inputs(model, n_steps, batch=3):
    generator = stream(1, "inputs")
    rates = {"lgn": 0.02, "bkg": 0.3}
    return {
        name: (torch.rand(batch, n_steps, size, generator=generator) < rates[name]).to(torch.uint8)
        for name, size in model.input_sizes.items()
    }


def cut(inputs, start, stop):
    return {name: spikes[:, start:stop] for name, spikes in inputs.items()}


def pools(network, window, n_steps):
    return PoolsSettings(pool_size=10).make(network, Asked(2, [window], n_steps, 1.0), 0)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("neuron", ["glif", "glifr"])
def test_a_trial_after_a_warm_up_is_the_second_part_of_one_rollout(
    plastic, backend, neuron, monkeypatch
):
    model = V1Network(plastic, backend=backend, neuron=neuron, dtype=torch.float64)
    inputs = some_inputs(model, 160)
    monkeypatch.setattr(observation, "SEGMENT_STEPS", 37)  # uneven segments
    with torch.no_grad():
        whole = model(inputs)
        settled = model.settled(cut(inputs, 0, 100))
        trial = model(cut(inputs, 100, 160), state=settled)
        rested = model(cut(inputs, 100, 160))
        first = model(cut(inputs, 0, 100))
    assert torch.equal(trial.spikes, whole.spikes[:, 100:])
    assert whole.spikes[:, 100:].sum() > 0
    assert not torch.equal(trial.spikes, rested.spikes)
    for name, value in vars(first.state).items():
        assert torch.equal(getattr(settled, name), value), name
    for name in ("u", "x", "asc", "U", "pending"):  # what a start at rest would have lost
        assert not torch.equal(getattr(settled, name), getattr(model.initial_state(3), name)), name


def test_no_gradient_comes_from_the_warm_up(plastic):
    model = V1Network(plastic, dtype=torch.float64)
    inputs = some_inputs(model, 120)
    trial = cut(inputs, 80, 120)
    readout = pools(plastic, slice(0, 40), 40)
    classifier = Classifier(model, readout.double())
    state = model.settled(cut(inputs, 0, 80))
    assert not any(value.requires_grad for value in vars(state).values())

    def gradients(logits):
        loss = torch.nn.functional.cross_entropy(logits[:, 0], torch.tensor([0, 1, 0]))
        parameters = [p for p in classifier.parameters() if p.requires_grad]
        return torch.autograd.grad(loss, parameters)

    found = gradients(classifier(trial, cut(inputs, 0, 80))[0])
    expected = gradients(readout(model(trial, state=state).spikes))
    through = gradients(readout(model(inputs).spikes[:, 80:]))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert any(not torch.allclose(a, b) for a, b in zip(found, through, strict=True))


def test_without_a_warm_up_trials_start_at_rest(plastic):
    model = V1Network(plastic)
    trial = some_inputs(model, 60)
    classifier = Classifier(model, pools(plastic, slice(20, 60), 60))
    with torch.no_grad():
        logits, rollout = classifier(trial)
        spikes = rollout.spikes
        assert torch.equal(spikes, model(trial, state=model.initial_state(3)).spikes)
        assert torch.equal(logits, classifier.readout(spikes))
