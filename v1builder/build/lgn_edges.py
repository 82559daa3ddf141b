"""Which LGN units drive a V1 cell, and by how many synapses.

For target j with tuning angle theta and receptive-field centre = field centre + deg_per_um (x, z):

1. Candidates are the units within `search_radius_deg` of the centre.
2. With probability sON_ratio it is an ON cell: sOFF units are left out and v = e^(i theta).
   Otherwise sON units are, and v = -e^(i theta). tOFF and composite units stay in both cases.
3. It prefers the temporal frequency TF ~ Poisson(poisson_parameter), drawn until > 0. Within each
   family (sON, sOFF, tOFF) with n frequencies F_i:
   p_i = (1 - |TF - F_i| / sum_k |TF - F_k|) / (n - 1).
4. Composite units: p = 1 where their orientation differs from theta by less than
   `composite_tolerance_deg`, else 0.
5. A unit's offset from the centre is shifted by subfield_shift * v * s (s = -1 sustained, +1 tOFF,
   0 composite), stretched by sqrt(aspect) along v and shrunk by it across; d is its length. The
   selection weight is p exp(-d^2 / (2 sigma^2)).
6. n_syn = target_size * synapse_fraction * synapse_ratio_against_e4, and
   n_con = round(n_syn (y - 1) / y) units are chosen without replacement, because YuleSimon(y) has
   the mean y / (y - 1). Where there are fewer candidates, all of them.
7. Synapse numbers ~ YuleSimon(y); in descending order, each number k goes to one of the chosen
   units with P ~ exp(-k d^2 / (2 sigma^2)): the largest to the nearest.
8. Weight per synapse (pA) = psp_mV / A * mean size of L4 excitatory cells / target_size.

A family with a single frequency (none is published) would divide by zero in step 3; it gets p = 1.
The mean size in step 8 is scale * exp(shape^2 / 2), not rounded down.

Choice without replacement takes the smallest E_i / weight_i with E_i exponential (Efraimidis &
Spirakis 2006), which is the same law as choosing one after the other.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.build.cells import PlacedCells
from v1builder.build.connectivity import orientation_difference
from v1builder.build.lgn_units import LGNUnits, family
from v1builder.build.random import exponential, start_stream, uniform
from v1builder.build.weights import Receptors
from v1builder.schema.errors import DataError, Problem, raise_if_any
from v1builder.schema.names import SYNAPSE_CLASSES
from v1builder.schema.recipe import LGNRecipe

_FAMILIES = {"sON": 0, "sOFF": 1, "tOFF": 2, "sONsOFF": 3, "sONtOFF": 3}
_SUSTAINED_ON, _SUSTAINED_OFF, _TRANSIENT_OFF, _COMPOSITE = 0, 1, 2, 3


class UnitArrays(NamedTuple):
    """LGN units for the kernel: [n] arrays, and [c] arrays by class. Angles in radians."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    angle: NDArray[np.float64]
    type_index: NDArray[np.int64]
    family: NDArray[np.int64]
    frequency: NDArray[np.float64]


class TargetArrays(NamedTuple):
    """V1 cells for the kernel: [n] arrays. Positions in deg, angles in radians."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    angle: NDArray[np.float64]
    n_synapses: NDArray[np.float64]
    on_probability: NDArray[np.float64]
    mean_frequency: NDArray[np.float64]
    yule: NDArray[np.float64]


class Geometry(NamedTuple):
    """The recipe's numbers for the kernel: deg, and radians for the tolerance."""

    search_radius: float
    sigma: float
    shift: float
    stretch: float
    tolerance: float


@dataclass(frozen=True)
class LGNEdges:
    """Edges of a block of targets, sorted by (target, source).

    Attributes:
        source: [e] LGN node ids.
        target: [e] V1 node ids.
        nsyns: [e] numbers of synapses.
    """

    source: NDArray[np.int32]
    target: NDArray[np.int32]
    nsyns: NDArray[np.int32]


def _by_population(populations: pd.DataFrame, lgn_to_v1: pd.DataFrame) -> pd.DataFrame:
    """The rule's parameters in the order of `populations`."""
    rule = lgn_to_v1.set_index("population")
    raise_if_any(
        [
            Problem("the LGN rule lacks a population", "table lgn_to_v1", name)
            for name in populations["population"]
            if name not in rule.index
        ],
        DataError,
    )
    return rule.loc[populations["population"]]


