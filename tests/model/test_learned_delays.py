"""Delays that are learned: interpolated between steps, rounded when exported."""

import dataclasses

import numpy as np
import pytest
import torch
from handmade import with_plasticity
from networks import random_network

from v1builder.load import load_network, save_network
from v1builder.model import V1Network
from v1builder.model.edges import delay_in_steps
from v1builder.model.neurons.glif import Glif
from v1builder.schema.errors import ConfigError
from v1builder.train.learned import dispersions

NAME = "v1_to_v1"
DELAY = f"{NAME}.delay"
EACH = {DELAY: "edge"}


@pytest.fixture
def network(glif_models, kinetics):
    return random_network(glif_models, kinetics, n=12)


def spikes_in(steps=60):
    return {"lgn": torch.rand(2, steps, 10, generator=torch.Generator().manual_seed(0)) < 0.1}


def learned(network, *, also=(), **options):
    options = {"dtype": torch.float64, "backend": "reference", "group_by": EACH} | options
    return V1Network(network, trainable=[DELAY, *also], **options)


def move(model, steps):
    """Set every delay to `steps` more than at the start."""
    delays = model.edges[NAME].delays
    with torch.no_grad():
        delays.raw.copy_(torch.atanh(torch.as_tensor(steps) / delays.reach) + 0 * delays.raw)


@pytest.mark.parametrize("backend", ["reference", "fused"])
@pytest.mark.parametrize("plastic", [False, True])
def test_nothing_changes_until_they_are_learned(network, backend, plastic):
    network = with_plasticity(network) if plastic else network
    plain = V1Network(network, dtype=torch.float64, backend=backend)
    model = learned(network, backend=backend, also=[f"{NAME}.weight"])
    expected, found = plain(spikes_in()), model(spikes_in())
    assert torch.equal(found.spikes, expected.spikes)
    assert found.spikes.sum() > 20
    expected.spikes.mean().backward()
    found.spikes.mean().backward()
    torch.testing.assert_close(model.edges[NAME].log_scale.grad, plain.edges[NAME].log_scale.grad)
    assert (model.edges[NAME].delays.raw.grad != 0).any()


@pytest.mark.parametrize("plastic", [False, True])
def test_backends_agree(network, plastic):
    network = with_plasticity(network) if plastic else network
    gradients = {}
    for backend in ("reference", "fused"):
        model = learned(network, backend=backend)
        move(model, 0.3)
        rollout = model(spikes_in())
        rollout.spikes.mean().backward()
        gradients[backend] = model.edges[NAME].delays.raw.grad
    assert gradients["reference"].abs().max() > 0
    torch.testing.assert_close(gradients["fused"], gradients["reference"], rtol=1e-8, atol=1e-14)


def test_whole_delays_are_those_of_a_network_that_has_them(network):
    model = learned(network)
    move(model, 1.0 - 1e-12)
    later = dataclasses.replace(
        network.edges[NAME],
        delay=(delay_in_steps(network.edges[NAME].delay, 1.0) + 1.0).astype("f4"),
    )
    other = dataclasses.replace(network, edges=network.edges | {NAME: later})
    a, b = (
        model(spikes_in()),
        V1Network(other, dtype=torch.float64, backend="reference")(spikes_in()),
    )
    assert torch.equal(a.spikes, b.spikes)
    assert not torch.equal(a.spikes, learned(network)(spikes_in()).spikes)


def test_gradients_are_those_of_finite_differences(network):
    """Of a smooth neuron, between two steps and at a whole one, where both sides count half."""
    for start in (0.0, 0.4):
        model = learned(network, neuron="glifr", sigma_V=5.0)
        move(model, start)
        delays = model.edges[NAME].delays
        weight = torch.linspace(0, 1, 60, dtype=torch.float64)[None, :, None]

        def loss(model=model, weight=weight):
            return (model(spikes_in()).spikes * weight).sum()

        loss().backward()
        gradient = delays.raw.grad.clone()
        chosen = gradient.abs().topk(4).indices
        for edge in chosen:
            h, values = 1e-5, []
            for sign in (1, -1):
                with torch.no_grad():
                    delays.raw[edge] += sign * h
                    values.append(loss())
                    delays.raw[edge] -= sign * h
            expected = (values[0] - values[1]) / (2 * h)
            assert gradient[edge] == pytest.approx(float(expected), rel=1e-4)


