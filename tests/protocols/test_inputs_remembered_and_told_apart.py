"""Memory of a current by the cells it enters; noise of copies; rheobase of any cell."""

import numpy as np
import pytest
import torch
from preparations import alone, by_window, foreign, prepared

from v1builder.protocols.memory_capacity import MemoryCapacity
from v1builder.protocols.probes import FilteredSpikes, rheobase
from v1builder.protocols.separation import Separation, jittered


def test_rheobase_is_conductance_times_distance():
    model = prepared(alone(3, g=12.0, V_th=-45.0)).model
    np.testing.assert_allclose(rheobase(model), 12.0 * 25.0, rtol=1e-4)


def test_cells_remember_the_current_that_enters_them_and_others_do_not():
    names = np.repeat(["driven", "other"], 40)
    network = alone(80, names=names)
    network.bias_current[:] = np.random.default_rng(0).uniform(205, 300, 80)
    protocol = MemoryCapacity(
        n_sequences=2, n_values=500, max_delay=10, amplitude=1.0, into={"pop_name": ["driven"]}
    )
    rows = by_window(protocol.run(prepared(network)), "memory_capacity", "population")
    driven, other = (rows["random current", name] for name in ("driven", "other"))
    assert driven.value > 0.4
    assert abs(other.value) < 0.1
    assert (driven.n, other.n) == (40, 40)


def test_few_cells_have_a_reason():
    rows = by_window(Separation(n_inputs=3).run(prepared(foreign())), "separation", "population")
    small = rows["gray screen", "PyrB"]  # 4 cells
    assert np.isnan(small.value)
    assert small.reason == "fewer than 10 cells"


def test_copies_without_noise_are_one_and_different_inputs_many():
    protocol = Separation(n_inputs=12, jitter_ms=0.0)
    rows = list(protocol.run(prepared(foreign())))
    ranks = {
        name: next(iter(by_window(rows, name).values())).value
        for name in ("separation_rank", "generalisation_rank", "separation")
    }
    assert ranks["generalisation_rank"] == 1
    assert ranks["separation_rank"] > 6
    assert ranks["separation"] == ranks["separation_rank"] - 1


def test_jitter_moves_spikes_and_loses_none():
    spikes = torch.zeros(1, 400, 5, dtype=torch.uint8)
    spikes[0, 200, :3] = torch.tensor([1, 2, 0], dtype=torch.uint8)
    copies = jittered(spikes, 500, 5.0, torch.Generator().manual_seed(0))
    assert copies.shape == (500, 400, 5)
    assert (copies.sum(dim=1) == spikes.sum(dim=1)).all()
    step = copies[:, :, 0].nonzero()[:, 1].double()
    assert step.mean().item() == pytest.approx(200, abs=1)
    assert step.std().item() == pytest.approx(5, rel=0.1)


def test_filtered_spikes_decay_across_segments():
    filtered = FilteredSpikes(20.0, 0.5)
    spikes = torch.zeros(1, 60, 1, dtype=torch.float64)
    spikes[0, [3, 50]] = 1
    for part in spikes.split(25, dim=1):
        filtered.see(type("Segment", (), {"spikes": part}))
    expected = np.exp(-(59 - np.array([3, 50])) * 0.5 / 20).sum()
    assert filtered.value.item() == pytest.approx(expected)
