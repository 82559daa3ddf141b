"""Weights distributed as they were built: the earth mover's distance, by pair of populations.

Training may rearrange the weights of a pair of populations freely as long as their distribution, which was
measured, stays: in one dimension the distance between two samples of equal size is the mean distance of
their order statistics. It is taken relative to the mean |weight| that the pair was built with, and averaged
over pairs, each weighted by the square root of its edges, so that it is "x % of a weight".
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from v1builder.load import group_cells
from v1builder.load.network import Network
from v1builder.objectives.objective import Objective, ObjectiveSettings, Seen, Setting
from v1builder.schema.errors import ConfigError, unknown_name


def sorted_by_pair(weight: Tensor, pair: Tensor) -> Tensor:
    """[e] positions of edges, pair by pair, by weight."""
    by_weight = weight.argsort(stable=True)
    return by_weight[pair[by_weight].argsort(stable=True)]


def distance_by_pair(weight: Tensor, built: Tensor, pair: Tensor, n_pairs: int) -> Tensor:
    """[pair] earth mover's distance, relative to the mean built |weight|; 0 for a pair built with weights 0.

    Args:
        weight: [e] pA, as they are now.
        built: [e] pA, pair by pair, ascending.
        pair: [e] index of every edge's pair.
        n_pairs: how many there are.
    """
    order = sorted_by_pair(weight.detach(), pair)
    moved = (weight[order] - built).abs()
    of = pair[order]
    total = built.new_zeros(n_pairs).index_add(0, of, built.abs())
    return weight.new_zeros(n_pairs).index_add(0, of, moved) / total.clamp(min=1e-30)


class Weights(Objective):
    """Distance of the current weights from the built ones."""

    name = "weights_loss"

    def __init__(self, network: Network, edges: tuple[str, ...]):
        self._parts = []
        for name in edges:
            if name not in network.edges:
                raise ConfigError([unknown_name("edges", name, network.edges, "objective weights")])
            pair, n_pairs = _pairs(network, name)
            weight = torch.tensor(network.edges[name].weight)
            built = weight[sorted_by_pair(weight, pair)]
            share = pair.bincount(minlength=n_pairs).double().sqrt()
            self._parts.append((name, pair, n_pairs, built, share / share.sum()))

    def __call__(self, seen: Seen) -> Tensor:
        """By the number of processes."""
        return self.distance(seen.weights) / seen.processes

    def distance(self, weights: Callable[[str], Tensor]) -> Tensor:
        """The mean over edge populations; `weights` gives [e] pA by name."""
        found = []
        for name, pair, n_pairs, built, share in self._parts:
            weight = weights(name)
            by_pair = distance_by_pair(weight, built.to(weight), pair.to(weight.device), n_pairs)
            found.append((by_pair * share.to(weight)).sum())
        return torch.stack(found).mean()


def _pairs(network: Network, name: str) -> tuple[Tensor, int]:
    """[e] pair of populations of every edge, and their number; sources of other nodes are one population."""
    edges = network.edges[name]
    post = group_cells(network.nodes[edges.target], "population")
    of_post = post.of_cell[edges.target_index]
    source = network.nodes[edges.source]
    of_pre = np.zeros(len(edges), np.int64)
    if "pop_name" in source.attributes:
        of_pre = group_cells(source, "population").of_cell[edges.source_index]
    _, pair = np.unique(of_pre * len(post) + of_post, return_inverse=True)
    return torch.from_numpy(pair.astype(np.int64)), int(pair.max(initial=-1)) + 1


class WeightsSettings(ObjectiveSettings):
    """Weights distributed as they were built, pair by pair of populations.

    Attributes:
        edges: names of edge populations.
    """

    kind: Literal["weights"] = "weights"
    edges: tuple[str, ...] = Field(default=("v1_to_v1",), min_length=1)

    def make(self, setting: Setting) -> Weights:
        """Of a network."""
        return Weights(setting.network, self.edges)

    def moved(self, before: Network, after: Network) -> float:
        """The distance of one network's weights from another's."""
        weights = {name: torch.as_tensor(after.edges[name].weight) for name in self.edges}
        return Weights(before, self.edges).distance(weights.__getitem__).item()