def test_a_planted_delay_is_found_and_no_other_is_moved(network):
    """The target is the response of a network whose delays are half a step longer."""
    options = {"neuron": "glifr", "sigma_V": 5.0, "group_by": {DELAY: "edge_type"}}
    target = learned(network, **options)
    move(target, 0.5)
    with torch.no_grad():
        wanted = target(spikes_in()).spikes
    found = {}
    for planted in (True, False):
        model = learned(network, **options)
        same = wanted if planted else model(spikes_in()).spikes.detach()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        for _ in range(60):
            optimizer.zero_grad()
            ((model(spikes_in()).spikes - same) ** 2).mean().backward()
            optimizer.step()
        delays = model.edges[NAME].delays
        found[planted] = (delays() - delays.start).detach().numpy()
    assert np.abs(found[True] - 0.5).max() < 0.05
    assert np.abs(found[False]).max() < 1e-6


def test_delays_stay_in_their_window_and_above_a_step(network):
    model = learned(network, dt=0.5)
    delays = model.edges[NAME].delays
    assert delays.reach == 2  # 1 ms
    move(model, -1.999)
    assert delays().min() == 1
    assert (delays().max() < delays.start.max() - 1.9).item()
    delays().sum().backward()
    assert (delays.raw.grad > 0).all()  # those held at one step can leave again


def test_exported_delays_are_whole_and_the_difference_is_said(network, tmp_path):
    model = learned(network)
    edges = network.edges[NAME]
    move(model, torch.linspace(0, 0.7, len(edges), dtype=torch.float64))
    learned_delay = model.edges[NAME].delays().detach().numpy()
    exported = model.export(network)
    delay = exported.edges[NAME].delay
    steps = delay_in_steps(delay, 1.0)
    np.testing.assert_array_equal(steps, np.floor(learned_delay + 0.5))
    moved = steps != delay_in_steps(edges.delay, 1.0)
    assert 0.2 < moved.mean() < 0.4
    np.testing.assert_array_equal(delay[~moved], edges.delay[~moved])
    record = exported.provenance["learned_delays"][NAME]
    off = np.abs(learned_delay - steps)
    assert record["moved_edges"] == pytest.approx(moved.mean())
    assert record["mean_rounding_ms"] == pytest.approx(off.mean())
    assert record["largest_rounding_ms"] == pytest.approx(off.max())
    assert "learned_delays" not in V1Network(network).export(network).provenance


def test_a_column_is_saved_with_them(small_column, tmp_path):
    network = load_network(small_column)
    model = V1Network(
        network, dt=0.5, trainable=["lgn_to_v1.delay"], group_by={"lgn_to_v1.delay": "edge"}
    )
    edges = model.edges["lgn_to_v1"]
    with torch.no_grad():
        edges.delays.raw.copy_(torch.linspace(-0.6, 0.6, len(edges.delays.raw)))
    exported = model.export(network)
    assert (
        len(np.unique(exported.edges["lgn_to_v1"].delay)) == 3
    )  # 1.7 ms, one and half a step around
    again = load_network(save_network(exported, tmp_path / "net"))
    a, b = exported.edges["lgn_to_v1"], again.edges["lgn_to_v1"]
    np.testing.assert_array_equal(a.delay, b.delay)
    np.testing.assert_array_equal(a.source_index, b.source_index)
    assert again.provenance["learned_delays"] == exported.provenance["learned_delays"]


def test_their_spread_is_measured(small_column):
    network = load_network(small_column)
    edges = network.edges[NAME]
    delay = np.random.default_rng(0).uniform(1, 3, len(edges)).astype("f4")
    network = dataclasses.replace(
        network, edges=network.edges | {NAME: dataclasses.replace(edges, delay=delay)}
    )
    whole, *_ = dispersions(network, [DELAY], Glif)
    assert (whole.measure, whole.window, whole.group) == ("dispersion_delay", NAME, "network")
    assert whole.value == pytest.approx(np.log(delay).std(ddof=1), rel=1e-5)


def test_a_state_dict_holds_them(network):
    model, other = learned(network), learned(network)
    move(model, 0.3)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.edges[NAME].delays(), model.edges[NAME].delays())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trainable": ["v1_to_v1.dealy"]}, "did you mean 'v1_to_v1.delay'"),
        ({"trainable": [DELAY], "group_by": {DELAY: "population"}}, "edge_type"),
    ],
)
def test_what_is_wrong_is_said(network, options, message):
    with pytest.raises(ConfigError, match=message):
        V1Network(network, backend="reference", **options)
