"""The background tuned anew for cells that did not exist before: the builder's rule for an ablated network.

The builder tunes the background of every cell model until its cells, without recurrence and in front of a
gray screen, fire at the rates of their population. Carrying the ratio of background to rheobase
(`load.carrying`) keeps that only on average: how much background a cell needs is no linear function of
its parameters, so cells of a mean model fire less than the mean of the cells they replace. Here the
background of every new model is multiplied by the factor at which its cells, without recurrence and with
the same gray input, fire as many spikes in all as the cells in the same places did before. A model that
does so untuned keeps its background to the last digit: an ablation that changes nothing changes nothing.

Cells that share a row of parameters and a population are one model. Models that fired too rarely to be
tuned one by one share the factor of the others of their population. Cells that an ablation leaves alone
are not tuned.
"""

import dataclasses
from collections.abc import Mapping
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

#: Largest factor that is tried.
FACTOR_MAX: Final = 3.0
#: Spikes of a model in the probe below which its rate is not known well enough (30 % at 10 spikes).
SPIKES_MIN: Final = 10
_BISECTIONS: Final = 8  # the last step is .016 or less


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
    dt: float,
    affected: NDArray[np.bool_] | None = None,
) -> tuple[Network, dict[str, Any]]:
    """The ablated network with its background tuned to what the intact cells fired without recurrence.

    Args:
        ablated: with carried weights.
        intact: the network it was made from.
        gray: spikes [trial, step, unit] of every input population, gray screen.
        dt: ms.
        affected: [n_cells] cells that the ablation may have changed; all unless given.

    Returns:
        The network, and a record: by population the median factor, and how many cells could not be brought to
        their target within 0 to `FACTOR_MAX`. Without background, or where no cell model is new (cells
        only changed places, and brought their background along), the ablated network itself.
    """
    if not background_edges(ablated) or _same_models(ablated.membrane, intact.membrane):
        return ablated, {"tuned_models": 0}
    target = _counts(intact.without_recurrence(), gray, dt)
    changed = np.ones(intact.n_cells, bool) if affected is None else affected
    model_of = _models(ablated, target, changed)
    wanted = np.bincount(model_of, target)
    bare = ablated.without_recurrence()

    def fired(factor: Array) -> Array:
        spikes = _counts(with_factors(bare, factor[model_of]), gray, dt)
        return np.bincount(model_of, spikes).astype(np.float64)

    low, high = np.zeros(len(wanted)), np.full(len(wanted), FACTOR_MAX)
    factor, exact = np.ones(len(wanted)), np.bincount(model_of, changed) == 0
    for _ in range(_BISECTIONS):
        spikes = fired(factor)
        exact |= spikes == wanted
        low = np.where(spikes < wanted, factor, low)
        high = np.where(spikes < wanted, high, factor)
        factor = np.where(exact, factor, (low + high) / 2)
    reachable = exact | ((low > 0) & (high < FACTOR_MAX))
    tuned = with_factors(ablated, factor[model_of])
    n_tuned = len(np.unique(model_of[changed]))
    return tuned, _record(ablated, factor[model_of], reachable[model_of], n_tuned)


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


def _counts(network: Network, gray: Mapping[str, Tensor], dt: float) -> Array:
    """[n_cells] spikes of each cell in all trials."""
    model = V1Network(network, dt=dt, trainable=[])
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
