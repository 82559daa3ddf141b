"""Recurrent edges against an exhaustive, independently written table of pair probabilities.

`probabilities` follows section 2 of the published rule pair by pair, with matrices and complex
numbers, and shares no code with the builder. Counts of drawn edges by group of pairs must agree with
its sums within binomial error; and they must not agree once the rule is changed in any one way, which
shows that the test would notice.
"""

import numpy as np
import pytest
from column_parts import subset
from scipy import stats

from v1builder.build.connectivity import RecurrentSampler, pair_rule
from v1builder.build.random import Purpose, stream_key
from v1builder.schema.recipe import RecurrentRecipe

N_DRAWS = 12


def probabilities(cells, tables, *, d=50.0, core=400.0, stretch=1.5, sigma_scale=1.0, tuned=True):
    """[source, target] connection probabilities."""
    populations = tables.populations.iloc[cells.population_index]
    classes, ei = populations["connectivity_class"].to_numpy(), populations["ei"].to_numpy()
    table = tables.connection_probability.pivot(
        index="pre_class", columns="post_class", values="p_max"
    )
    p_max = table.loc[classes, classes].to_numpy()  # [source, target]
    rule = {
        (row["pre_ei"], row["post_ei"]): row
        for row in tables.distance_orientation_rule.to_dict("records")
    }
    place = cells.x + 1j * cells.z
    preferred = np.exp(1j * np.deg2rad(cells.tuning_angle))
    p = np.zeros((len(cells), len(cells)))
    for t in range(len(cells)):
        here = d if abs(place[t]) <= 1.5 * core else 0.0
        for sign in "ei":
            s = np.flatnonzero(ei == sign)
            pair = rule[sign, ei[t]]
            sigma = sigma_scale * pair["sigma_um"]
            mu = here * preferred[t] * (-1 if sign == "e" else 1)
            offset = place[s] - place[t] - mu
            vectors = np.stack((offset.real, offset.imag), axis=1)
            c, w = preferred[t].real, preferred[t].imag
            rotation = np.array([[c, -w], [w, c]])
            widths = (sigma / stretch, sigma * stretch) if sign == "e" else (sigma, sigma)
            covariance = rotation @ np.diag(np.square(widths)) @ rotation.T
            squared = np.einsum("ni,ij,nj->n", vectors, np.linalg.inv(covariance), vectors)
            factor = np.ones(len(s))
            if sign == ei[t] == "e" and tuned:
                apart = np.abs(cells.tuning_angle[s] - cells.tuning_angle[t])
                apart = np.abs(np.abs(np.abs(180 - apart) - 90) - 90)
                b = pair["orientation_b_ratio"]
                factor = 2 / (1 + b) * (1 - (1 - b) * apart / 90)
            size = cells.size_ratio[t]
            p[s, t] = np.minimum(p_max[s, t] * np.exp(-squared / 2) * factor * size, 1.0)
    np.fill_diagonal(p, 0.0)
    return p


def draw(cells, tables, seed, width=50.0, **recipe):
    rule = pair_rule(
        tables.populations, tables.connection_probability, tables.distance_orientation_rule
    )
    key = stream_key(seed, Purpose.RECURRENT)
    return RecurrentSampler(cells, rule, RecurrentRecipe(**recipe), key, width).sample(
        0, len(cells)
    )


def counts(cells, tables, **options):
    """[source, target] how many of `N_DRAWS` draws have the edge."""
    found = np.zeros((len(cells), len(cells)), dtype=np.int64)
    for seed in range(N_DRAWS):
        edges = draw(cells, tables, seed, **options)
        assert np.all(np.diff(edges.target.astype(np.int64) * len(cells) + edges.source) > 0)
        found[edges.source, edges.target] += 1
    return found


def groups(cells, tables):
    """[source, target] group of each pair: signs, distance, place relative to tuning, orientation."""
    excitatory = (tables.populations["ei"] == "e").to_numpy()[cells.population_index].astype(int)
    place = cells.x + 1j * cells.z
    offset = place[:, None] - place[None, :]
    turned = offset * np.exp(-1j * np.deg2rad(cells.tuning_angle))[None, :]
    distance = np.digitize(np.abs(offset), [50, 100, 150, 200, 300, 400])
    octant = np.floor(np.angle(turned) / (np.pi / 4)).astype(int) + 4
    apart = (cells.tuning_angle[:, None] - cells.tuning_angle[None, :]) % 180
    orientation = np.digitize(np.minimum(apart, 180 - apart), [30, 60])
    signs = 2 * excitatory[:, None] + excitatory[None, :]
    return ((signs * 7 + distance) * 9 + octant) * 3 + orientation


def chi_square_p_value(found, p, group):
    """Agreement of counts with probabilities, summed by group; groups of < 20 edges are left out."""
    expected = np.bincount(group.ravel(), weights=(N_DRAWS * p).ravel())
    variance = np.bincount(group.ravel(), weights=(N_DRAWS * p * (1 - p)).ravel())
    seen = np.bincount(group.ravel(), weights=found.ravel())
    used = expected > 20
    assert used.sum() > 100
    return stats.chi2(used.sum()).sf(((seen - expected)[used] ** 2 / variance[used]).sum())


