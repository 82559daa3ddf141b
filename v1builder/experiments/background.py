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

Cells that share a row of parameters and a population are one model. Models that fired too rarely to be
tuned one by one share the factor of the others of their population. Cells that an ablation leaves alone
are not tuned.

Cells driven beyond those that were recorded (a dose above 1) may fire too much without any background: 7 % of
the cells of a column of 200 um with a dose of 1.5, several times as much as before. `calibrated` says which,
so that they can be spared (`experiments.bench`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from v1builder.load.carrying import background_edges
from v1builder.load.groups import group_cells
from v1builder.load.network import GroupedValues, Network
from v1builder.model import V1Network
from v1builder.model.observation import SpikeCounts, observe

Array = NDArray[np.float64]

#: Largest factor that is tried. A model half way between one that fires 17 Hz with almost no background and
#: the mean of its population needs 6 times the background half way to fire as much (i4Vip).
FACTOR_MAX: Final = 10.0
#: Spikes of a model in the probe below which its rate is not known well enough (30 % at 10 spikes).
SPIKES_MIN: Final = 10
_BISECTIONS: Final = 10  # the last step is .01
#: Spikes over what is wanted from which a model is said to fire too much.
_EXCESS: Final = 1.1
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
        excess: [n_cells] cells that fire clearly more than their target with next to no background.
    """

    network: Network
    record: dict[str, Any]
    excess: NDArray[np.bool_]


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
    if not background_edges(ablated) or _same_models(ablated.membrane, intact.membrane):
        return Tuned(ablated, {"tuned_models": 0}, np.zeros(intact.n_cells, bool))
    target = _counts(model(intact.without_recurrence()), gray)
    changed = np.ones(intact.n_cells, bool) if affected is None else affected
    model_of = _models(ablated, target, changed)

    def fired(network: Network, factor: Array) -> Array:
        tuned = with_factors(network, factor[model_of])
        return np.bincount(model_of, _counts(model(tuned), gray)).astype(np.float64)

    bare, wanted = ablated.without_recurrence(), np.bincount(model_of, target).astype(np.float64)
    tuning = _Tuning(np.bincount(model_of, changed) == 0)
    tuning.bisect(lambda factor: fired(bare, factor), wanted, _BISECTIONS)
    excess = tuning.too_many(wanted)[model_of]
    if len(bare.edges) < len(ablated.edges):
        before = np.bincount(model_of, _counts(model(intact), gray))
        missing = before - fired(ablated, tuning.factor)
        wanted = np.clip(wanted + missing, wanted / _AROUND, wanted * _AROUND)
        tuning.look_around(_AROUND)
        tuning.bisect(lambda factor: fired(bare, factor), wanted, _BISECTIONS_AROUND)
    factor = tuning.factor[model_of]
    n_tuned = len(np.unique(model_of[changed]))
    record = _record(ablated, factor, tuning.reached[model_of], n_tuned)
    return Tuned(with_factors(ablated, factor), record, excess)


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
        self._spikes = np.zeros(len(kept))  # the last that were seen

    def bisect(self, fired: Callable[[Array], Array], wanted: Array, n_steps: int) -> None:
        """Halve the brackets, and go where the spikes at their ends point to.

        A model that fires as wanted is at its factor from then on.
        """
        low, high = self._low, self._high
        fewer, more = np.full(len(low), np.nan), np.full(len(low), np.nan)
        for _ in range(n_steps):
            spikes = self._spikes = fired(self.factor)
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

    def too_many(self, wanted: Array) -> NDArray[np.bool_]:
        """[model] those that fire clearly more than wanted with the smallest factor that was tried."""
        return ~self._kept & (self._low == 0) & (self._spikes > _EXCESS * wanted)

    def look_around(self, times: float) -> None:
        """New brackets around the present factors; models that fired as wanted untuned stay kept."""
        self._kept = self.factor == 1
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


def _counts(model: V1Network, gray: Mapping[str, Tensor]) -> Array:
    """[n_cells] spikes of each cell in all trials."""
    spikes = SpikeCounts()
    observe(model, {name: gray[name] for name in model.input_sizes}, [spikes])
    return spikes.counts.sum(axis=0)


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
