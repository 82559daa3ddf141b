"""What a rollout is given: counts of any type mean the same, and what is no count is refused."""

import numpy as np
import pytest
import torch
from networks import random_network

from v1builder.lgn.poisson import poisson_spikes
from v1builder.model import V1Network
from v1builder.schema.errors import ConfigError
from v1builder.simulate.inputs import Train

BACKENDS = ("reference", "auto")


@pytest.fixture
def network(glif_models, kinetics):
    return random_network(glif_models, kinetics, n=16)


def many(count, dtype):
    """One volley of `count` spikes of every unit."""
    spikes = torch.zeros(1, 30, 10, dtype=dtype)
    spikes[:, 5] = count
    return {"lgn": spikes}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.int16, torch.int64, torch.uint8])
def test_integers_of_every_type_count_the_same(network, backend, dtype):
    model = V1Network(network, dtype=torch.float64, backend=backend)
    voltage = model(many(3, dtype), record_voltage=True).voltage
    expected = model(many(3, torch.float64), record_voltage=True).voltage
    torch.testing.assert_close(voltage, expected, rtol=0, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_three_hundred_spikes_are_not_forty_four(network, backend):
    model = V1Network(network, dtype=torch.float64, backend=backend)
    first = 6  # the volley has not arrived: what is on its way is linear in the number of spikes
    pending = [
        model({"lgn": many(count, torch.int64)["lgn"][:, :first]}).state.pending
        for count in (300, 3)
    ]
    assert pending[1].abs().max() > 0
    torch.testing.assert_close(pending[0], 100 * pending[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("spikes", "message"),
    [
        (many(-1, torch.int64), "a number of spikes is negative"),
        (many(1 << 60, torch.int64), "a number of spikes is too large"),
        (many(1, torch.complex64), "spikes are not complex numbers"),
        ({"lgn": np.zeros((1, 5, 10), np.uint8)}, "this is not a tensor"),
        (torch.zeros(1, 5, 10), "inputs are not given by name"),
        ([torch.zeros(1, 5, 10)], "inputs are not given by name"),
    ],
)
def test_what_is_no_count_is_refused(network, spikes, message):
    with pytest.raises(ConfigError, match=message):
        V1Network(network, backend="reference")(spikes)


def test_a_current_is_a_tensor(network):
    model = V1Network(network, backend="reference")
    with pytest.raises(ConfigError, match="current"):
        model(many(1, torch.uint8), current=np.zeros((1, 30, 16)))


def test_busy_poisson_units_keep_their_mean():
    """A unit that stands for a thousand cells of 250 Hz has 250 spikes in a step of 1 ms."""
    generator = torch.Generator().manual_seed(1)
    counts = poisson_spikes(torch.tensor([250_000.0, 10.0]), 1.0, generator, repeat=(400,))
    assert counts[:, 0].double().mean() == pytest.approx(250, abs=4 * (250 / 400) ** 0.5)
    assert counts[:, 0].max() > 255
    assert poisson_spikes(torch.tensor([50.0]), 1.0, generator).dtype == torch.uint8


def test_files_with_many_spikes_in_a_step_are_counted():
    row = np.sort(np.array([0] * 3 + [1] * 300))
    source = np.where(row == 1, 1, 0)
    dense = Train(row, source, 2).dense(0, 3)
    assert dense[0].tolist() == [[3, 0], [0, 300], [0, 0]]
    assert Train(row, source, 2).dense(0, 1).dtype == torch.uint8
    assert Train(row[:0], source[:0], 2).dense(0, 1).sum() == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_truncated_back_propagation_says_how(network, backend):
    model = V1Network(network, backend=backend)

    def loss_of(rollout):
        return rollout.state.U.square().sum()

    first = model(many(3, torch.uint8))
    loss_of(first).backward()
    second = model(many(3, torch.uint8), state=first.state)
    with pytest.raises(ConfigError, match=r"state\.detach\(\)"):
        loss_of(second).backward()
    loss_of(model(many(3, torch.uint8), state=first.state.detach())).backward()


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_go_on_through_a_kept_state(network, backend):
    """Two halves of a rollout have the gradient of the whole, also after a first backward pass."""
    inputs = {"lgn": (torch.rand(1, 40, 10, generator=torch.Generator().manual_seed(1)) < 0.3)}

    def gradient(halves):
        model = V1Network(network, dtype=torch.float64, backend=backend)
        if not halves:
            model(inputs).state.U.sum().backward()
        else:
            first = model({"lgn": inputs["lgn"][:, :20]})
            first.state.U.sum().backward(retain_graph=True)
            model.zero_grad()
            model({"lgn": inputs["lgn"][:, 20:]}, state=first.state).state.U.sum().backward()
        return model.edges["lgn_to_v1"].log_scale.grad

    whole = gradient(halves=False)
    assert whole.abs().max() > 0
    torch.testing.assert_close(gradient(halves=True), whole)