@pytest.fixture(scope="module")
def found(thinned, tables):
    return counts(thinned, tables)


@pytest.fixture(scope="module")
def by_rule(thinned, tables):
    return probabilities(thinned, tables)


def test_counts_by_distance_direction_and_orientation(thinned, tables, found, by_rule):
    assert chi_square_p_value(found, by_rule, groups(thinned, tables)) > 1e-3


def test_counts_by_pair_of_populations(thinned, tables, found, by_rule):
    population = thinned.population_index
    group = population[:, None] * len(tables.populations) + population[None, :]
    assert chi_square_p_value(found, by_rule, group) > 1e-3


@pytest.mark.parametrize(
    "change",
    [
        {"sigma_scale": 1.03},
        {"tuned": False},
        {"d": -50.0},
        {"d": 0.0},
        {"stretch": 1 / 1.5},
        {"stretch": 1.0},
    ],
    ids=str,
)
def test_a_changed_rule_is_noticed(thinned, tables, found, change):
    p = probabilities(thinned, tables, **change)
    assert chi_square_p_value(found, p, groups(thinned, tables)) < 1e-9


def test_every_pair_is_an_independent_bernoulli_draw(found, by_rule):
    p = by_rule[(by_rule > 0.01) & (by_rule < 0.99)]
    n = found[(by_rule > 0.01) & (by_rule < 0.99)]
    squares = (n - N_DRAWS * p) ** 2 / (N_DRAWS * p * (1 - p))
    # the mean of squares is 1; its error follows from the fourth moment of a binomial
    error = squares.std() / np.sqrt(len(p))
    assert abs(squares.mean() - 1) < 4 * error
    for axis in (0, 1):  # in- and out-degrees: a correlation between pairs would widen them
        degree = found.sum(axis=axis)
        expected, variance = (
            N_DRAWS * by_rule.sum(axis=axis),
            (N_DRAWS * by_rule * (1 - by_rule)).sum(axis=axis),
        )
        used = variance > 20
        statistic = ((degree - expected)[used] ** 2 / variance[used]).sum()
        law = stats.chi2(used.sum())
        assert min(law.sf(statistic), law.cdf(statistic)) > 1e-4


def test_certain_and_impossible_pairs(column, tables):
    large = subset(column, np.arange(0, len(column), 3))
    large.size_ratio[:] = 1e4
    p = probabilities(large, tables)
    found = counts(large, tables)
    assert np.mean(p == 1) > 0.5
    assert np.all(found[p == 1] == N_DRAWS)
    assert np.all(np.diag(found) == 0)


@pytest.mark.parametrize("width", [15.0, 300.0])
def test_bins_do_not_change_the_law(thinned, tables, by_rule, width):
    other = counts(thinned, tables, width=width)
    assert chi_square_p_value(other, by_rule, groups(thinned, tables)) > 1e-3


def test_targets_outside_the_core_are_not_displaced(thinned, tables):
    found = counts(thinned, tables, core_radius_um=100.0)
    group = groups(thinned, tables)
    outside = np.hypot(thinned.x, thinned.z) > 150.0
    right = probabilities(thinned, tables, core=100.0)
    assert chi_square_p_value(found, right, group) > 1e-3
    displaced = probabilities(thinned, tables)[:, outside]
    assert chi_square_p_value(found[:, outside], displaced, group[:, outside]) < 1e-9


def test_orientation_factor_is_clipped_where_it_would_exceed_certainty(tables):
    probability = tables.connection_probability.assign(p_max=0.9)
    rule = pair_rule(tables.populations, probability, tables.distance_orientation_rule)
    excitatory = np.flatnonzero(tables.populations["ei"] == "e")
    pair = excitatory[0], excitatory[1]
    assert rule.orientation_near[pair] == pytest.approx(1 / 0.9)
    assert rule.orientation_far[pair] == pytest.approx(2 / 3 + 4 / 3 - 1 / 0.9)
    inhibitory = np.flatnonzero(tables.populations["ei"] == "i")[0]
    assert rule.orientation_near[inhibitory, excitatory[0]] == 1
    assert rule.orientation_far[excitatory[0], inhibitory] == 1


def test_blocks_give_the_edges_of_the_whole(column, tables):
    rule = pair_rule(
        tables.populations, tables.connection_probability, tables.distance_orientation_rule
    )
    sampler = RecurrentSampler(column, rule, RecurrentRecipe(), stream_key(1, Purpose.RECURRENT))
    whole = sampler.sample(0, len(column))
    parts = [sampler.sample(a, min(a + 100, len(column))) for a in range(0, len(column), 100)]
    for name in ("source", "target", "quantile"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))
    assert stats.kstest(whole.quantile, "uniform").pvalue > 1e-3
