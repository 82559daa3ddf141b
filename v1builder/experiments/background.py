"""The background tuned anew for cells that did not exist before: the builder's rule for an ablated network.

The builder tunes the background of every cell model until its cells, without recurrence and in front of a
gray screen, fire at the rates of their population. Carrying the ratio of background to rheobase
(`load.carrying`) keeps that only on average: how much background a cell needs is no linear function of
its parameters, so cells of a mean model fire less than the mean of the cells they replace. Here the
background of every new model is multiplied by the factor at which its cells, with the same gray input, fire
as many spikes in all as the cells in the same places did before. They are tuned without recurrence, each
model by itself; and once more, to what by then is missing within the network, since recurrence does not add
to a mean cell the mean of what it adds. A model that does so untuned keeps its background to the last
digit: an ablation that changes nothing changes nothing.

Cells that share a row of parameters and a population are one model. Where most models are a single cell
(cells drawn anew), each is tried in several places of its population: a model is to fire as much as
others there, which its own place and its few spikes say badly. Models that fired too rarely to be tuned
one by one share the factor of the others of their population. Cells that an ablation leaves as they
were are not tuned.

Cells unlike those that were recorded (a dose above 1, cells drawn anew) may fire too much without any
background: 7 % of the cells of a column of 200 um with a dose of 1.5, several times as much as before. Others
excite themselves: their after-spike currents bring much of the charge that the next spike needs, so that they
are silent until something makes them fire at 100 Hz. `overdriven` says which, so that they can be spared
(`experiments.bench`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from v1builder.load.carrying import (
    background_edges,
    background_ratio,
    background_weight,
    with_membrane,
)
from v1builder.load.groups import group_cells
from v1builder.load.network import GroupedValues, Network
from v1builder.model import V1Network
from v1builder.model.observation import SpikeCounts, observe
from v1builder.protocols.parameters import spike_charge

Array = NDArray[np.float64]

#: Largest factor that is tried. A model half way between one that fires 17 Hz with almost no background and
#: the mean of its population needs 6 times the background half way to fire as much (i4Vip).
FACTOR_MAX: Final = 10.0
#: Spikes of a model in the probe below which its rate is not known well enough (30 % at 10 spikes).
SPIKES_MIN: Final = 10
_BISECTIONS: Final = 10  # the last step is .01
#: Spikes over what is wanted from which a model is said to fire too much, and the factor, next to no
#: background, at which it does.
_EXCESS: Final = 1.1
_NEXT_TO_NONE: Final = 0.002
#: Part of the charge of the next spike, C_m (V_th - V_reset), that after-spike currents may bring; cells of
#: the embedded data reach .43.
SELF_EXCITATION_MAX: Final = 0.5
#: Places in which single cells are tried.
_PLACES: Final = 4
#: The second time: largest ratio of factors and of spikes, steps.
_AROUND: Final = 1.5
_BISECTIONS_AROUND: Final = 6


@dataclass(frozen=True)
class Tuned:
    """An ablated network with its background tuned.

    Attributes:
        network: with other weights of the background.
        record: by population the median factor, how many cells could not be brought to their target within
            what is tried.
    """

    network: Network
    record: dict[str, Any]


def with_factors(network: Network, factor: Array) -> Network:
    """The network with background weights multiplied by `factor`, [n_cells]."""
    changed = {
        name: dataclasses.replace(edges, weight=edges.weight * factor[edges.target_index])
        for name, edges in background_edges(network).items()
    }
    return dataclasses.replace(network, edges=network.edges | changed)


def calibrated(
    ablated: Network,
    intact: Network,
    gray: Mapping[str, Tensor],
    *,
    model: Callable[[Network], V1Network],
    affected: NDArray[np.bool_] | None = None,
) -> Tuned:
    """The ablated network with its background tuned to what the intact cells fired.

    Args:
        ablated: with carried weights.
        intact: the network it was made from.
        gray: spikes [trial, step, unit] of every input population, gray screen.
        model: makes the module that is measured.
        affected: [n_cells] cells that the ablation may have changed; all unless given.

    Returns:
        What was tuned. Without background, or where no cell model is new (cells only changed places, and
        brought their background along), the network of it is the ablated one itself.
    """
    if not _has_new_models(ablated, intact):
        return Tuned(ablated, {"tuned_models": 0})
    trial = _Trial(ablated, intact, gray, model, affected)
    tuning = _Tuning(trial.kept)
    if trial.kept.all():
        return Tuned(
            ablated,
            _record(ablated, tuning.factor[trial.model_of], tuning.reached[trial.model_of], 0),
        )
    # Roughly first, in its own places alone.
    tuning.bisect(lambda factor: trial.fired(factor, 1), trial.wanted(1), _BISECTIONS)
    if trial.has_recurrence or trial.n_places > 1:
        wanted = trial.wanted()
        missing = trial.missing(tuning.factor)
        wanted = np.clip(wanted + missing, wanted / _AROUND, wanted * _AROUND)
        # A model of many cells that fired as wanted untuned stays as it is; a single cell may by chance.
        tuning.look_around(_AROUND, trial.kept if trial.n_places > 1 else tuning.factor == 1)
        tuning.bisect(trial.fired, wanted, _BISECTIONS_AROUND)
    factor = tuning.factor[trial.model_of]
    record = _record(ablated, factor, tuning.reached[trial.model_of], trial.n_models)
    return Tuned(with_factors(ablated, factor), record)


def overdriven(
    ablated: Network,
    intact: Network,
    gray: Mapping[str, Tensor],
    *,
    model: Callable[[Network], V1Network],
    affected: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """[n_cells] cells that no background holds: see `calibrated` for the arguments.

    They fire clearly more than is wanted with next to no background; or their after-spike currents excite
    them more than `SELF_EXCITATION_MAX` and than those of any intact cell.
    """
    if not _has_new_models(ablated, intact):
        return np.zeros(intact.n_cells, bool)
    trial = _Trial(ablated, intact, gray, model, affected)
    spikes = trial.fired(np.where(trial.kept, 1.0, _NEXT_TO_NONE))
    too_many = (~trial.kept & (spikes > _EXCESS * trial.wanted()))[trial.model_of]
    largest = self_excitation(intact).max(initial=SELF_EXCITATION_MAX)
    return too_many | (self_excitation(ablated) > largest)


def self_excitation(network: Network) -> Array:
    """[n_cells] charge of a spike's after-spike currents as a part of that which the next spike needs."""
    of = network.membrane.per_cell
    return spike_charge(network.membrane) / (of("C_m") * (of("V_th") - of("V_reset")))


