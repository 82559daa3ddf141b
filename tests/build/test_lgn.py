"""LGN units and their edges against the published rule, written out again with complex numbers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from column_parts import subset
from scipy import stats

from v1builder.build.lgn_edges import LGNSampler, _preferred_frequency, lgn_weights
from v1builder.build.lgn_units import place_lgn_units
from v1builder.build.random import Purpose, start_stream, stream_key
from v1builder.schema.errors import DataError
from v1builder.schema.names import SYNAPSE_CLASSES
from v1builder.schema.recipe import LGNRecipe


@pytest.fixture(scope="module")
def units(tables):
    return place_lgn_units(tables.lgn_cell_types, 1, LGNRecipe())


def sampler(units, cells, tables, seed=1, rule=None):
    key = stream_key(seed, Purpose.LGN_EDGES)
    rule = tables.lgn_to_v1 if rule is None else rule
    return LGNSampler(units, cells, tables.populations, rule, LGNRecipe(), key)


@pytest.fixture(scope="module")
def edges(units, column, tables):
    return sampler(units, column, tables).sample(0, len(column))


@pytest.fixture(scope="module")
def names(units):
    """[unit] class, such as sON_TF4 or sONsOFF_001."""
    template = units.types["model_template"].str.removeprefix("lgnmodel:").to_numpy()
    return template[units.type_index]


def test_units_tile_the_visual_field(tables, units, names):
    assert len(units) == 17_400
    a = units.attributes
    tile = np.floor(a["x"] / 8).astype(int) + 15 * np.floor(a["y"] / 8).astype(int)
    for row in tables.lgn_cell_types.to_dict("records"):
        per_tile = np.bincount(tile[names == row["model_id"]], minlength=150)
        np.testing.assert_array_equal(per_tile, row["N"])
    assert stats.kstest(a["x"] / 120, "uniform").pvalue > 1e-3
    assert stats.kstest(a["y"] / 80, "uniform").pvalue > 1e-3


def test_sizes_and_kernels(tables, units, names):
    a = units.attributes
    simple = ~np.char.endswith(names.astype(str), "_001")
    law = stats.triang(c=1 / 7, loc=2, scale=7)
    assert stats.kstest(a["spatial_size"][simple], law.cdf).pvalue > 1e-3
    np.testing.assert_array_equal(a["spatial_size"][names == "sONsOFF_001"], 6)
    np.testing.assert_array_equal(a["spatial_size"][names == "sONtOFF_001"], 9)
    fits = tables.lgn_cell_types.set_index("model_id")
    sources = {"sONsOFF_001": ("sOFF_TF4", "sON_TF4"), "sONtOFF_001": ("tOFF_TF8", "sON_TF4")}
    for name in np.unique(names):
        dominant, other = sources.get(name, (name, None))
        for quantity, column in (
            ("weight", "kernel_weight"),
            ("kpeaks", "kernel_peak"),
            ("delay", "kernel_delay_ms"),
        ):
            for k in "01":
                mine = a[f"{quantity}_dom_{k}"][names == name]
                fit = fits.loc[dominant, f"{column}_{k}"]
                assert np.all(np.abs(mine - fit) <= 0.025 * abs(fit) + 1e-12)
                assert fit == 0 or np.ptp(mine) > 0.04 * abs(fit)
                mine = a[f"{quantity}_non_dom_{k}"][names == name]
                if other is None:
                    assert np.all(np.isnan(mine))
                else:
                    fit = fits.loc[other, f"{column}_{k}"]
                    assert np.all(np.abs(mine - fit) <= 0.025 * abs(fit) + 1e-12)
    np.testing.assert_array_equal(a["sf_sep"][names == "sONsOFF_001"], 6.0)
    np.testing.assert_array_equal(a["sf_sep"][names == "sONtOFF_001"], 4.0)
    assert np.all(np.isnan(a["tuning_angle"][simple]))
    assert stats.kstest(a["tuning_angle"][~simple] / 360, "uniform").pvalue > 1e-3


def test_numbers_of_connections_and_synapses(tables, column, edges):
    rule = tables.lgn_to_v1.set_index("population").loc[tables.populations["population"]]
    rule = rule.iloc[column.population_index]
    wanted = column.target_sizes * 0.2 * rule["synapse_ratio_against_e4"].to_numpy()
    y = rule["yule_parameter"].to_numpy()
    n_con = np.rint(wanted * (y - 1) / y)
    degree = np.bincount(edges.target, minlength=len(column))
    assert np.mean(degree == n_con) > 0.98  # else there were fewer candidates
    assert np.all(degree <= n_con)
    assert edges.nsyns.sum() == pytest.approx(wanted.sum(), rel=0.02)
    for parameter in np.unique(y):
        numbers = edges.nsyns[y[edges.target] == parameter]
        n = len(numbers)
        for k in (1, 2, 3):
            p = stats.yulesimon(parameter).pmf(k)
            assert abs(np.mean(numbers == k) - p) < 5 * np.sqrt(p * (1 - p) / n)


def test_sorted_without_repeats_and_within_reach(units, column, edges):
    assert np.all(np.diff(edges.target.astype(np.int64) * len(units) + edges.source) > 0)
    x = 60 + 0.07 * column.x[edges.target] - units.attributes["x"][edges.source]
    y = 40 + 0.04 * column.z[edges.target] - units.attributes["y"][edges.source]
    assert np.hypot(x, y).max() <= 40


def test_on_or_off_but_never_both(tables, column, edges, names):
    family = np.array([name.split("_")[0] for name in names])[edges.source]
    n = len(column)
    on = np.bincount(edges.target[family == "sON"], minlength=n)
    off = np.bincount(edges.target[family == "sOFF"], minlength=n)
    assert not np.any((on > 0) & (off > 0))
    ratio = tables.lgn_to_v1.set_index("population")["sON_ratio"]
    p = ratio.loc[tables.populations["population"]].to_numpy()[column.population_index]
    known = on + off >= 5
    spread = np.sqrt((p * (1 - p))[known].sum())
    assert abs((on > 0)[known].sum() - p[known].sum()) < 4 * spread


def test_composite_units_share_the_orientation(units, column, edges):
    tuning = units.attributes["tuning_angle"][edges.source]
    composite = ~np.isnan(tuning)
    apart = (tuning - column.tuning_angle[edges.target])[composite] % 180
    assert composite.sum() > 1000
    assert np.minimum(apart, 180 - apart).max() < 15


def selection_probabilities(units, names, cell, *, on_ratio, mean_tf, shift=2.5, flip=1):
    """[unit] probability of being the one unit chosen by `cell`: the rule, written out."""
    a = units.attributes
    family = np.array([name.split("_")[0] for name in names])
    frequency = np.array([float(n.split("TF")[1]) if "TF" in n else np.nan for n in names])
    offset = a["x"] - 60 - 0.07 * cell.x[0] + 1j * (a["y"] - 40 - 0.04 * cell.z[0])
    theta = np.deg2rad(cell.tuning_angle[0])
    apart = (a["tuning_angle"] - cell.tuning_angle[0]) % 180
    composite = np.isin(family, ["sONsOFF", "sONtOFF"])
    same = composite & (np.minimum(apart, 180 - apart) < 15)
    side = np.select([composite, family == "tOFF"], [0, 1], -1)
    tf_law = stats.poisson(mean_tf)
    total = np.zeros(len(units))
    for on, p_on in ((True, on_ratio), (False, 1 - on_ratio)):
        v = flip * (1 if on else -1) * np.exp(1j * theta)
        turned = (offset + shift * v * side) / v
        d = np.hypot(turned.real * np.sqrt(1.5), turned.imag / np.sqrt(1.5))
        reach = np.exp(-(d**2) / 50) * (np.abs(offset) <= 40)
        for tf in range(1, 25):
            p = same.astype(float)
            for kind in ("sON", "tOFF") if on else ("sOFF", "tOFF"):
                members = family == kind
                f = np.unique(frequency[members])
                by_f = (1 - np.abs(tf - f) / np.abs(tf - f).sum()) / (len(f) - 1)
                p[members] = by_f[np.searchsorted(f, frequency[members])]
            w = reach * p
            total += p_on * tf_law.pmf(tf) / (1 - tf_law.pmf(0)) * w / w.sum()
    return total


@pytest.mark.parametrize("angle", [30.0, 250.0])
def test_choice_follows_the_rule(units, column, tables, names, angle):
    """One connection each for many copies of a cell; chosen units by class and place around it."""
    n = 6000
    population = list(tables.populations["population"]).index("e5IT")
    copies = subset(column, np.zeros(n, dtype=int))
    copies = replace(
        copies,
        population_index=np.full(n, population),
        tuning_angle=np.full(n, angle),
        x=np.full(n, -300.0),
        z=np.full(n, 200.0),
        target_sizes=np.full(n, 10),
    )
    settings = {"sON_ratio": 0.7, "poisson_parameter": 2.0}
    rule = tables.lgn_to_v1.assign(synapse_ratio_against_e4=0.6, yule_parameter=6.0, **settings)
    edges = sampler(units, copies, tables, rule=rule).sample(0, n)
    assert len(edges.source) == n  # round(10 * 0.2 * 0.6 * 5 / 6) = 1 each

    a = units.attributes
    offset = a["x"] - 60 + 0.07 * 300 + 1j * (a["y"] - 40 - 0.04 * 200)
    turned = offset * np.exp(-1j * np.deg2rad(angle))
    ring = np.digitize(np.abs(offset), [3, 6, 10])
    octant = np.floor(np.angle(turned) / (np.pi / 4)).astype(int) + 4
    group = (units.type_index * 4 + ring) * 9 + octant
    seen = np.bincount(group[edges.source], minlength=group.max() + 1)

    def p_value(**change):
        options = {"on_ratio": 0.7, "mean_tf": 2.0} | change
        p = selection_probabilities(units, names, copies, **options)
        expected = n * np.bincount(group, weights=p, minlength=group.max() + 1)
        used = expected > 5
        return stats.chi2(used.sum()).sf(((seen - expected)[used] ** 2 / expected[used]).sum())

    assert p_value() > 1e-3
    for change in ({"flip": -1}, {"shift": 0}, {"on_ratio": 0.9}, {"mean_tf": 6.0}):
        assert p_value(**change) < 1e-6


def test_preferred_frequency_is_poisson_without_zero():
    state = np.zeros(1, dtype=np.uint64)
    start_stream(state, np.uint64(7), 1)
    draws = np.array([_preferred_frequency(state, 1.5) for _ in range(20_000)]).astype(int)
    law = stats.poisson(1.5)
    expected = 20_000 * np.append(law.pmf([1, 2, 3, 4]), law.sf(4)) / law.sf(0)
    seen = np.bincount(np.minimum(draws, 5), minlength=6)
    assert seen[0] == 0
    assert stats.chisquare(seen[1:], expected).pvalue > 1e-3


def test_largest_synapse_numbers_are_nearest(units, column, edges):
    x = 60 + 0.07 * column.x[edges.target] - units.attributes["x"][edges.source]
    y = 40 + 0.04 * column.z[edges.target] - units.attributes["y"][edges.source]
    distance = np.hypot(x, y)
    means = [distance[edges.nsyns == k].mean() for k in (1, 2, 4)]
    assert means[0] > means[1] > means[2]


def test_weight_gives_the_published_psp(tables, column, models, ports):
    weight = lgn_weights(column, tables.populations, tables.lgn_to_v1, ports)
    unit_psp = ports.unit_psp[column.type_index, SYNAPSE_CLASSES.index("exc")]
    e4_size = 2188.765 * np.exp(0.345**2 / 2)
    np.testing.assert_allclose(weight * unit_psp * column.target_sizes / e4_size, 0.345, rtol=1e-12)


def test_weight_refers_to_layer_4_where_the_network_has_none(tables, column, ports):
    """Steps 6 and 8 measure sizes against an excitatory cell of layer 4, which is a published number."""
    published = tables.populations
    renamed = published.assign(synapse_class=published["synapse_class"].replace("e4", "e23"))
    part = lgn_weights(column, renamed, tables.lgn_to_v1, ports, published)
    np.testing.assert_array_equal(part, lgn_weights(column, published, tables.lgn_to_v1, ports))


def test_a_population_the_rule_lacks(units, column, tables):
    rule = pd.DataFrame(tables.lgn_to_v1[tables.lgn_to_v1["population"] != "i5Sst"])
    with pytest.raises(DataError, match="i5Sst"):
        sampler(units, column, tables, rule=rule)
