"""Recurrent synapses: which they are, and ablations of their delays and kinetics.

"Recurrent" edges are those whose sources are cortical cells: the simulated ones, and the virtual cells of the
population "boundary" that stand for the cortex around them. Other inputs stay as they are, except that the
kinetics of a port are those of all edges that share it. A population pair is (source population, target
population), by `pop_name`.
"""

import dataclasses
from collections.abc import Iterable
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.experiments.ablations.base import Ablation, Details, Draw
from v1builder.load.groups import group_cells
from v1builder.load.network import EdgePopulation, GroupedValues, Network
from v1builder.model.edges import delay_in_steps
from v1builder.schema.errors import NetworkError
from v1builder.schema.names import BOUNDARY

Array = NDArray[np.float64]
Values = dict[str, Array]

#: Population of the cells that an ablation of some cells leaves alone, while it runs (`restricted`).
OTHERS: Final = "other cells"
#: ms, for which `delay_uniform` records how many different delays there were.
_STEPS_MS: Final = (1.0, 0.5)


def recurrent(network: Network) -> dict[str, EdgePopulation]:
    """The edges from cortical cells to simulated cells: the one rule of what is recurrent.

    Raises:
        NetworkError: there are none.
    """
    cortical = (network.simulated, BOUNDARY, OTHERS)
    edges = {
        name: edges
        for name, edges in network.edges.items()
        if edges.source in cortical and edges.target == network.simulated
    }
    if not edges:
        raise NetworkError.of(
            "the network has no recurrent edges to ablate",
            f"edges from {network.simulated} or {BOUNDARY} to {network.simulated}",
            ", ".join(network.edges) or "no edges",
            "choose an ablation of cells",
        )
    return edges


def groups_of_ends(network: Network, level: str) -> dict[str, NDArray[np.int64]]:
    """Group of every cell of the populations that recurrent edges come from or go to.

    Returns:
        By node population, [cells]; groups of one name have one number, wherever they are.
    """
    names = {network.simulated, *(edges.source for edges in recurrent(network).values())}
    groups = {name: group_cells(network.nodes[name], level) for name in sorted(names)}
    labels = sorted({label for found in groups.values() for label in found.labels})
    return {
        name: np.searchsorted(labels, found.labels)[found.of_cell] for name, found in groups.items()
    }


def pairs(network: Network, level: str = "population") -> dict[str, NDArray[np.int64]]:
    """By recurrent edge population: [e] number of each edge's (source group, target group)."""
    groups = groups_of_ends(network, level)
    n = 1 + max(int(group.max(initial=0)) for group in groups.values())
    target = groups[network.simulated]
    return {
        name: groups[edges.source][edges.source_index] * n + target[edges.target_index]
        for name, edges in recurrent(network).items()
    }


def joined(parts: Iterable[NDArray]) -> NDArray:
    """One array of the edges of several populations, one population after the other."""
    return np.concatenate(list(parts))


def separated(edges: dict[str, EdgePopulation], values: NDArray) -> dict[str, NDArray]:
    """By edge population what `joined` put together."""
    stops = np.cumsum([len(population) for population in edges.values()])
    return dict(zip(edges, np.split(values, stops[:-1]), strict=True))


def with_edges(network: Network, changed: dict[str, EdgePopulation]) -> Network:
    """The network with some edge populations exchanged."""
    return dataclasses.replace(network, edges=network.edges | changed)