class _Trial:
    """The models of an ablated network, tried without recurrence in front of a gray screen.

    Attributes:
        model_of: [n_cells] model of each cell.
        kept: [model] those whose cells the ablation has left alone.
        n_places: in how many places every cell is tried.
        has_recurrence: whether the network has edges among its cells.
    """

    def __init__(
        self,
        ablated: Network,
        intact: Network,
        gray: Mapping[str, Tensor],
        module: Callable[[Network], V1Network],
        affected: NDArray[np.bool_] | None,
    ):
        self._ablated, self._intact, self._gray, self._module = ablated, intact, gray, module
        changed = ~_same_cells(ablated, intact)
        if affected is not None:
            changed &= affected
        target = self._counts(intact.without_recurrence())
        bare = ablated.without_recurrence()
        self.has_recurrence = len(bare.edges) < len(ablated.edges)
        single = len(np.unique(ablated.membrane.group_of[changed])) > changed.sum() / 2
        self.n_places = _PLACES if single else 1
        places = _places(ablated, changed, self.n_places)
        of_cells = np.sum([target[np.argsort(at)] for at in places], axis=0)
        self.model_of = _models(ablated, of_cells, changed)
        self._tried = [(_exchanged(bare, at), self.model_of[at]) for at in places]
        self._target = target
        self.kept = self._of_models(changed, self.model_of) == 0
        self.n_models = int((~self.kept).sum())

    def wanted(self, n_places: int | None = None) -> Array:
        """[model] spikes of the intact cells in the first so many places of its cells; in all unless said."""
        tried = self._tried[:n_places]
        return np.sum([self._of_models(self._target, of) for _, of in tried], axis=0)

    def fired(self, factor: Array, n_places: int | None = None) -> Array:
        """[model] spikes there with the background multiplied by `factor`, [model]."""
        return np.sum(
            [
                self._of_models(self._counts(with_factors(network, factor[of])), of)
                for network, of in self._tried[:n_places]
            ],
            axis=0,
        )

    def missing(self, factor: Array) -> Array:
        """[model] spikes that it lacks of `wanted` within the network.

        Single cells lack the same share of theirs as their population does.
        """
        before = self._counts(self._intact)
        lost = before - self._counts(with_factors(self._ablated, factor[self.model_of]))
        if self.n_places == 1:
            return self._of_models(lost, self.model_of)
        population = group_cells(self._ablated.cells, "population").of_cell
        share = np.bincount(population, lost) / np.maximum(np.bincount(population, before), 1)
        of_model = np.zeros(len(self.kept))
        of_model[self.model_of] = share[population]
        return self.wanted() * of_model

    def _of_models(self, values: NDArray[Any], model_of: NDArray[np.int64]) -> Array:
        return np.bincount(model_of, values, self.model_of.max() + 1).astype(np.float64)

    def _counts(self, network: Network) -> Array:
        """[n_cells] spikes of each cell in all trials."""
        spikes, model = SpikeCounts(), self._module(network)
        observe(model, {name: self._gray[name] for name in model.input_sizes}, [spikes])
        return spikes.counts.sum(axis=0)


