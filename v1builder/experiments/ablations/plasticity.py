"""Ablations of short-term plasticity of recurrent synapses.

The efficacy of a synapse is its mean release over the release from rest, u x / U, over the spikes of the
trial. A network with plasticity removed or exchanged is another network at its working point unless that
efficacy is kept, so all but `no_stp` keep it: the weights of every synapse model are multiplied by the
ratio of its efficacies in the spike trains that its sources had in the network that is ablated, warm-up
included (`SpikeHistory.efficacy`). Formulas for a steady rate do not do: at 10 Hz a facilitating synapse
has an efficacy of 2.65 by the formula, but 1.46 over the first 200 ms.

A synapse model whose sources never spiked in the trials is taken to be at rest, efficacy 1, which is the
limit for rare spikes; the record lists it under "unmeasured".
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.experiments.ablations.base import Ablation, Details, Draw
from v1builder.experiments.ablations.synapses import pairs, recurrent, with_edges
from v1builder.experiments.history import SpikeHistory, source_weights
from v1builder.experiments.trains import SynapseDynamics, onset_release
from v1builder.load.network import EdgePopulation, GroupedValues, Network
from v1builder.schema.errors import ConfigError, NetworkError, unknown_name

Array = NDArray[np.float64]
Values = dict[str, Array]

PARAMETERS: Final = SynapseDynamics._fields
POOLINGS: Final = ("global", "class_pair")


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


def _spread(table: GroupedValues, of_model: Array) -> Array:
    """[e] what belongs to the synapse model of every edge; 1 where it is static."""
    return np.append(of_model, 1.0)[table.group_of]


def _efficacy(
    activity: SpikeHistory, edges: EdgePopulation, values: Values | None = None
) -> tuple[Array, Details]:
    """[models] efficacy, 1 where nothing was measured, and the record of both."""
    table = edges.plasticity
    assert table is not None
    found = activity.efficacy(edges, values)
    used = np.bincount(table.group_of[table.group_of >= 0], minlength=len(found)) > 0
    measured = np.isfinite(found)
    names = np.array(table.labels)
    record = dict(zip(names[measured].tolist(), found[measured].tolist(), strict=True))
    return np.where(measured, found, 1.0), {
        "efficacy": record,
        "unmeasured": names[used & ~measured].tolist(),
    }


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


class _Measured(Ablation):
    """An ablation that keeps the efficacy of every synapse model."""

    @property
    def needs_activity(self) -> bool:
        """True: the efficacy is measured."""
        return True


class NoSTPMatched(_Measured):
    """Static synapses with the weight that they have on average over the trial.

    What is left out is only that efficacy changes in time; the main control of `no_stp`.
    """

    word: ClassVar[str] = "no_stp_matched"

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Recurrent edges without plasticity; records the efficacies."""
        changed, details = {}, {}
        for name, (edges, table) in _plastic(network).items():
            efficacy, details[name] = _efficacy(draw.measured, edges)
            weight = edges.weight * _spread(table, efficacy)
            changed[name] = dataclasses.replace(edges, weight=weight, plasticity=None)
        return with_edges(network, changed), details


class STPFreeze(_Measured):
    """Synapses whose state is held as it is at the onset of the trial, after the warm-up.

    A static synapse of every source gets what its next spike would release then (mean over trials), so that
    sources which the warm-up depressed or facilitated differently keep that difference. All weights of a
    synapse model are then multiplied by one factor that keeps its efficacy over the trial.
    """

    word: ClassVar[str] = "stp_freeze"

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Recurrent edges without plasticity; records the efficacies."""
        activity = draw.measured
        changed, details = {}, {}
        for name, (edges, table) in _plastic(network).items():
            trains = activity.trains_of(edges)
            efficacy, details[name] = _efficacy(activity, edges)
            factor = np.ones(len(edges))
            for row, weight in source_weights(edges, trains.n_units).items():
                dynamics = SynapseDynamics(*(float(table.values[key][row]) for key in PARAMETERS))
                held = onset_release(trains, dynamics, activity.dt)
                share = weight * trains.count
                mean = share @ held / share.sum() if share.any() else 1.0
                own = table.group_of == row
                factor[own] = held[edges.source_index[own]] * efficacy[row] / mean
            weight = edges.weight * factor
            changed[name] = dataclasses.replace(edges, weight=weight, plasticity=None)
        return with_edges(network, changed), details


class _Exchanged(_Measured):
    """Other parameters for every synapse model; its efficacy stays."""

    def exchange(
        self, network: Network, plastic: dict[str, tuple[EdgePopulation, GroupedValues]], draw: Draw
    ) -> Iterator[tuple[str, EdgePopulation, Values]]:
        """By edge population: the edges, whose table may have more rows than before, and new parameters."""
        raise NotImplementedError

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Recurrent edges with other plasticity and rescaled weights; records the new parameters."""
        changed, details = {}, {}
        for name, edges, new in self.exchange(network, _plastic(network), draw):
            table = edges.plasticity
            assert table is not None
            before, details[name] = _efficacy(draw.measured, edges)
            after, _ = _efficacy(draw.measured, edges, new)
            at_rest = {**new, "u": new["U"].copy(), "x": np.ones_like(new["U"])}
            changed[name] = dataclasses.replace(
                edges,
                weight=edges.weight * _spread(table, before / after),
                plasticity=dataclasses.replace(table, values={**table.values, **at_rest}),
            )
            details[name]["parameters"] = {
                label: {key: float(new[key][row]) for key in PARAMETERS}
                for row, label in enumerate(table.labels)
            }
        return with_edges(network, changed), details


