import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch

from v1builder.load.network import GroupedValues, Network, NodePopulation
from v1builder.readout import Asked
from v1builder.readout.pools import PoolsSettings
from v1builder.schema.errors import ConfigError, NetworkError

N = 600


def network(**changed):
    rng = np.random.default_rng(0)
    populations = ["e23Cux2", "i5Pvalb", "e5IT", "e5ET", "e5NP"]
    attributes = {
        "model_type": np.full(N, "point_neuron"),
        "pop_name": rng.choice(populations, N),
        "x": rng.uniform(-100, 100, N),
        "z": rng.uniform(-100, 100, N),
    } | changed
    attributes = {name: values for name, values in attributes.items() if values is not None}
    ids = np.arange(N, dtype=np.int64)
    cells = NodePopulation("v1", ids, ids, attributes, pd.DataFrame(index=ids))
    empty = GroupedValues({}, ids, ())
    return Network({"v1": cells}, {}, "v1", empty, empty, np.zeros(N))


def readout(cells=None, n_classes=2, windows=(slice(30, 50),), seed=0, cells_=None, **options):
    asked = Asked(n_classes, windows, 60, 1.0)
    settings = PoolsSettings(**({"pool_size": 20, "cells": cells_} | options))
    return settings.make(network() if cells is None else cells, asked, seed)


def test_pools_are_disjoint_cells_of_layer_5_near_the_axis():
    pools = readout(n_classes=3, radius_um=60.0).pools.numpy()
    assert pools.shape == (3, 20)
    assert len(np.unique(pools)) == 60
    attributes = network().cells.attributes
    assert set(attributes["pop_name"][pools.ravel()]) == {"e5IT", "e5ET", "e5NP"}
    assert np.hypot(attributes["x"], attributes["z"])[pools.ravel()].max() <= 60


def test_the_seed_determines_the_pools():
    assert torch.equal(readout(seed=1).pools, readout(seed=1).pools)
    assert not torch.equal(readout(seed=1).pools, readout(seed=2).pools)


def test_logits_are_scaled_mean_counts_in_the_window_plus_bias():
    module = readout()
    spikes = (torch.rand(4, 60, N, generator=torch.Generator().manual_seed(0)) < 0.1).float()
    with torch.no_grad():
        module.bias.copy_(torch.tensor([0.5, -1.0]))
        module.log_scale.fill_(math.log(3.0))
    expected = torch.empty(4, 2)
    for trial in range(4):
        for kind in range(2):
            counts = [spikes[trial, 30:50, cell].sum().item() for cell in module.pools[kind]]
            expected[trial, kind] = 3 * np.mean(counts) + (0.5, -1.0)[kind]
    assert torch.allclose(module(spikes), expected[:, None])


def test_gradient_reaches_the_pools_spikes_in_the_window_and_nothing_else():
    module = readout()
    spikes = torch.rand(2, 60, N, requires_grad=True)
    module(spikes)[:, 0, 1].sum().backward()
    assert spikes.grad is not None
    step, cell = torch.nonzero(spikes.grad[0], as_tuple=True)
    assert set(step.tolist()) == set(range(30, 50))
    assert set(cell.tolist()) == set(module.pools[1].tolist())
    assert module.log_scale.grad is not None
    assert module.bias.grad is not None
    assert module.bias.grad.tolist() == [0.0, 2.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_takes_the_networks_dtype(dtype):
    assert readout()(torch.zeros(1, 60, N, dtype=dtype)).dtype == dtype


def test_every_window_is_answered_by_its_own_spikes():
    spikes = (torch.rand(4, 60, N, generator=torch.Generator().manual_seed(0)) < 0.1).float()
    both = readout(windows=(slice(0, 20), slice(30, 50)))(spikes)
    assert both.shape == (4, 2, 2)
    assert torch.equal(both[:, :1], readout(windows=(slice(0, 20),))(spikes))
    assert torch.equal(both[:, 1:], readout(windows=(slice(30, 50),))(spikes))


def test_too_few_cells_name_the_largest_pool():
    with pytest.raises(ConfigError, match=r"set pool_size to at most \d+") as error:
        readout(pool_size=200, radius_um=30.0)
    largest = int(str(error.value).split("at most ")[1].split(",")[0])
    assert readout(pool_size=largest, radius_um=30.0).pools.shape == (2, largest)
    with pytest.raises(ConfigError):
        readout(pool_size=largest + 1, radius_um=30.0)


@pytest.mark.parametrize("missing", ["x", "z"])
def test_cells_without_a_place_are_refused_or_read_from_everywhere(missing):
    unplaced = network(**{missing: None})
    with pytest.raises(NetworkError, match=f"no {missing}"):
        readout(unplaced)
    everywhere = readout(unplaced, radius_um="all", pool_size=100)
    pools = everywhere.pools.numpy().ravel()
    assert set(unplaced.cells.attributes["pop_name"][pools]) == {"e5IT", "e5ET", "e5NP"}


def test_cells_without_a_population_are_refused():
    with pytest.raises(NetworkError, match="no attribute 'pop_name'"):
        readout(network(pop_name=None))


def test_other_populations_are_named_or_matched():
    def read(*populations):
        pools = readout(populations=populations, radius_um="all").pools.numpy().ravel()
        return set(network().cells.attributes["pop_name"][pools])

    assert read("e23Cux2") == {"e23Cux2"}
    assert read("e5*") == {"e5IT", "e5ET", "e5NP"}
    assert read("i5Pvalb", "e23*") == {"i5Pvalb", "e23Cux2"}


@pytest.mark.parametrize("populations", [("e23Cux",), ("e23Cux2", "e23Cux")])
def test_an_unknown_population_is_refused_with_what_there_is(populations):
    with pytest.raises(ConfigError, match=r"unknown population 'e23Cux'.*\n.*\n.*\n.*did you mean"):
        readout(populations=populations)


def test_the_default_populations_of_a_network_of_others_are_refused_with_what_it_has():
    foreign = network(pop_name=np.full(N, "PyrL5"))
    with pytest.raises(ConfigError, match="choose one of: PyrL5"):
        readout(foreign)


def test_cells_can_be_a_node_set():
    shallow = {"pop_name": ["e23Cux2", "i5Pvalb"], "x": {"$lt": 0}}
    pools = readout(cells_=shallow, radius_um="all").pools.numpy().ravel()
    attributes = network().cells.attributes
    assert set(attributes["pop_name"][pools]) == {"e23Cux2", "i5Pvalb"}
    assert attributes["x"][pools].max() < 0
    named = dataclasses.replace(network(), node_sets={"mine": shallow})
    assert np.array_equal(
        readout(named, cells_="mine", radius_um="all").pools.numpy().ravel(), pools
    )
    with pytest.raises(ConfigError, match="did you mean 'mine'"):
        readout(named, cells_="mien")
    with pytest.raises(ConfigError, match="did you mean 'pop_name'"):
        readout(cells_={"popname": "e5IT"})


def test_values_over_time_are_not_for_pools():
    with pytest.raises(ConfigError, match='kind = "linear"'):
        PoolsSettings().make(network(), Asked(2, [slice(0, 9)], 60, 1.0, per_step=True), 0)
