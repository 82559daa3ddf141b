"""Ablations of recurrent weights, on what the builder draws: PSPs.

A recurrent weight in pA is s / (A z): s is a PSP (mV) from the distribution of the population pair, A the
peak PSP per pA of the target's port (`load.psp`), and z the target's size, `target_sizes` over the mean of
its population (1 in a network without sizes): a larger cell gets more synapses and each of them weighs
less. A and z belong to the target, so what is averaged or permuted is s. Afterwards the weights onto every
cell are rescaled, one factor for its excitatory and one for its inhibitory synapses, so that its totals
(pA) stay.
"""

import dataclasses
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.experiments.ablations.base import Ablation, Details, Draw
from v1builder.experiments.ablations.synapses import (
    joined,
    pairs,
    recurrent,
    separated,
    with_edges,
)
from v1builder.load.groups import group_cells
from v1builder.load.network import EdgePopulation, Network
from v1builder.load.psp import unit_psp
from v1builder.schema.errors import ConfigError

Array = NDArray[np.float64]
Pairs = NDArray[np.int64]

#: Largest spread that `perturb` tries: factors of e^20.
_SPREAD_MAX: Final = 20.0
_BISECTIONS: Final = 60


def relative_size(network: Network) -> Array:
    """[n_cells] z: `target_sizes` over the mean of the cell's population; 1 where the network has none."""
    sizes = network.cells.attributes.get("target_sizes")
    if sizes is None or not (np.isfinite(sizes.astype(np.float64)) & (sizes > 0)).all():
        return np.ones(network.n_cells)
    groups = group_cells(network.cells, "population")
    mean = np.bincount(groups.of_cell, sizes, len(groups)) / groups.sizes
    return sizes / mean[groups.of_cell]


class _Weights(Ablation):
    """Other PSPs for recurrent synapses; A, z and each cell's totals stay."""

    def exchange(self, psp: Array, pair: Pairs, generator: np.random.Generator) -> Array:
        """[e] new PSPs for old ones, mV, of edges with the number of their population pair."""
        raise NotImplementedError

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Recurrent weights."""
        edges = recurrent(network)
        unit, size = unit_psp(network), relative_size(network)
        per_pA = joined(unit.of(e) * size[e.target_index] for e in edges.values())
        weight = joined(e.weight for e in edges.values())
        pair = joined(pairs(network).values())
        new = self.exchange(weight * per_pA, pair, draw.generator(self.name)) / per_pA
        return with_weights(network, edges, weight, new), {}


def with_weights(
    network: Network, edges: dict[str, EdgePopulation], old: Array, new: Array
) -> Network:
    """The network with `new` recurrent weights, scaled so that the totals of `old` stay."""
    kept = keeping_totals(joined(e.target_index for e in edges.values()), old, new)
    return with_edges(
        network,
        {
            name: dataclasses.replace(edges[name], weight=weight)
            for name, weight in separated(edges, kept).items()
        },
    )


def keeping_totals(target: NDArray[np.integer], old: Array, new: Array) -> Array:
    """[e] `new` weights, one factor per target and sign, so that every sum is that of the `old` ones.

    Args:
        target: [e] target of every edge.
        old: [e] pA.
        new: [e] pA, of the same signs.
    """
    key = 2 * target.astype(np.int64) + (old < 0)
    totals, sums = np.bincount(key, old), np.bincount(key, new)
    return new * np.divide(totals, sums, out=np.ones_like(sums), where=sums != 0)[key]


class WeightsPairMean(_Weights):
    """Every synapse of a population pair gets the pair's mean PSP.

    Means are arithmetic, and over the synapses of simulated and boundary cells alike.
    """

    word: ClassVar[str] = "weights_pair_mean"

    def exchange(self, psp: Array, pair: Pairs, generator: np.random.Generator) -> Array:
        """The means."""
        del generator
        count = np.bincount(pair)
        return (np.bincount(pair, psp) / np.maximum(count, 1))[pair]


class WeightsShuffle(_Weights):
    """PSPs permuted among the synapses of each population pair: who is connected to whom stays."""

    word: ClassVar[str] = "weights_shuffle"

    @property
    def is_random(self) -> bool:
        """True: the seed decides which synapse gets which PSP."""
        return True

    def exchange(self, psp: Array, pair: Pairs, generator: np.random.Generator) -> Array:
        """The same PSPs in each pair, in another order."""
        # Two orders that both list the pairs one after the other, the second random inside each.
        in_order = np.argsort(pair, kind="stable")
        at_random = np.lexsort((generator.random(len(pair)), pair))
        new = np.empty_like(psp)
        new[in_order] = psp[at_random]
        return new


@dataclasses.dataclass(frozen=True)
class Perturb(Ablation):
    """A random change of the recurrent weights of a given size: the control for the size of another change.

    Every weight is multiplied by a lognormal number and each cell's totals are kept as in the other
    ablations of weights. The spread is chosen so that |w' - w| / |w| = `size`, with Euclidean norms over all
    recurrent weights.
    """

    word: ClassVar[str] = "perturb"

    size: float

    def __post_init__(self):
        """Raise ConfigError unless the size is positive."""
        if not 0 < self.size < np.inf:
            raise ConfigError.of(
                "the size of a perturbation must be positive",
                f"ablation {self.name}",
                self.size,
                "choose for example 0.3",
            )

    @property
    def is_random(self) -> bool:
        """True: the seed decides which weights grow."""
        return True

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Recurrent weights; records the standard deviation of the logarithm of their factors."""
        edges = recurrent(network)
        weight = joined(e.weight for e in edges.values())
        target = joined(e.target_index for e in edges.values())
        normal = draw.generator(self.word).standard_normal(len(weight))
        norm = np.linalg.norm(weight)

        def change(spread: float) -> float:
            new = keeping_totals(target, weight, weight * np.exp(spread * normal))
            return float(np.linalg.norm(new - weight) / norm) if norm else 0.0

        low, high = 0.0, 1.0
        while change(high) < self.size:
            low, high = high, 2 * high
            if high > _SPREAD_MAX:
                raise ConfigError.of(
                    "no change of the weights that keeps each cell's totals is as large",
                    f"ablation {self.name}",
                    f"{change(low):.3g} at most",
                    "choose a smaller size",
                )
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if change(middle) < self.size else (low, middle)
        new = weight * np.exp(high * normal)
        return with_weights(network, edges, weight, new), {"spread": high}