class LGNSampler:
    """Draws the LGN edges of any block of targets.

    Args:
        units: the LGN.
        cells: the V1 cells.
        populations: the populations table.
        lgn_to_v1: the rule's parameters by population.
        recipe: choices about the LGN.
        key: of the random streams, from `random.stream_key`.
    """

    def __init__(
        self,
        units: LGNUnits,
        cells: PlacedCells,
        populations: pd.DataFrame,
        lgn_to_v1: pd.DataFrame,
        recipe: LGNRecipe,
        key: np.uint64,
    ):
        names = [template.split(":")[1] for template in units.types["model_template"]]
        frequency = [float(n.split("_TF")[1]) if "_TF" in n else np.nan for n in names]
        self._units = UnitArrays(
            units.attributes["x"],
            units.attributes["y"],
            np.deg2rad(units.attributes["tuning_angle"]),
            units.type_index,
            np.array([_FAMILIES[family(name)] for name in names]),
            np.array(frequency),
        )
        rule = _by_population(populations, lgn_to_v1).iloc[cells.population_index]
        column = {name: rule[name].to_numpy(dtype=np.float64) for name in rule}
        synapses = cells.target_sizes * recipe.synapse_fraction
        self._targets = TargetArrays(
            recipe.tiles[0] * recipe.tile_deg / 2 + recipe.deg_per_um[0] * cells.x,
            recipe.tiles[1] * recipe.tile_deg / 2 + recipe.deg_per_um[1] * cells.z,
            np.deg2rad(cells.tuning_angle),
            synapses * column["synapse_ratio_against_e4"],
            column["sON_ratio"],
            column["poisson_parameter"],
            column["yule_parameter"],
        )
        self._geometry = Geometry(
            recipe.search_radius_deg,
            recipe.subfield_sigma_deg,
            recipe.subfield_shift_deg,
            np.sqrt(recipe.subfield_aspect),
            np.deg2rad(recipe.composite_tolerance_deg),
        )
        self._key = key

    def sample(self, first: int, last: int) -> LGNEdges:
        """The edges onto targets `first`..`last - 1`. Thread-safe; releases the GIL."""
        counts, source, nsyns = _sample_block(
            first, last, self._key, self._units, self._targets, self._geometry
        )
        return LGNEdges(source, np.repeat(np.arange(first, last, dtype=np.int32), counts), nsyns)


def lgn_weights(
    cells: PlacedCells,
    populations: pd.DataFrame,
    lgn_to_v1: pd.DataFrame,
    ports: Receptors,
    published: pd.DataFrame | None = None,
) -> NDArray[np.float64]:
    """Weight per LGN synapse of every V1 cell: [n], pA (step 8).

    `published` is the whole populations table, where `populations` is a part without layer 4.
    """
    psp = _by_population(populations, lgn_to_v1)["psp_mV"].to_numpy(dtype=np.float64)
    published = populations if published is None else published
    layer_4 = published[published["synapse_class"] == "e4"].iloc[0]
    size = layer_4["nsyn_lognorm_scale"] * np.exp(layer_4["nsyn_lognorm_shape"] ** 2 / 2)
    unit_psp = ports.unit_psp[:, SYNAPSE_CLASSES.index("exc")]
    return psp[cells.population_index] / unit_psp[cells.type_index] * size / cells.target_sizes


@numba.njit(cache=True)
def _preferred_frequency(state: NDArray[np.uint64], mean: float) -> float:
    """Poisson(mean), drawn until it is above 0 (product-of-uniforms method; means are near 2)."""
    limit = np.exp(-mean)
    while True:
        count = 0
        product = uniform(state)
        while product > limit:
            count += 1
            product *= uniform(state)
        if count > 0:
            return float(count)


@numba.njit(cache=True)
def _class_probability(
    preferred: float, on: bool, units: UnitArrays, out: NDArray[np.float64]
) -> None:
    """Fill `out` ([c]) with p of steps 2 and 3; 1 for composite classes."""
    dropped = _SUSTAINED_OFF if on else _SUSTAINED_ON
    for c in range(len(out)):
        kind = units.family[c]
        if kind == _COMPOSITE:
            out[c] = 1.0
            continue
        total, n = 0.0, 0
        for other in range(len(out)):
            if units.family[other] == kind:
                total += abs(preferred - units.frequency[other])
                n += 1
        if kind == dropped:
            out[c] = 0.0
        elif n == 1:
            out[c] = 1.0
        else:
            out[c] = (1 - abs(preferred - units.frequency[c]) / total) / (n - 1)


