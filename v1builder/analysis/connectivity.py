"""Achieved against expected connections: by class and distance, and per cell.

The rule (Billeh et al. 2020 and the Allen V1 model that followed), written here a second time and
independently of the builder, for source s and target t with D = (x_s - x_t, z_s - z_t) and theta the
tuning angle of the target:

    p = p_max exp(-1/2 (D - mu)' C^-1 (D - mu)) f target_size / mean_size, at most 1; 0 for s = t

mu = d (cos theta, sin theta), d = +displacement for inhibitory and -displacement for excitatory sources,
0 for targets beyond 1.5 core radii. C = sigma^2 1 for inhibitory sources; standard deviations sigma/1.5
along theta and 1.5 sigma across it for excitatory ones. Between excitatory cells f runs linearly from B1 at
equal to B2 at orthogonal orientations, B1 = 2/(1 + b), B2 = b B1; where p_max B1 > 1, B1 = 1/p_max and B2
rises by what B1 lost. f = 1 otherwise. Each pair is an independent Bernoulli trial, so a count over pairs
has mean sum p and variance sum p (1 - p): that is what z scores are taken with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: Edges of the distance bins, um (horizontal distance, as the rule has no other).
DISTANCES_UM: Final = (0, 25, 50, 75, 100, 150, 200, 250, 300, 400, 600, 1400)

_PAIRS_AT_ONCE: Final = 2_000_000
_ELONGATION: Final = 1.5
_DISPLACED_CORES: Final = 1.5
#: Expected connections and missing connections below which a z score is not normal enough to judge.
_ENOUGH: Final = 10.0


@dataclass(frozen=True)
class ColumnGeometry:
    """The cells of a column and how they look for partners.

    Attributes:
        x: [n] um.
        z: [n] um.
        angle: [n] rad, preferred direction.
        size_ratio: [n] target size over the mean of the population.
        population: [n] row in the arrays below.
        excitatory: [p] bool.
        p_max: [p, p] by source and target population.
        sigma: [p, p] um.
        b_ratio: [p, p] ratio B2/B1 between excitatory populations.
        displacement: [n] um, of the target.
    """

    x: NDArray[np.float64]
    z: NDArray[np.float64]
    angle: NDArray[np.float64]
    size_ratio: NDArray[np.float64]
    population: NDArray[np.int64]
    excitatory: NDArray[np.bool_]
    p_max: NDArray[np.float64]
    sigma: NDArray[np.float64]
    b_ratio: NDArray[np.float64]
    displacement: NDArray[np.float64]

    def probability(self, targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """[n, k] probability that each cell connects to each of some targets."""
        pre, post = self.population[:, None], self.population[targets][None]
        cos, sin = np.cos(self.angle[targets]), np.sin(self.angle[targets])
        from_excitatory = self.excitatory[pre]
        shift = np.where(from_excitatory, -1.0, 1.0) * self.displacement[targets]
        dx = self.x[:, None] - self.x[targets] - shift * cos
        dz = self.z[:, None] - self.z[targets] - shift * sin
        stretch = np.where(from_excitatory, _ELONGATION, 1.0)
        sigma, p_max = self.sigma[pre, post], self.p_max[pre, post]
        along = (dx * cos + dz * sin) * stretch / sigma
        across = (dz * cos - dx * sin) / (stretch * sigma)
        p = p_max * np.exp(-0.5 * (along**2 + across**2)) * self.size_ratio[targets]
        near = 2 / (1 + self.b_ratio[pre, post])
        clipped = np.minimum(near, 1 / p_max)
        far = near * self.b_ratio[pre, post] + near - clipped
        apart = np.abs(np.angle(np.exp(2j * (self.angle[:, None] - self.angle[targets])))) / np.pi
        both = from_excitatory & self.excitatory[post]
        p = np.minimum(np.where(both, p * (clipped + (far - clipped) * apart), p), 1.0)
        p[targets, np.arange(len(targets))] = 0.0
        return p


def column_of(
    attributes: dict[str, NDArray],
    populations: pd.DataFrame,
    connection_probability: pd.DataFrame,
    distance_rule: pd.DataFrame,
    displacement_um: float,
    core_radius_um: float,
) -> ColumnGeometry:
    """Join cells and tables.

    Args:
        attributes: of the V1 cells: x, z, tuning_angle (deg), target_sizes, pop_name.
        populations: population, ei, connectivity_class, nsyn_lognorm_shape, nsyn_lognorm_scale.
        connection_probability: pre_class, post_class, p_max.
        distance_rule: pre_ei, post_ei, sigma_um, orientation_b_ratio.
        displacement_um: of targets within 1.5 core radii.
        core_radius_um: of the column's core.
    """
    names = populations["population"].tolist()
    row_of = {name: row for row, name in enumerate(names)}
    population = np.array([row_of[name] for name in attributes["pop_name"].astype(str)])
    shape = populations["nsyn_lognorm_shape"].to_numpy(np.float64)
    mean = np.floor(populations["nsyn_lognorm_scale"].to_numpy(np.float64) * np.exp(shape**2 / 2))
    by_class = connection_probability.set_index(["pre_class", "post_class"])["p_max"].to_dict()
    by_sign = distance_rule.set_index(["pre_ei", "post_ei"])
    classes, signs = populations["connectivity_class"], populations["ei"]

    def per_sign(name: str) -> NDArray[np.float64]:
        values = by_sign[name].to_dict()
        return np.array([[values[a, b] for b in signs] for a in signs], np.float64)

    inside = np.hypot(attributes["x"], attributes["z"]) <= _DISPLACED_CORES * core_radius_um
    return ColumnGeometry(
        x=attributes["x"].astype(np.float64),
        z=attributes["z"].astype(np.float64),
        angle=np.deg2rad(attributes["tuning_angle"].astype(np.float64)),
        size_ratio=attributes["target_sizes"].astype(np.float64) / mean[population],
        population=population,
        excitatory=signs.to_numpy() == "e",
        p_max=np.array([[by_class[a, b] for b in classes] for a in classes], np.float64),
        sigma=per_sign("sigma_um"),
        b_ratio=per_sign("orientation_b_ratio"),
        displacement=np.where(inside, displacement_um, 0.0),
    )


@dataclass(frozen=True)
class Expected:
    """Sums over all pairs of the targets looked at.

    Attributes:
        pairs, connections, expected, variance: [p, p, d] by source population, target population and
            distance bin: number of pairs, of connected ones, and mean and variance by the rule.
        targets: [k] the targets looked at.
        in_degree, in_variance: [k] expected number of sources and its variance.
        out_degree, out_variance: [n] expected number of those targets and its variance.
    """

    pairs: NDArray[np.float64]
    connections: NDArray[np.float64]
    expected: NDArray[np.float64]
    variance: NDArray[np.float64]
    targets: NDArray[np.int64]
    in_degree: NDArray[np.float64]
    in_variance: NDArray[np.float64]
    out_degree: NDArray[np.float64]
    out_variance: NDArray[np.float64]


def sum_over_pairs(
    column: ColumnGeometry,
    source_index: NDArray[np.integer],
    target_index: NDArray[np.integer],
    max_pairs: float = np.inf,
    progress: Callable[[int, int], None] | None = None,
) -> Expected:
    """Go through all pairs, or through those of evenly spaced targets where there are too many.

    Args:
        column: cells and rule.
        source_index: [e] sources of the edges; a pair has at most one.
        target_index: [e] targets.
        max_pairs: look at no more pairs than this.
        progress: called as progress(done, total) in targets.
    """
    n, n_pop, n_bins = len(column.x), len(column.excitatory), len(DISTANCES_UM) - 1
    every = max(1, int(np.ceil(n * n / max_pairs)))
    targets = np.arange(every // 2, n, every)
    shape = (n_pop, n_pop, n_bins)
    sums = np.zeros((3, np.prod(shape)))
    in_sums, out_sums = np.zeros((2, len(targets))), np.zeros((2, n))
    block = max(1, _PAIRS_AT_ONCE // n)
    bounds = np.array(DISTANCES_UM[1:-1], np.float64)
    for first in range(0, len(targets), block):
        some = targets[first : first + block]
        p = column.probability(some)
        variance = p * (1 - p)
        place = _place(column, np.arange(n)[:, None], some[None], bounds, n_bins)
        proper = np.ones_like(p)
        proper[some, np.arange(len(some))] = 0
        for row, values in zip(sums, (proper, p, variance), strict=True):
            row += np.bincount(place.ravel(), values.ravel(), minlength=sums.shape[1])
        for values, inward, outward in zip((p, variance), in_sums, out_sums, strict=True):
            inward[first : first + block] = values.sum(axis=0)
            outward += values.sum(axis=1)
        if progress:
            progress(min(first + block, len(targets)), len(targets))
    looked_at = np.isin(target_index, targets)
    pre, post = source_index[looked_at].astype(np.int64), target_index[looked_at].astype(np.int64)
    connections = np.bincount(
        _place(column, pre, post, bounds, n_bins), minlength=sums.shape[1]
    ).astype(np.float64)
    return Expected(
        sums[0].reshape(shape),
        connections.reshape(shape),
        sums[1].reshape(shape),
        sums[2].reshape(shape),
        targets,
        *in_sums,
        *out_sums,
    )


def _place(
    column: ColumnGeometry,
    pre: NDArray[np.int64],
    post: NDArray[np.int64],
    bounds: NDArray[np.float64],
    n_bins: int,
) -> NDArray[np.int64]:
    """Position of each pair in the flattened [p, p, d]."""
    distance = np.hypot(column.x[pre] - column.x[post], column.z[pre] - column.z[post])
    pair = column.population[pre] * len(column.excitatory) + column.population[post]
    return pair * n_bins + np.searchsorted(bounds, distance, side="right")


def by_class(sums: Expected, classes: NDArray[np.str_], distance: bool = False) -> pd.DataFrame:
    """Achieved and expected probability by pair of classes, with or without distance.

    Args:
        sums: over pairs.
        classes: [p] class of each population.
        distance: whether to split by distance.

    Returns:
        Columns pre_class, post_class, (distance_from_um, distance_to_um,) pairs, connections, expected,
        achieved_probability, expected_probability, z (NaN where too few are expected).
    """
    names, class_of = np.unique(classes, return_inverse=True)
    k, n_bins = len(names), sums.pairs.shape[2]
    total = []
    for values in (sums.pairs, sums.connections, sums.expected, sums.variance):
        pooled = np.zeros((k, k, n_bins))
        np.add.at(pooled, (class_of[:, None], class_of[None]), values)
        total.append(pooled if distance else pooled.sum(axis=2, keepdims=True))
    pairs, connections, expected, variance = (values.ravel() for values in total)
    pre, post, bin_of = (index.ravel() for index in np.indices(total[0].shape))
    table = pd.DataFrame({"pre_class": names[pre], "post_class": names[post]})
    if distance:
        table["distance_from_um"] = np.array(DISTANCES_UM)[bin_of]
        table["distance_to_um"] = np.array(DISTANCES_UM)[bin_of + 1]
    table["pairs"] = pairs.astype(np.int64)
    table["connections"] = connections.astype(np.int64)
    table["expected"] = expected
    some = np.maximum(pairs, 1)
    table["achieved_probability"] = connections / some
    table["expected_probability"] = expected / some
    enough = variance > _ENOUGH
    deviation = (connections - expected) / np.sqrt(np.where(enough, variance, 1.0))
    table["z"] = np.where(enough, deviation, np.nan)
    return table.loc[table["pairs"] > 0].reset_index(drop=True)


def degrees(
    column: ColumnGeometry,
    populations: pd.DataFrame,
    sums: Expected,
    source_index: NDArray[np.integer],
    target_index: NDArray[np.integer],
    target_sizes: NDArray[np.float64],
) -> pd.DataFrame:
    """In- and out-degrees by population, against the rule and the sizes they follow.

    Returns:
        One row per population: cells; in_degree_mean, in_degree_sd, in_degree_expected (mean over the
        targets looked at), in_z_sd (standard deviation of the cells' z scores: 1 where each cell's
        in-degree is what the rule gives it); size_correlation of in-degree and target size;
        target_size_mean and _sd beside those of the population's lognormal; out_degree_mean, _sd,
        _expected (NaN unless all targets were looked at).
    """
    n = len(column.x)
    inward = np.bincount(target_index, minlength=n).astype(np.float64)
    outward = np.bincount(source_index, minlength=n).astype(np.float64)
    complete = len(sums.targets) == n
    shape = populations["nsyn_lognorm_shape"].to_numpy(np.float64)
    scale = populations["nsyn_lognorm_scale"].to_numpy(np.float64)
    mean = scale * np.exp(shape**2 / 2)
    rows = []
    for row, name in enumerate(populations["population"]):
        cells = column.population == row
        if not cells.any():
            continue
        seen = cells[sums.targets]
        spread = np.sqrt(np.maximum(sums.in_variance[seen], 1e-12))
        z = (inward[sums.targets][seen] - sums.in_degree[seen]) / spread
        varied = np.ptp(inward[cells]) > 0 and np.ptp(target_sizes[cells]) > 0
        rows.append(
            {
                "population": name,
                "cells": int(cells.sum()),
                "in_degree_mean": inward[cells].mean(),
                "in_degree_sd": inward[cells].std(),
                "in_degree_expected": sums.in_degree[seen].mean() if seen.any() else np.nan,
                "in_z_sd": np.sqrt((z**2).mean()) if seen.any() else np.nan,
                "size_correlation": np.corrcoef(inward[cells], target_sizes[cells])[0, 1]
                if varied
                else np.nan,
                "target_size_mean": target_sizes[cells].mean(),
                "target_size_sd": target_sizes[cells].std(),
                "lognormal_mean": mean[row],
                "lognormal_sd": mean[row] * np.sqrt(np.expm1(shape[row] ** 2)),
                "out_degree_mean": outward[cells].mean(),
                "out_degree_sd": outward[cells].std(),
                "out_degree_expected": sums.out_degree[cells].mean() if complete else np.nan,
            }
        )
    return pd.DataFrame(rows)