@dataclasses.dataclass(frozen=True)
class STPMean(_Exchanged):
    """One (U, tau_rec, tau_fac) for the synapses of a pool: their means, every edge counting once.

    Pools are "global", all recurrent synapses, or "class_pair", those of one (class of source, class of
    target). tau_rec is averaged as a logarithm; U, and tau_fac, which may be 0, linearly. A network whose
    synapse models are already one per pair of classes is hardly changed by the second.
    """

    word: ClassVar[str] = "stp_mean"

    pooling: str

    def __post_init__(self):
        """Raise ConfigError, naming the nearest pooling, unless it is known."""
        if self.pooling not in POOLINGS:
            where = f"ablation {self.name}"
            raise ConfigError([unknown_name("pooling", self.pooling, POOLINGS, where)])

    def exchange(
        self, network: Network, plastic: dict[str, tuple[EdgePopulation, GroupedValues]], draw: Draw
    ) -> Iterator[tuple[str, EdgePopulation, Values]]:
        """The means of the pools, for every synapse model and pool."""
        del draw
        level = "global" if self.pooling == "global" else "class"
        pool_of = {name: pair for name, pair in pairs(network, level).items() if name in plastic}
        n_pools = 1 + max(int(pair.max(initial=0)) for pair in pool_of.values())
        count, sums = np.zeros(n_pools), {key: np.zeros(n_pools) for key in PARAMETERS}
        for name, (_, table) in plastic.items():
            own = table.group_of >= 0
            pool, row = pool_of[name][own], table.group_of[own]
            count += np.bincount(pool, minlength=n_pools)
            for key in PARAMETERS:
                values = np.log(table.values[key]) if key == "tau_rec" else table.values[key]
                sums[key] += np.bincount(pool, values[row], n_pools)
        mean = {key: total / np.maximum(count, 1) for key, total in sums.items()}
        mean["tau_rec"] = np.exp(mean["tau_rec"])
        for name, (edges, _) in plastic.items():
            finer, pool = _by_pool(edges, pool_of[name])
            yield name, finer, {key: values[pool] for key, values in mean.items()}


def _by_pool(
    edges: EdgePopulation, pool: NDArray[np.int64]
) -> tuple[EdgePopulation, NDArray[np.int64]]:
    """Edges whose synapse models are one for each model and pool that occur together.

    Returns:
        The edges, and [models] the pool of each.
    """
    table = edges.plasticity
    assert table is not None
    own = np.flatnonzero(table.group_of >= 0)
    n = int(pool.max(initial=0)) + 1
    keys, found = np.unique(
        table.group_of[own].astype(np.int64) * n + pool[own], return_inverse=True
    )
    model, pool_of = np.divmod(keys, n)
    first = np.flatnonzero(np.diff(model, prepend=-1))
    number = np.arange(len(model)) - np.repeat(first, np.diff(first, append=len(model)))
    labels = [table.labels[m] + (f"_{k}" if k else "") for m, k in zip(model, number, strict=True)]
    group_of = np.full(len(edges), -1, np.int64)
    group_of[own] = found
    values = {key: column[model] for key, column in table.values.items()}
    finer = GroupedValues(values, group_of, tuple(labels))
    return dataclasses.replace(edges, plasticity=finer), pool_of


class STPShuffle(_Exchanged):
    """The triples (U, tau_rec, tau_fac) permuted among the synapse models that recurrent edges have.

    A synapse model that several edge populations share gets the same triple in all of them.
    """

    word: ClassVar[str] = "stp_shuffle"

    @property
    def is_random(self) -> bool:
        """True: the seed decides which synapse model gets which triple."""
        return True

    def exchange(
        self, network: Network, plastic: dict[str, tuple[EdgePopulation, GroupedValues]], draw: Draw
    ) -> Iterator[tuple[str, EdgePopulation, Values]]:
        """The triples of other synapse models."""
        del network
        triples: dict[str, tuple[float, ...]] = {}
        for _, table in plastic.values():
            for row in np.unique(table.group_of[table.group_of >= 0]):
                triple = tuple(float(table.values[key][row]) for key in PARAMETERS)
                triples.setdefault(table.labels[row], triple)
        labels = sorted(triples)
        order = draw.generator(self.name).permutation(len(labels))
        given = {label: triples[labels[k]] for label, k in zip(labels, order, strict=True)}
        for name, (edges, table) in plastic.items():
            values = {key: table.values[key].copy() for key in PARAMETERS}
            for row, label in enumerate(table.labels):
                if label in given:
                    for key, value in zip(PARAMETERS, given[label], strict=True):
                        values[key][row] = value
            yield name, edges, values