@numba.njit(cache=True)
def _find_candidates(
    t: int,
    state: NDArray[np.uint64],
    units: UnitArrays,
    targets: TargetArrays,
    geometry: Geometry,
    unit: NDArray[np.int32],
    half_square: NDArray[np.float64],
    key: NDArray[np.float64],
) -> int:
    """Steps 1 to 5: fill in the candidates and return how many.

    `unit` gets their numbers, `half_square` d^2 / (2 sigma^2), `key` E / weight.
    """
    on = uniform(state) < targets.on_probability[t]
    sign = 1.0 if on else -1.0
    cos, sin = sign * np.cos(targets.angle[t]), sign * np.sin(targets.angle[t])
    probability = np.empty(len(units.family))
    preferred = _preferred_frequency(state, targets.mean_frequency[t])
    _class_probability(preferred, on, units, probability)
    n = 0
    for i in range(len(units.x)):
        kind = units.type_index[i]
        p = probability[kind]
        x, y = units.x[i] - targets.x[t], units.y[i] - targets.y[t]
        if p <= 0 or x * x + y * y > geometry.search_radius**2:
            continue
        side = -1.0
        if units.family[kind] == _COMPOSITE:
            side = 0.0
            if orientation_difference(units.angle[i], targets.angle[t]) >= geometry.tolerance:
                continue
        elif units.family[kind] == _TRANSIENT_OFF:
            side = 1.0
        along = (x * cos + y * sin + side * geometry.shift) * geometry.stretch
        across = (y * cos - x * sin) / geometry.stretch
        unit[n] = i
        half_square[n] = (along * along + across * across) / (2 * geometry.sigma**2)
        key[n] = exponential(state) * np.exp(half_square[n]) / p
        n += 1
    return n


@numba.njit(cache=True)
def _smallest(key: NDArray[np.float64], n: int) -> float:
    """The n-th smallest key."""
    return np.partition(key, n - 1)[n - 1]


@numba.njit(cache=True)
def _synapse_counts(
    state: NDArray[np.uint64], yule: float, half_square: NDArray[np.float64]
) -> NDArray[np.int32]:
    """Step 7: synapse numbers of the chosen units."""
    n = len(half_square)
    numbers = np.empty(n, dtype=np.int64)
    for i in range(n):
        # YuleSimon(y) is geometric with success probability e^(-W), W exponential with rate y.
        failure = -np.expm1(-exponential(state) / yule)
        numbers[i] = max(np.int64(np.ceil(exponential(state) / -np.log(failure))), 1)
    numbers = np.sort(numbers)[::-1]
    given = np.ones(n, dtype=np.int32)
    open_units = np.arange(n)
    start = 0
    while start < n and numbers[start] > 1:
        k = numbers[start]
        stop = start
        while stop < n and numbers[stop] == k:
            stop += 1
        key = np.empty(len(open_units))  # logarithms: e^(k d^2) overflows
        for place, i in enumerate(open_units):
            key[place] = np.log(exponential(state)) + k * half_square[i]
        taken = key <= _smallest(key, stop - start)
        given[open_units[taken]] = k
        open_units = open_units[~taken]
        start = stop
    return given


@numba.njit(nogil=True, cache=True)
def _sample_block(
    first: int,
    last: int,
    key: np.uint64,
    units: UnitArrays,
    targets: TargetArrays,
    geometry: Geometry,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Edges onto targets first..last-1: number per target, sources and synapse numbers."""
    counts = np.zeros(last - first, dtype=np.int64)
    wanted = np.empty(last - first, dtype=np.int64)
    for t in range(first, last):
        yule = targets.yule[t]
        wanted[t - first] = np.int64(np.rint(targets.n_synapses[t] * (yule - 1) / yule))
    capacity = np.minimum(wanted, len(units.x)).sum()
    sources, nsyns = np.empty(capacity, dtype=np.int32), np.empty(capacity, dtype=np.int32)
    unit = np.empty(len(units.x), dtype=np.int32)
    half_square, draw = np.empty(len(units.x)), np.empty(len(units.x))
    state = np.zeros(1, dtype=np.uint64)
    used = 0
    for t in range(first, last):
        start_stream(state, key, t)
        found = _find_candidates(t, state, units, targets, geometry, unit, half_square, draw)
        n = min(wanted[t - first], found)
        if n == 0:
            continue
        chosen = np.flatnonzero(draw[:found] <= _smallest(draw[:found], n))[:n]
        sources[used : used + n] = unit[chosen]
        nsyns[used : used + n] = _synapse_counts(state, targets.yule[t], half_square[chosen])
        counts[t - first] = n
        used += n
    return counts, sources[:used].copy(), nsyns[:used].copy()
