"""Ablations of short-term plasticity of recurrent synapses.

The efficacy of a synapse at a steady presynaptic rate r, relative to a synapse at rest, is u* x*/U with

    u* = U (1 + tau_fac r) / (1 + U tau_fac r),    x* = 1 / (1 + u* tau_rec r)

(the stationary mean of the model's updates). A network with plasticity removed or exchanged is another
network at its working point unless that efficacy is kept, so all but `no_stp` keep it: the weight of every
edge is multiplied by the ratio of efficacies at the rate that its source has in the network that is
ablated.
"""

import dataclasses
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from v1builder.experiments.ablations.base import Ablation, Details, Draw
from v1builder.experiments.ablations.synapses import recurrent, with_edges
from v1builder.load.network import EdgePopulation, GroupedValues, Network
from v1builder.schema.errors import NetworkError

_MS_PER_S = 1000.0
_PARAMETERS = ("U", "tau_rec", "tau_fac")


def efficacy(
    U: NDArray[np.float64],
    tau_rec: NDArray[np.float64],
    tau_fac: NDArray[np.float64],
    rate: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Mean release at a steady rate over the release from rest.

    Args:
        U: release from rest.
        tau_rec: ms.
        tau_fac: ms.
        rate: of the source, Hz.
    """
    r = rate / _MS_PER_S
    u = U * (1 + tau_fac * r) / (1 + U * tau_fac * r)
    return u / (1 + u * tau_rec * r) / U


def _plastic(network: Network) -> dict[str, tuple[EdgePopulation, GroupedValues]]:
    """Recurrent edge populations with short-term plasticity."""
    found = {
        name: (edges, edges.plasticity)
        for name, edges in recurrent(network).items()
        if edges.plasticity is not None
    }
    if not found:
        raise NetworkError.of(
            "the network has no short-term plasticity to ablate",
            "recurrent edges",
            "static synapses",
            'build it with the recipe [synapses] dynamics = "stp"',
        )
    return found


def _efficacy_of_edges(
    edges: EdgePopulation, table: GroupedValues, rates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[e] efficacy of every edge at its source's rate; 1 where it is static."""
    plastic = table.group_of >= 0
    row = table.group_of[plastic]
    U, tau_rec, tau_fac = (table.values[name][row] for name in _PARAMETERS)
    result = np.ones(len(edges))
    result[plastic] = efficacy(U, tau_rec, tau_fac, rates[edges.source_index[plastic]])
    return result


def _at_rest(table: GroupedValues, values: dict[str, NDArray[np.float64]]) -> GroupedValues:
    """The table with other parameters, starting at rest."""
    u, x = values["U"].copy(), np.ones_like(values["U"])
    return dataclasses.replace(table, values={**values, "u": u, "x": x})


class NoSTP(Ablation):
    """Static synapses with the resting weight: every spike has the effect of the first."""

    word: ClassVar[str] = "no_stp"

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Recurrent edges without plasticity."""
        del draw
        changed = {
            name: dataclasses.replace(edges, plasticity=None)
            for name, (edges, _) in _plastic(network).items()
        }
        return with_edges(network, changed), {}


class NoSTPMatched(Ablation):
    """Static synapses with the weight they have on average at their source's rate.

    What is left out is only that efficacy changes in time; the main control of `no_stp`.
    """

    word: ClassVar[str] = "no_stp_matched"

    @property
    def needs_rates(self) -> bool:
        """True: the mean efficacy depends on the sources' rates."""
        return True

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Recurrent edges without plasticity; records the mean efficacy."""
        assert draw.rates is not None
        changed, means = {}, {}
        for name, (edges, table) in _plastic(network).items():
            factor = _efficacy_of_edges(edges, table, draw.rates)
            weight = edges.weight * factor
            changed[name] = dataclasses.replace(edges, weight=weight, plasticity=None)
            means[name] = float(factor.mean())
        return with_edges(network, changed), {"mean_efficacy": means}


class _Exchanged(Ablation):
    """Other parameters for every synapse model; the mean efficacy of every edge stays."""

    @property
    def needs_rates(self) -> bool:
        """True: the mean efficacy depends on the sources' rates."""
        return True

    def new_values(
        self, edges: EdgePopulation, table: GroupedValues, draw: Draw
    ) -> dict[str, NDArray[np.float64]]:
        """Parameters by name, [models]."""
        raise NotImplementedError

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Recurrent edges with other plasticity and rescaled weights; records the new parameters."""
        assert draw.rates is not None
        changed, details = {}, {}
        for name, (edges, table) in _plastic(network).items():
            other = _at_rest(table, self.new_values(edges, table, draw))
            ratio = _efficacy_of_edges(edges, table, draw.rates) / _efficacy_of_edges(
                edges, other, draw.rates
            )
            changed[name] = dataclasses.replace(
                edges, weight=edges.weight * ratio, plasticity=other
            )
            details[name] = {
                label: {key: float(other.values[key][row]) for key in _PARAMETERS}
                for row, label in enumerate(table.labels)
            }
        return with_edges(network, changed), {"parameters": details}


class STPMean(_Exchanged):
    """One (U, tau_rec, tau_fac) for all synapses: their means, every edge counting once.

    tau_rec is averaged as a logarithm; U, and tau_fac, which may be 0, linearly.
    """

    word: ClassVar[str] = "stp_mean"

    def new_values(
        self, edges: EdgePopulation, table: GroupedValues, draw: Draw
    ) -> dict[str, NDArray[np.float64]]:
        """The same values for every synapse model."""
        del edges, draw
        plastic = table.group_of[table.group_of >= 0]
        share = np.bincount(plastic, minlength=len(table.labels)) / len(plastic)
        means = {
            "U": share @ table.values["U"],
            "tau_rec": np.exp(share @ np.log(table.values["tau_rec"])),
            "tau_fac": share @ table.values["tau_fac"],
        }
        return {name: np.full(len(share), float(value)) for name, value in means.items()}


class STPShuffle(_Exchanged):
    """The triples (U, tau_rec, tau_fac) permuted among the synapse models that the network uses."""

    word: ClassVar[str] = "stp_shuffle"

    @property
    def is_random(self) -> bool:
        """True: the seed decides which synapse model gets which triple."""
        return True

    def new_values(
        self, edges: EdgePopulation, table: GroupedValues, draw: Draw
    ) -> dict[str, NDArray[np.float64]]:
        """The triples of other synapse models."""
        del edges
        used = np.unique(table.group_of[table.group_of >= 0])
        order = np.arange(len(table.labels))
        order[used] = draw.generator(self.name).permutation(used)
        return {name: table.values[name][order] for name in _PARAMETERS}
