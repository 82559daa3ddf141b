"""Ablations of recurrent weights: PSPs change; the target's own factors and each cell's totals stay."""

import dataclasses

import numpy as np
import pytest
from handmade import with_boundary

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.ablations.weights import WeightsShuffle
from v1builder.load import load_network
from v1builder.load import psp as load_psp
from v1builder.schema.errors import ConfigError, NetworkError
from v1builder.schema.psp import alpha_psp

RECURRENT = ("v1_to_v1", "boundary_to_v1")
WORDS = ("weights_pair_mean", "weights_shuffle", "perturb(0.4)")


@pytest.fixture
def sized(network):
    """The handmade network with cells of different sizes, and boundary cells."""
    rng = np.random.default_rng(9)
    cells = dataclasses.replace(
        network.cells,
        attributes=network.cells.attributes | {"target_sizes": rng.integers(300, 3000, 24)},
    )
    return with_boundary(dataclasses.replace(network, nodes=network.nodes | {"v1": cells}))


def joined(network, what):
    return np.concatenate([what(network, network.edges[name]) for name in RECURRENT])


def weights(network):
    return joined(network, lambda _, edges: edges.weight)


def targets(network):
    return joined(network, lambda _, edges: edges.target_index)


def pairs(network):
    def names(network, edges):
        source = network.nodes[edges.source].attributes["pop_name"][edges.source_index]
        target = network.cells.attributes["pop_name"][edges.target_index]
        return np.char.add(np.char.add(source, ">"), target)

    return joined(network, names)


def unit_psp(network, edges):
    """[e] mV/pA, the peak of the PSP on a fine grid of time."""
    rows, ports = network.receptors.group_of[edges.target_index], edges.receptor
    fast, slow, amp = (
        network.receptors.values[key][rows, ports]
        for key in ("tau_syn_fast", "tau_syn_slow", "amp_slow")
    )
    C_m, g = (network.membrane.per_cell(key)[edges.target_index] for key in ("C_m", "g"))
    t = np.linspace(0, 100, 4001)[:, None]
    psp = alpha_psp(t, fast, C_m, g) + amp * alpha_psp(t, slow, C_m, g)
    return psp.max(axis=0)


def psps(network, sizes=True):
    """[e] PSP of every recurrent edge times the size of its target."""
    size = network.cells.attributes["target_sizes"].astype(float) if sizes else np.ones(24)
    return joined(network, lambda n, e: e.weight * unit_psp(n, e) * size[e.target_index])


def totals(network):
    target, weight = targets(network), weights(network)
    return np.stack([np.bincount(target, np.where(s * weight > 0, weight, 0), 24) for s in (1, -1)])


@pytest.mark.parametrize("word", WORDS)
def test_every_cell_keeps_its_total_excitation_and_inhibition(sized, word):
    ablated = parse_ablation(word)(sized, seed=1)
    np.testing.assert_allclose(totals(ablated), totals(sized), rtol=1e-12)
    before, after = weights(sized), weights(ablated)
    assert np.array_equal(np.sign(after), np.sign(before))
    assert not np.allclose(after, before, rtol=0.1)
    assert ablated.edges["lgn_to_v1"] is sized.edges["lgn_to_v1"]


def without_scaling(network, ablated, psp, sizes=True):
    """[e] `psp` over the PSPs found, relative to the first edge of the cell and sign."""
    ratio = psp / psps(ablated, sizes)
    key = 2 * targets(network) + (weights(network) < 0)
    return (
        ratio / ratio[np.unique(key, return_index=True)[1]][np.unique(key, return_inverse=True)[1]]
    )


