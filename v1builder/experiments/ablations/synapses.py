"""Ablations of recurrent synapses: weights, delays and kinetics.

"Recurrent" edges are those whose source is the simulated population; inputs stay as they are,
except that `tau_syn_uniform` changes the receptors they share. A population pair is (source
population, target population), by `pop_name`.
"""

import dataclasses
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from v1builder.experiments.ablations.base import Ablation, Details, Draw
from v1builder.load.groups import group_cells
from v1builder.load.network import EdgePopulation, GroupedValues, Network
from v1builder.schema.errors import NetworkError


def recurrent(network: Network) -> dict[str, EdgePopulation]:
    """The edges between simulated cells.

    Raises:
        NetworkError: there are none.
    """
    edges = {n: e for n, e in network.edges.items() if e.source == network.simulated}
    if not edges:
        raise NetworkError.of(
            "the network has no recurrent edges to ablate",
            f"edges from {network.simulated} to {network.simulated}",
            ", ".join(network.edges) or "no edges",
            "choose an ablation of cells",
        )
    return edges


def _pair_of(network: Network, edges: EdgePopulation) -> NDArray[np.int64]:
    """[e] number of each edge's (source population, target population)."""
    groups = group_cells(network.cells, "population")
    source, target = groups.of_cell[edges.source_index], groups.of_cell[edges.target_index]
    return source * len(groups) + target


def with_edges(network: Network, changed: dict[str, EdgePopulation]) -> Network:
    """The network with some edge populations exchanged."""
    return dataclasses.replace(network, edges=network.edges | changed)


class WeightsPairMean(Ablation):
    """Every edge gets the mean weight (pA) of its population pair; the total current stays."""

    word: ClassVar[str] = "weights_pair_mean"

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Recurrent weights, averaged."""
        del draw
        changed = {}
        for name, edges in recurrent(network).items():
            pair = _pair_of(network, edges)
            count = np.bincount(pair)
            total = np.bincount(pair, weights=edges.weight)
            mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
            changed[name] = dataclasses.replace(edges, weight=mean[pair])
        return with_edges(network, changed), {}


class WeightsShuffle(Ablation):
    """Permute weights among the edges of each population pair: who is connected to whom stays."""

    word: ClassVar[str] = "weights_shuffle"

    @property
    def is_random(self) -> bool:
        """True: the seed decides which edge gets which weight."""
        return True

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Recurrent weights, permuted."""
        generator = draw.generator(self.name)
        changed = {}
        for name, edges in recurrent(network).items():
            pair = _pair_of(network, edges)
            # Two orders that both list the pairs one after the other, the second random inside
            # each.
            in_order = np.argsort(pair, kind="stable")
            at_random = np.lexsort((generator.random(len(pair)), pair))
            weight = np.empty_like(edges.weight)
            weight[in_order] = edges.weight[at_random]
            changed[name] = dataclasses.replace(edges, weight=weight)
        return with_edges(network, changed), {}


class DelayUniform(Ablation):
    """Every recurrent edge gets the mean delay of all recurrent edges."""

    word: ClassVar[str] = "delay_uniform"

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Recurrent delays, averaged; records the mean (ms)."""
        del draw
        edges_of = recurrent(network)
        delays = np.concatenate([edges.delay for edges in edges_of.values()]).astype(np.float64)
        mean = delays.mean() if len(delays) else 0.0
        changed = {
            name: dataclasses.replace(edges, delay=np.full_like(edges.delay, mean))
            for name, edges in edges_of.items()
        }
        return with_edges(network, changed), {"delay_ms": float(mean)}


class TauSynUniform(Ablation):
    """One synaptic kinetics for all excitatory and one for all inhibitory synapses.

    tau_syn_fast and tau_syn_slow become their geometric means, amp_slow its arithmetic mean, over
    all edges of the sign (inputs too: they share the receptors). A double-alpha synapse of weight w
    carries the charge e w (tau_fast + amp_slow tau_slow); each edge's weight is rescaled so that
    its charge stays. Receptors without edges keep their kinetics.
    """

    word: ClassVar[str] = "tau_syn_uniform"

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Receptor kinetics and the weights of all edges onto simulated cells."""
        del draw
        values = network.receptors.values
        onto = {n: e for n, e in network.edges.items() if e.target == network.simulated}
        rows = {name: network.receptors.group_of[e.target_index] for name, e in onto.items()}
        uses = np.zeros(
            (2, *values["tau_syn_fast"].shape)
        )  # [excitatory/inhibitory, row, receptor]
        for name, edges in onto.items():
            negative = (edges.weight < 0).astype(np.int64)
            np.add.at(uses, (negative, rows[name], edges.receptor), edges.weight != 0)
        by_sign = uses.sum(axis=1)
        mixed = np.flatnonzero((by_sign > 0).all(axis=0))
        if len(mixed):
            raise NetworkError.of(
                "a receptor has both excitatory and inhibitory edges",
                f"receptor {mixed[0]} (index from 0)",
                f"{by_sign[0, mixed[0]]:g} and {by_sign[1, mixed[0]]:g} edges",
                "give the two signs receptors of their own",
            )
        new = {name: array.copy() for name, array in values.items()}
        details: Details = {}
        for sign, label in enumerate(("excitatory", "inhibitory")):
            ports = by_sign[sign] > 0
            if not ports.any():
                continue
            share = uses[sign] / uses[sign].sum()
            kinetics = {
                name: float(np.exp((share * np.log(values[name])).sum()))
                for name in ("tau_syn_fast", "tau_syn_slow")
            } | {"amp_slow": float((share * values["amp_slow"]).sum())}
            for name, value in kinetics.items():
                new[name][:, ports] = value
            details[label] = kinetics
        factor = _charge(values) / _charge(new)
        changed = {
            name: dataclasses.replace(e, weight=e.weight * factor[rows[name], e.receptor])
            for name, e in onto.items()
        }
        receptors = GroupedValues(new, network.receptors.group_of, network.receptors.labels)
        return with_edges(dataclasses.replace(network, receptors=receptors), changed), details


def _charge(values: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """[n_groups, n_receptors] charge of a unit synaptic current, divided by e (ms)."""
    return values["tau_syn_fast"] + values["amp_slow"] * values["tau_syn_slow"]
