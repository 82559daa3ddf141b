"""What every kind of input must do; a new one is tested as soon as `example_nodes` has nodes of its kind."""

import numpy as np
import pytest
import torch
from example_nodes import EXAMPLES

from v1builder.inputs.network import KINDS
from v1builder.stimuli import FullField, Shown

EVERY = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
SPIKING = pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if not kind.injects], ids=lambda kind: kind.__name__
)
N_STEPS = 400
MOVIES = [(), (Shown(FullField(), 100.0, 200.0),), (Shown(FullField(-1.0), 200.0, 300.0),)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def source(kind):
    nodes = EXAMPLES[kind.__name__]
    return kind.of(nodes, np.arange(len(nodes)), dt=1.0, dtype=torch.float32)


@EVERY
def test_it_serves_its_own_nodes_only_and_says_what_it_needs(kind):
    served = [name for name, nodes in EXAMPLES.items() if kind.serves(nodes)]
    assert served == [kind.__name__]
    assert kind.kind
    assert kind.needs


@SPIKING
@pytest.mark.parametrize("dt", [0.5, 2.0])
def test_gray_spikes_have_the_gray_rates_whatever_the_step(kind, dt):
    nodes = EXAMPLES[kind.__name__]
    source = kind.of(nodes, np.arange(len(nodes)), dt=dt, dtype=torch.float32)
    assert (source.n_units, source.dt) == (len(nodes), dt)
    spikes = source.gray(20, 2000, generator())
    assert spikes.shape == (20, 2000, len(nodes))
    assert spikes.dtype == torch.uint8
    rates = source.gray_rates().double()
    expected = rates * 20 * 2000 * dt / 1000
    found = spikes.sum(dim=(0, 1)).double()
    assert ((found - expected).abs() <= 5 * expected.sqrt() + 1e-9).all()


@SPIKING
def test_spikes_are_counts_of_every_trial_and_of_the_seed(source):
    spikes = source.spikes(MOVIES, N_STEPS, generator(1))
    assert spikes.shape == (3, N_STEPS, source.n_units)
    assert spikes.dtype == torch.uint8
    assert torch.equal(spikes, source.spikes(MOVIES, N_STEPS, generator(1)))
    assert spikes.sum() > 0


@EVERY
def test_only_sources_that_see_answer_to_what_is_shown(source):
    white, black = [[movie] * 40 for movie in MOVIES[1:]]
    counts = [source.spikes(movies, N_STEPS, generator(2)) for movies in (white, black)]
    during = [spikes[:, 100:200].sum(dim=(0, 1)).double() for spikes in counts]
    noise = 5 * (during[0] + during[1]).sqrt() + 1e-9
    changed = ((during[0] - during[1]).abs() > noise).any()
    assert bool(changed) == source.sees


@EVERY
def test_units_without_targets_may_be_left_out_and_the_others_stay(kind, source):
    nodes = EXAMPLES[kind.__name__]
    some = kind.of(nodes, np.array([0, len(nodes) - 1]), dt=1.0, dtype=torch.float32)
    assert some.n_units == len(nodes)
    kept = [0, len(nodes) - 1]
    assert torch.equal(some.gray_rates()[kept], source.gray_rates()[kept])