@pytest.mark.parametrize("sizes", [True, False])
def test_pair_mean_gives_every_synapse_the_mean_psp_of_its_pair(sized, sizes):
    """Up to the one factor per cell and sign that keeps its totals; without sizes only 1/A is the cell's."""
    if not sizes:
        del sized.cells.attributes["target_sizes"]
    _, pair = np.unique(pairs(sized), return_inverse=True)
    before = psps(sized, sizes)
    if sizes:  # the mean is of the quantile: sizes count relative to their population
        pop = sized.cells.attributes["pop_name"]
        size = sized.cells.attributes["target_sizes"]
        mean = np.array([size[pop == name].mean() for name in pop])
        before = before / mean[targets(sized)]
    mean = (np.bincount(pair, before) / np.bincount(pair))[pair]
    ablated = parse_ablation("weights_pair_mean")(sized)
    np.testing.assert_allclose(without_scaling(sized, ablated, mean, sizes), 1, rtol=1e-4)
    assert np.ptp(without_scaling(sized, ablated, before, sizes)) > 1


def test_the_shuffle_permutes_psps_inside_pairs(sized):
    """Looked at before the totals are restored, which scales them again."""
    pair = np.unique(pairs(sized), return_inverse=True)[1]
    before = psps(sized)
    after = WeightsShuffle().exchange(before, pair, np.random.default_rng(0))
    assert not np.array_equal(before, after)
    for number in np.unique(pair):
        np.testing.assert_array_equal(
            np.sort(after[pair == number]), np.sort(before[pair == number])
        )
    ablated = parse_ablation("weights_shuffle")(sized, seed=2)
    assert not np.allclose(without_scaling(sized, ablated, before), 1)
    # a permutation inside pairs keeps the means of pairs up to the scaling of totals
    scale = np.bincount(pair, np.abs(psps(ablated))) / np.bincount(pair, np.abs(before))
    assert np.abs(np.log(scale)).max() < 0.7


def test_the_spread_of_psps_in_a_built_column_stays(small_column):
    """Quantiles of the PSPs of the largest pairs after the shuffle, totals kept: within a fifth."""
    network = load_network(small_column)
    edges, size = network.edges["v1_to_v1"], network.cells.attributes["target_sizes"]
    pop = network.cells.attributes["pop_name"]
    name = np.char.add(pop[edges.source_index].astype(str), pop[edges.target_index].astype(str))
    ablated = parse_ablation("weights_shuffle")(network, seed=1)
    before, after = (
        n.edges["v1_to_v1"].weight * load_psp.unit_psp(n).of(edges) * size[edges.target_index]
        for n in (network, ablated)
    )
    names, counts = np.unique(name, return_counts=True)
    for pair in names[np.argsort(counts)[-5:]]:
        quantiles = [np.quantile(np.abs(v[name == pair]), [0.1, 0.5, 0.9]) for v in (before, after)]
        np.testing.assert_allclose(quantiles[1], quantiles[0], rtol=0.2)
        assert np.corrcoef(before[name == pair], after[name == pair])[0, 1] < 0.3
    mean = parse_ablation("weights_pair_mean")(network).edges["v1_to_v1"].weight
    flat = mean * load_psp.unit_psp(network).of(edges) * size[edges.target_index]
    for pair in names[np.argsort(counts)[-5:]]:
        spread = [np.log(np.abs(v[name == pair])).std() for v in (before, flat)]
        # one pair's published spread is smaller than that of its synapse numbers, so it has none
        assert spread[1] < 0.5 * spread[0] or spread[0] < 0.01


@pytest.mark.parametrize("size", [0.05, 0.4])
def test_a_perturbation_has_its_size(sized, size):
    before = weights(sized)
    found = [weights(parse_ablation(f"perturb({size})")(sized, seed=s)) for s in (1, 2)]
    for after in found:
        assert np.linalg.norm(after - before) / np.linalg.norm(before) == pytest.approx(size)
    assert not np.allclose(*found)


def test_a_perturbation_that_is_not_possible_is_said(network, sized):
    with pytest.raises(ConfigError, match="must be positive"):
        parse_ablation("perturb(0)")
    with pytest.raises(ConfigError, match="no change of the weights"):
        parse_ablation("perturb(50)")(sized, seed=1)
    values = network.receptors.values
    broken = dataclasses.replace(
        network,
        receptors=dataclasses.replace(
            network.receptors, values=values | {"tau_syn_fast": np.zeros((4, 3))}
        ),
    )
    with pytest.raises(NetworkError, match="a port has no PSP"):
        parse_ablation("weights_shuffle")(broken, seed=1)
