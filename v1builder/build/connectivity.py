"""Which V1 cells connect: one Bernoulli draw per pair, at a cost that grows with the edges.

For source s, target t, D = (x_s - x_t, z_s - z_t) and theta = tuning angle of the target:

    p = p_max exp(-1/2 (D - mu)' C^-1 (D - mu)) f target_size / mean_size, at most 1; 0 for s = t

- mu = +d (cos theta, sin theta) for inhibitory sources, -d (...) for excitatory ones; d = 0 for
  targets outside 1.5 core radii.
- C = sigma^2 I for inhibitory sources; for excitatory ones the standard deviation is sigma / 1.5
  along theta and 1.5 sigma across it.
- f = B1 + (B2 - B1) dori / 90 for E->E, B1 = 2 / (1 + b), B2 = b B1, dori = difference of the
  orientations in [0, 90] deg; 1 otherwise. Where p_max B1 > 1, B1 becomes 1 / p_max and B2 rises by
  what B1 lost.

Sources: p_max of the V1DD electron microscopy volume (Allen V1 model), sigma and b of Campagnola et
al. 2022 and Billeh et al. 2020.

Thinning. Sources lie in square bins. For a target, the largest value of the Gaussian over a bin
bounds p for every source in it by some q. Instead of visiting all sources, the next one that
"passes with probability q" is found by spending an exponential random number on their hazards; it
then becomes an edge with probability p / q. This is exactly Bernoulli(p) for every pair,
independently, without visiting the pairs.

The cortex is a disc with an open edge, as in the published model: cells near the edge receive fewer
synapses, and nothing is wrapped around. A boundary population (`build.boundary`) moves that edge away
from a small column; whether a target is displaced depends on its own place only, so it is the same
with and without one, and as in a larger column.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.build.cells import PlacedCells
from v1builder.build.random import exponential, start_stream, uniform
from v1builder.schema.recipe import RecurrentRecipe

#: Side of a bin, um. Smaller bins bound p more tightly but are more to look at.
_BIN_UM = 50.0
#: Where the bound of p exceeds this, every source of the bin is looked at.
_LOOK_AT_ALL = 0.5
#: Standard deviations along and across the preferred direction are sigma / 1.5 and sigma * 1.5.
_ELONGATION = 1.5
#: Targets within this many core radii are displaced.
_DISPLACED_CORES = 1.5


@dataclass(frozen=True)
class PairRule:
    """The rule of connection by pair of populations ([source, target]).

    Attributes:
        p_max: [p, p] connection probability of a pair in place, before orientation.
        orientation_near: [p, p] B1, factor at equal orientation.
        orientation_far: [p, p] B2, factor at orthogonal orientation.
        sigma: [2, 2] um, by sign (0 inhibitory, 1 excitatory) of source and target.
        excitatory: [p] 1 where the population is excitatory, else 0.
    """

    p_max: NDArray[np.float64]
    orientation_near: NDArray[np.float64]
    orientation_far: NDArray[np.float64]
    sigma: NDArray[np.float64]
    excitatory: NDArray[np.int64]


class SourceBins(NamedTuple):
    """Sources by population and bin; only bins with cells are listed.

    Attributes:
        cell: [n] numbers of the sources, sorted by (population, bin, number).
        first: [k + 1] the cells of list entry k are cell[first[k]:first[k + 1]].
        bin_of: [k] row of the entry's bin in `center`.
        entries: [p + 1] the entries of population p are entries[p]:entries[p + 1].
        center: [b, 2] um, centres (x, z) of the bins.
        half_width: um.
    """

    cell: NDArray[np.int32]
    first: NDArray[np.int64]
    bin_of: NDArray[np.int64]
    entries: NDArray[np.int64]
    center: NDArray[np.float64]
    half_width: float


class ColumnCells(NamedTuple):
    """What the kernel needs to know of the cells: [n] arrays, angles in radians."""

    x: NDArray[np.float64]
    z: NDArray[np.float64]
    angle: NDArray[np.float64]
    size_ratio: NDArray[np.float64]
    population: NDArray[np.int64]
    displacement: NDArray[np.float64]


class RuleArrays(NamedTuple):
    """The fields of `PairRule`, for the kernel."""

    p_max: NDArray[np.float64]
    near: NDArray[np.float64]
    far: NDArray[np.float64]
    sigma: NDArray[np.float64]
    excitatory: NDArray[np.int64]


class Frame(NamedTuple):
    """The Gaussian of one target: its centre (um), axes, and inverse standard deviations (1/um)."""

    x: float
    z: float
    cos: float
    sin: float
    along_scale: float
    across_scale: float


@dataclass(frozen=True)
class SampledEdges:
    """Edges of a block of targets, sorted by (target, source).

    Attributes:
        source: [e] node ids.
        target: [e] node ids.
        quantile: [e] U(0, 1), one random number per edge, for its weight.
    """

    source: NDArray[np.int32]
    target: NDArray[np.int32]
    quantile: NDArray[np.float64]


def pair_rule(
    populations: pd.DataFrame, connection_probability: pd.DataFrame, distance_rule: pd.DataFrame
) -> PairRule:
    """Join the published tables into one rule per pair of populations.

    Args:
        populations: columns ei and connectivity_class.
        connection_probability: columns pre_class, post_class, p_max.
        distance_rule: columns pre_ei, post_ei, sigma_um, orientation_b_ratio.
    """
    classes = populations["connectivity_class"].to_numpy()
    ei = populations["ei"].to_numpy()
    by_class = connection_probability.set_index(["pre_class", "post_class"])["p_max"]
    by_ei = distance_rule.set_index(["pre_ei", "post_ei"])
    n = len(populations)
    p_max, b_ratio = np.empty((n, n)), np.empty((n, n))
    for s in range(n):
        for t in range(n):
            p_max[s, t] = by_class.loc[(classes[s], classes[t])]
            b_ratio[s, t] = by_ei.loc[(ei[s], ei[t]), "orientation_b_ratio"]
    sigma = np.array([[by_ei.loc[(s, t), "sigma_um"] for t in "ie"] for s in "ie"])
    excitatory = (ei == "e").astype(np.int64)
    tuned = (excitatory[:, None] & excitatory[None, :]) == 1
    near = np.where(tuned, 2 / (1 + b_ratio), 1.0)
    far = np.where(tuned, b_ratio * near, 1.0)
    clipped = np.where(tuned & (p_max * near > 1), 1 / p_max, near)
    return PairRule(p_max, clipped, far + (near - clipped), sigma, excitatory)


def bin_sources(
    cells: PlacedCells, n_populations: int, width: float = _BIN_UM, first: int = 0
) -> SourceBins:
    """Sort the cells from number `first` on into square bins of side `width` (um)."""
    x, z = cells.x[first:], cells.z[first:]
    extent = float(max(np.abs(x).max(initial=width), np.abs(z).max(initial=width)))
    side = int(np.ceil(2 * extent / width)) + 1
    column = np.floor((x + extent) / width).astype(np.int64)
    row = np.floor((z + extent) / width).astype(np.int64)
    used, bin_index = np.unique(row * side + column, return_inverse=True)
    key = cells.population_index[first:] * len(used) + bin_index
    order = np.argsort(key, kind="stable")
    entry, start = np.unique(key[order], return_index=True)
    center = np.stack((used % side, used // side), axis=1) * width + width / 2 - extent
    return SourceBins(
        cell=(first + order).astype(np.int32),
        first=np.append(start, len(order)).astype(np.int64),
        bin_of=(entry % len(used)).astype(np.int64),
        entries=np.searchsorted(entry // len(used), np.arange(n_populations + 1)),
        center=center.astype(np.float64),
        half_width=width / 2,
    )


class RecurrentSampler:
    """Draws the recurrent edges of any block of targets.

    Args:
        cells: the cells of the column, and those around it (`build.boundary`) after them.
        rule: by pair of populations.
        recipe: displacement and core radius.
        key: of the random streams, from `random.stream_key`.
        width: side of a bin, um; it changes which random numbers are used, not their law.
        first_source: cells before this one send no edges.
    """

    def __init__(
        self,
        cells: PlacedCells,
        rule: PairRule,
        recipe: RecurrentRecipe,
        key: np.uint64,
        width: float = _BIN_UM,
        first_source: int = 0,
    ):
        inside = np.hypot(cells.x, cells.z) <= _DISPLACED_CORES * recipe.core_radius_um
        self._cells = ColumnCells(
            cells.x,
            cells.z,
            np.deg2rad(cells.tuning_angle),
            cells.size_ratio,
            cells.population_index,
            np.where(inside, recipe.displacement_um, 0.0),
        )
        self._rule = RuleArrays(
            rule.p_max, rule.orientation_near, rule.orientation_far, rule.sigma, rule.excitatory
        )
        self._bins = bin_sources(cells, len(rule.excitatory), width, first_source)
        self._key = key

    def sample(self, first: int, last: int) -> SampledEdges:
        """The edges onto targets `first`..`last - 1`. Thread-safe; releases the GIL."""
        counts, source, quantile = _sample_block(
            first, last, self._key, self._cells, self._rule, self._bins
        )
        target = np.repeat(np.arange(first, last, dtype=np.int32), counts)
        return SampledEdges(source, target, quantile)


@numba.njit(cache=True)
def orientation_difference(a: float, b: float) -> float:
    """Difference in [0, pi/2] of the orientations of two directions (radians)."""
    difference = abs(a - b) % np.pi
    return min(difference, np.pi - difference)


@numba.njit(cache=True)
def _gaussian_frame(t: int, kind: int, sigma: float, cells: ColumnCells) -> Frame:
    """The Gaussian of target `t` for excitatory (`kind` 1) or inhibitory (0) sources."""
    cos, sin = np.cos(cells.angle[t]), np.sin(cells.angle[t])
    if kind == 1:
        d = -cells.displacement[t]
        along_scale, across_scale = _ELONGATION / sigma, 1 / (_ELONGATION * sigma)
        return Frame(
            cells.x[t] + d * cos, cells.z[t] + d * sin, cos, sin, along_scale, across_scale
        )
    d = cells.displacement[t]
    return Frame(cells.x[t] + d * cos, cells.z[t] + d * sin, 1.0, 0.0, 1 / sigma, 1 / sigma)


@numba.njit(cache=True)
def _bound_bins(frame: Frame, bins: SourceBins, out: NDArray[np.float64]) -> None:
    """Fill `out` ([b]) with an upper bound of the Gaussian over each bin."""
    # half extent of a bin along a rotated axis
    reach = bins.half_width * (abs(frame.cos) + abs(frame.sin))
    for b in range(len(out)):
        x, z = bins.center[b, 0] - frame.x, bins.center[b, 1] - frame.z
        along = max(abs(x * frame.cos + z * frame.sin) - reach, 0.0) * frame.along_scale
        across = max(abs(z * frame.cos - x * frame.sin) - reach, 0.0) * frame.across_scale
        out[b] = np.exp(-0.5 * (along * along + across * across))


@numba.njit(cache=True)
def _probability(s: int, t: int, frame: Frame, cells: ColumnCells, rule: RuleArrays) -> float:
    """Connection probability of the pair (source s, target t), as in the module docstring."""
    if s == t:
        return 0.0
    x, z = cells.x[s] - frame.x, cells.z[s] - frame.z
    along = (x * frame.cos + z * frame.sin) * frame.along_scale
    across = (z * frame.cos - x * frame.sin) * frame.across_scale
    pre, post = cells.population[s], cells.population[t]
    near, far = rule.near[pre, post], rule.far[pre, post]
    factor = near
    if near != far:
        apart = orientation_difference(cells.angle[s], cells.angle[t]) / (0.5 * np.pi)
        factor += (far - near) * apart
    gauss = np.exp(-0.5 * (along * along + across * across))
    return min(rule.p_max[pre, post] * gauss * factor * cells.size_ratio[t], 1.0)


@numba.njit(cache=True)
def _draw_sources(
    t: int,
    pre: int,
    frame: Frame,
    bound: NDArray[np.float64],
    state: NDArray[np.uint64],
    cells: ColumnCells,
    rule: RuleArrays,
    bins: SourceBins,
    found: NDArray[np.int32],
) -> int:
    """Fill `found` with the sources of population `pre` that connect to `t`; return how many."""
    post = cells.population[t]
    scale = rule.p_max[pre, post] * cells.size_ratio[t]
    scale *= max(rule.near[pre, post], rule.far[pre, post])
    n = 0
    budget = exponential(state)
    for entry in range(bins.entries[pre], bins.entries[pre + 1]):
        q = min(scale * bound[bins.bin_of[entry]], 1.0)
        place, stop = bins.first[entry], bins.first[entry + 1]
        look_at_all = q > _LOOK_AT_ALL
        # Any hazard >= -log(1 - q) will do; this one needs no logarithm.
        hazard = 0.0 if look_at_all else q / (1.0 - q)
        passed = 1.0 if look_at_all else -1.0  # -1: not computed, most bins have no candidate
        while place < stop:
            if not look_at_all:
                if budget >= (stop - place) * hazard:
                    budget -= (stop - place) * hazard
                    break
                if passed < 0:
                    passed = -np.expm1(-hazard)
                place = min(place + int(budget / hazard), stop - 1)
                budget = exponential(state)
            s = int(bins.cell[place])
            place += 1
            if uniform(state) * passed < _probability(s, t, frame, cells, rule):
                found[n] = s
                n += 1
    found[:n].sort()  # bins are not in the order of ids
    return n


@numba.njit(cache=True)
def _draw_quantiles(
    first: int, counts: NDArray[np.int64], key: np.uint64, state: NDArray[np.uint64]
) -> NDArray[np.float64]:
    """One U(0, 1) per edge, from a stream that does not depend on how the edges were found."""
    quantiles = np.empty(counts.sum())
    position = 0
    for row in range(len(counts)):
        start_stream(state, ~key, first + row)
        for _ in range(counts[row]):
            quantiles[position] = uniform(state)
            position += 1
    return quantiles


@numba.njit(nogil=True, cache=True)
def _sample_block(
    first: int, last: int, key: np.uint64, cells: ColumnCells, rule: RuleArrays, bins: SourceBins
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Edges onto targets first..last-1: number per target, sources and quantiles in final order."""
    counts = np.zeros(last - first, dtype=np.int64)
    sources = np.empty(1024, dtype=np.int32)
    found = np.empty(len(cells.x), dtype=np.int32)
    state = np.zeros(1, dtype=np.uint64)
    bounds = np.empty((2, len(bins.center)))
    used = 0
    for t in range(first, last):
        start_stream(state, key, t)
        sigma = rule.sigma[:, rule.excitatory[cells.population[t]]]
        frames = (_gaussian_frame(t, 0, sigma[0], cells), _gaussian_frame(t, 1, sigma[1], cells))
        _bound_bins(frames[0], bins, bounds[0])
        _bound_bins(frames[1], bins, bounds[1])
        for pre in range(len(bins.entries) - 1):
            kind = rule.excitatory[pre]
            n = _draw_sources(t, pre, frames[kind], bounds[kind], state, cells, rule, bins, found)
            while used + n > len(sources):
                sources = np.concatenate((sources, np.empty_like(sources)))
            sources[used : used + n] = found[:n]
            used += n
            counts[t - first] += n
    return counts, sources[:used].copy(), _draw_quantiles(first, counts, key, state)