class DelayUniform(Ablation):
    """Every recurrent edge gets the mean delay of all recurrent edges.

    Compare at steps of at most 0.5 ms: the published delays of 0.88 to 2.92 ms are only 1, 2 or 3 steps of
    1 ms. How many different numbers of steps there were is recorded for both.
    """

    word: ClassVar[str] = "delay_uniform"

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Recurrent delays, averaged; records the mean (ms)."""
        del draw
        edges_of = recurrent(network)
        delays = joined(edges.delay for edges in edges_of.values())
        mean = float(delays.mean(dtype=np.float64)) if len(delays) else 0.0
        changed = {
            name: dataclasses.replace(edges, delay=np.full_like(edges.delay, mean))
            for name, edges in edges_of.items()
        }
        distinct = {f"{dt:g}": len(np.unique(delay_in_steps(delays, dt))) for dt in _STEPS_MS}
        details = {"delay_ms": mean, "different_delays_at_dt_ms": distinct}
        return with_edges(network, changed), details


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
        uses = _uses(network, network.receptors.group_of, len(network.receptors.labels))
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
            kinetics = _mean_kinetics(values, uses[sign] / uses[sign].sum())
            for name, value in kinetics.items():
                new[name][:, ports] = value
            details[label] = kinetics
        receptors = dataclasses.replace(network.receptors, values=new)
        return _with_receptors(network, receptors), details


class TauSynPairMean(Ablation):
    """One synaptic kinetics per port and target population, that is per class of source and population.

    Means as in `tau_syn_uniform`, over the edges that reach the port in the population; charges stay.
    Kinetics that were published by pair of classes are so already: then nothing changes, and the record
    says that there were as many kinetics before as after. It matters where they differ between the cell
    models of a population, or were learned. Ports without edges keep the kinetics of the population's first
    cell.
    """

    word: ClassVar[str] = "tau_syn_pair_mean"

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Receptor kinetics and the weights of all edges onto simulated cells; records their number."""
        del draw
        values, row_of = network.receptors.values, network.receptors.group_of
        groups = group_cells(network.cells, "population")
        n_rows = len(network.receptors.labels)
        # Rows of (population, receptor row), so that a mean over a population's rows can be taken.
        uses = _uses(network, groups.of_cell * n_rows + row_of, len(groups) * n_rows).sum(axis=0)
        uses = uses.reshape(len(groups), n_rows, -1)
        first = row_of[np.unique(groups.of_cell, return_index=True)[1]]
        new = {name: array[first].copy() for name, array in values.items()}
        shapes = values["psc_shape"]
        for population in range(len(groups)):
            for port in np.flatnonzero(uses[population].sum(axis=0)):
                count = uses[population, :, port]
                if np.ptp(shapes[count > 0, port]):
                    raise NetworkError.of(
                        "a port has currents of several shapes in one population",
                        f"population {groups.labels[population]}, receptor {port} (index from 0)",
                        fix="give them cell models of populations of their own",
                    )
                of_port = {name: array[:, port] for name, array in values.items()}
                kinetics = _mean_kinetics(of_port, count / count.sum())
                for name, value in kinetics.items():
                    new[name][population, port] = value
                new["psc_shape"][population, port] = shapes[count > 0, port][0]
        receptors = GroupedValues(new, groups.of_cell, groups.labels)
        found = {
            "kinetics_before": _n_kinetics(network.receptors),
            "kinetics_after": _n_kinetics(receptors),
        }
        return _with_receptors(network, receptors), found


def _uses(network: Network, row_of_cell: NDArray[np.integer], n_rows: int) -> Array:
    """[2, n_rows, ports] number of excitatory and inhibitory edges onto each port of the cells of a row."""
    n_ports = network.receptors.values["tau_syn_fast"].shape[1]
    uses = np.zeros((2, n_rows, n_ports))
    for edges in network.edges.values():
        if edges.target == network.simulated:
            negative = (edges.weight < 0).astype(np.int64)
            row = row_of_cell[edges.target_index]
            np.add.at(uses, (negative, row, edges.receptor), edges.weight != 0)
    return uses


def _mean_kinetics(values: Values, share: Array) -> dict[str, float]:
    """Geometric means of the time constants, arithmetic mean of amp_slow; `share` sums to 1."""
    return {
        name: float(np.exp((share * np.log(values[name])).sum()))
        for name in ("tau_syn_fast", "tau_syn_slow")
    } | {"amp_slow": float((share * values["amp_slow"]).sum())}


def _n_kinetics(receptors: GroupedValues) -> int:
    """Number of different kinetics of a cell's ports."""
    used = np.unique(receptors.group_of)
    columns = [receptors.values[key][used] for key in ("tau_syn_fast", "tau_syn_slow", "amp_slow")]
    return len(np.unique(np.stack(columns, axis=-1).reshape(-1, 3), axis=0))


def _with_receptors(network: Network, receptors: GroupedValues) -> Network:
    """The network with other kinetics and the weights that keep every charge."""
    before = _charge(network.receptors.values)[network.receptors.group_of]
    factor = before / _charge(receptors.values)[receptors.group_of]
    changed = {
        name: dataclasses.replace(
            edges, weight=edges.weight * factor[edges.target_index, edges.receptor]
        )
        for name, edges in network.edges.items()
        if edges.target == network.simulated
    }
    return with_edges(dataclasses.replace(network, receptors=receptors), changed)


def _charge(values: Values) -> Array:
    """[n_groups, n_receptors] charge of a unit synaptic current, divided by e (ms)."""
    return values["tau_syn_fast"] + values["amp_slow"] * values["tau_syn_slow"]