def _same_cells(a: Network, b: Network) -> NDArray[np.bool_]:
    """[n_cells] cells that are the same in both, but for rounding: an ablation has left them as they were."""
    pairs = [(a.membrane.per_cell(name), b.membrane.per_cell(name)) for name in b.membrane.values]
    pairs.append((background_weight(a), background_weight(b)))
    same = [
        np.isclose(one, other, rtol=1e-9, atol=1e-12, equal_nan=True)
        .reshape(a.n_cells, -1)
        .all(axis=1)
        for one, other in pairs
    ]
    return np.all(same, axis=0)


def _has_new_models(ablated: Network, intact: Network) -> bool:
    return bool(background_edges(ablated)) and not _same_models(ablated.membrane, intact.membrane)


class _Tuning:
    """Bisection of the factors of all models at once.

    Attributes:
        factor: [model] the present one.
        reached: [model] whether it lies inside of every bracket, or is kept.
    """

    def __init__(self, kept: NDArray[np.bool_]):
        """Begin between 0 and `FACTOR_MAX`; models that are `kept` stay at 1."""
        self._kept = kept
        self._low, self._high = np.zeros(len(kept)), np.full(len(kept), FACTOR_MAX)
        self.factor = np.ones(len(kept))
        self.reached = np.ones(len(kept), bool)

    def bisect(self, fired: Callable[[Array], Array], wanted: Array, n_steps: int) -> None:
        """Halve the brackets, and go where the spikes at their ends point to.

        A model that fires as wanted is at its factor from then on.
        """
        low, high = self._low, self._high
        fewer, more = np.full(len(low), np.nan), np.full(len(low), np.nan)
        for _ in range(n_steps):
            spikes = fired(self.factor)
            self._kept = self._kept | (spikes == wanted)
            less = spikes < wanted
            self._low, fewer = np.where(less, (self.factor, spikes), (self._low, fewer))
            self._high, more = np.where(less, (self._high, more), (self.factor, spikes))
            middle = (self._low + self._high) / 2
            self.factor = np.where(self._kept, self.factor, middle)
        between = ~self._kept & (more > fewer)  # both are known
        part = np.divide(wanted - fewer, more - fewer, out=np.full(len(low), 0.5), where=between)
        pointed = self._low + (self._high - self._low) * part
        self.factor = np.where(self._kept, self.factor, pointed)
        self.reached &= self._kept | ((self._low > low) & (self._high < high))

    def look_around(self, times: float, kept: NDArray[np.bool_]) -> None:
        """New brackets around the present factors, but for models that are `kept`."""
        self._kept = kept
        self._low = self.factor / times
        self._high = np.minimum(self.factor * times, FACTOR_MAX)


def _same_models(a: GroupedValues, b: GroupedValues) -> bool:
    return a.labels == b.labels and all(np.array_equal(a.values[n], b.values[n]) for n in b.values)


def _models(network: Network, target: Array, changed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[n_cells] model of each cell; changed ones of a population that fired too rarely are one."""
    population = group_cells(network.cells, "population").of_cell
    rows = len(network.membrane.labels)
    key = population * (rows + 1) + network.membrane.group_of
    _, model_of = np.unique(key, return_inverse=True)
    rare = np.bincount(model_of, target)[model_of] < SPIKES_MIN
    key = np.where(rare, population * (rows + 1) + rows, key)
    # Models of the others are of their own: nothing is tuned in them.
    key = np.where(
        changed, key, key.max(initial=0) + 1 + network.membrane.group_of.astype(np.int64)
    )
    return np.unique(key, return_inverse=True)[1].astype(np.int64)


def _places(network: Network, changed: NDArray[np.bool_], n_places: int) -> list[NDArray[np.int64]]:
    """Which cell stands in each place, [n_cells]: first its own, then others of its population."""
    population = group_cells(network.cells, "population").of_cell
    generator = np.random.default_rng(0)
    orders = [np.arange(network.n_cells)]
    for _ in range(n_places - 1):
        order = np.arange(network.n_cells)
        for group in np.unique(population[changed]):
            members = np.flatnonzero(changed & (population == group))
            order[members] = generator.permutation(members)
        orders.append(order)
    return orders


def _exchanged(network: Network, order: NDArray[np.int64]) -> Network:
    """The network with cell `order[i]` in the place i; weights carried."""
    if (order == np.arange(len(order))).all():
        return network
    membrane, ratio = network.membrane, background_ratio(network)
    membrane = dataclasses.replace(membrane, group_of=membrane.group_of[order])
    return with_membrane(network, membrane, None if ratio is None else ratio[order])[0]


def _record(
    network: Network, factor: Array, reachable: NDArray[np.bool_], n_models: int
) -> dict[str, Any]:
    groups = group_cells(network.cells, "population")
    medians = {
        name: float(np.median(factor[groups.of_cell == group]))
        for group, name in enumerate(groups.labels)
    }
    return {
        "tuned_models": n_models,
        "median_factor": medians,
        "cells_out_of_reach": int((~reachable).sum()),
    }
