"""PSP closed form against integration, and recurrent weights against the rule written out again."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad, solve_ivp

from v1builder.build.connectivity import SampledEdges, pair_rule
from v1builder.build.weights import receptors, recurrent_weights, weight_rule
from v1builder.schema.errors import DataError
from v1builder.schema.names import SYNAPSE_CLASSES
from v1builder.schema.psp import alpha_psp, unit_psp_peak


def integrated_peak(tau_fast, tau_slow, amp_slow, C_m, g):
    """Peak PSP by integrating the membrane equation up to its turning point."""

    def current(t):
        fast = t / tau_fast * np.exp(1 - t / tau_fast)
        return fast + amp_slow * t / tau_slow * np.exp(1 - t / tau_slow)

    def slope(t, v):
        return (-g * v + current(t)) / C_m

    def turning(t, v):
        return slope(t, v)[0] if t > 1e-3 else 1.0

    turning.terminal, turning.direction = True, -1
    end = 5 * (tau_fast + tau_slow + C_m / g)
    run = solve_ivp(slope, (0, end), [0.0], rtol=1e-10, atol=1e-14, events=turning, max_step=0.5)
    return run.y_events[0][0, 0]


def test_unit_psp_of_real_cells_and_ports(models, ports):
    rng = np.random.default_rng(0)
    for row in rng.choice(len(models), 12, replace=False):
        port = rng.integers(len(SYNAPSE_CLASSES))
        kinetics = (a[row, port] for a in (ports.tau_fast, ports.tau_slow, ports.amp_slow))
        expected = integrated_peak(*kinetics, models["C_m"][row], models["g"][row])
        assert ports.unit_psp[row, port] == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("ratio", [1.0, 1 + 1e-9, 1.001, 0.9, 30.0])
def test_unit_psp_where_membrane_and_synapse_are_equally_fast(ratio):
    expected = integrated_peak(2.0, 5.0, 0.4, 2.0 * ratio * 7.0, 7.0)
    assert unit_psp_peak(2.0, 5.0, 0.4, 2.0 * ratio * 7.0, 7.0) == pytest.approx(expected, rel=1e-7)


def test_psp_carries_the_charge_of_the_current():
    """The area under the PSP is charge / g, with charge e tau."""
    area, _ = quad(lambda t: float(alpha_psp(t, 3.0, 80.0, 4.0)), 0, 600, limit=200)
    assert area == pytest.approx(np.e * 3.0 / 4.0, rel=1e-6)
    assert np.isfinite(alpha_psp(1e5, 0.7, 300.0, 3.0))


def test_kinetics_and_delays_are_those_of_the_classes(tables, models, ports):
    table = tables.synapse_kinetics.set_index(["pre_synapse_class", "post_synapse_class"])
    htr3a = np.flatnonzero(models["population"] == "i1Htr3a")[0]
    pv = SYNAPSE_CLASSES.index("pv")
    assert models["synapse_class"][htr3a] == "vip"
    assert ports.tau_slow[htr3a, pv] == table.loc[("pv", "vip"), "tau_slow_ms"]
    assert ports.delay[htr3a, pv] == table.loc[("pv", "vip"), "delay_ms"]
    with pytest.raises(DataError, match="pv -> vip"):
        receptors(
            tables.synapse_kinetics[tables.synapse_kinetics["pre_synapse_class"] != "pv"], models
        )


@pytest.fixture(scope="module")
def rule(tables):
    return pair_rule(
        tables.populations, tables.connection_probability, tables.distance_orientation_rule
    )


@pytest.fixture(scope="module")
def weights(tables, models, ports):
    return weight_rule(tables.populations, models, tables.psp_lookup, tables.psp_amplitude, ports)


@pytest.fixture(scope="module")
def all_pairs(column):
    """An edge between every two cells, with a random quantile."""
    n = len(column)
    target, source = np.divmod(np.arange(n * n, dtype=np.int32), np.int32(n))
    return SampledEdges(source, target, np.random.default_rng(1).random(n * n))


@pytest.mark.parametrize(
    ("pre", "post"),
    [("e23Cux2", "e23Cux2"), ("i4Pvalb", "e4Rorb"), ("e4Rorb", "i5Sst"), ("i6Vip", "e5NP")],
)
def test_weights_are_lognormal_with_published_median_and_spread(
    tables, models, ports, column, rule, weights, all_pairs, pre, post
):
    row_of = {name: row for row, name in enumerate(tables.populations["population"])}
    chosen = (column.population_index[all_pairs.source] == row_of[pre]) & (
        column.population_index[all_pairs.target] == row_of[post]
    )
    edges = SampledEdges(*(getattr(all_pairs, f)[chosen] for f in ("source", "target", "quantile")))
    w = recurrent_weights(edges, column, rule, weights, "none")
    assert w.dtype == np.float32

    connection = tables.psp_lookup.set_index(["pre_population", "post_population"]).loc[
        (pre, post), "connection"
    ]
    fit = tables.psp_amplitude.set_index("connection").loc[connection]
    s_p, m_p = float(fit["logn_shape_90th"]), float(fit["logn_scale_90th"])
    target = tables.populations.iloc[row_of[post]]
    s_n, scale = target["nsyn_lognorm_shape"], target["nsyn_lognorm_scale"]
    mean_size = int(scale * np.exp(s_n**2 / 2))
    s_w = np.sqrt(s_p**2 - s_n**2) if s_p >= s_n else 0.001
    port = SYNAPSE_CLASSES.index(tables.populations.iloc[row_of[pre]]["synapse_class"])
    psp = w * ports.unit_psp[column.type_index[edges.target], port]  # mV
    assert np.all(np.sign(w) == (1 if pre.startswith("e") else -1))
    normal = np.log(np.abs(psp) * column.target_sizes[edges.target] / (m_p * scale)) / s_w
    tolerance = 1e-6 / s_w if s_w > 0.01 else 0.05  # float32 weights
    assert stats.kstest(normal, "norm").pvalue > 1e-3 or tolerance > 1e-3
    assert abs(np.median(normal)) < 5 / np.sqrt(len(normal)) + tolerance
    assert abs(normal.std() - 1) < 5 / np.sqrt(len(normal)) + tolerance
    assert mean_size == pytest.approx(
        column.target_sizes[edges.target][0] / column.size_ratio[edges.target][0]
    )


def test_psp_spread_over_cells_is_the_measured_one(
    tables, models, ports, column, rule, weights, all_pairs
):
    """Dividing by target_size brings back the spread that s_w leaves out, for sizes drawn anew."""
    e23 = list(tables.populations["population"]).index("e23Cux2")
    chosen = (column.population_index[all_pairs.source] == e23) & (
        column.population_index[all_pairs.target] == e23
    )
    edges = SampledEdges(*(getattr(all_pairs, f)[chosen] for f in ("source", "target", "quantile")))
    w = recurrent_weights(edges, column, rule, weights, "none")
    psp = w * ports.unit_psp[column.type_index[edges.target], SYNAPSE_CLASSES.index("e23")]
    fit = tables.psp_amplitude.set_index("connection").loc["l23_pyr__to__l23_pyr"]
    assert np.log(psp).std() == pytest.approx(float(fit["logn_shape_90th"]), rel=0.03)
    assert np.median(psp) == pytest.approx(float(fit["logn_scale_90th"]), rel=0.05)


def test_like_to_like_between_excitatory_cells(tables, column, rule, weights, all_pairs):
    """u = 1 - CDF of the direction difference of connected pairs, integrated numerically here."""
    excitatory = (tables.populations["ei"] == "e").to_numpy()[column.population_index]
    chosen = excitatory[all_pairs.source] & excitatory[all_pairs.target]
    edges = SampledEdges(
        *(getattr(all_pairs, f)[chosen][::97] for f in ("source", "target", "quantile"))
    )
    w = recurrent_weights(edges, column, rule, weights, "like_to_like")
    apart = np.abs(column.tuning_angle[edges.source] - column.tuning_angle[edges.target])
    apart = np.minimum(apart, 360 - apart)
    grid = np.linspace(0, 180, 180_001)
    density = 4 / 3 - (4 / 3 - 2 / 3) / 90 * np.minimum(grid, 180 - grid)
    cdf = np.concatenate(([0], np.cumsum((density[1:] + density[:-1]) / 2)))
    u = np.clip(1 - np.interp(apart, grid, cdf / cdf[-1]), 0.001, 0.999)
    plain = SampledEdges(edges.source, edges.target, u)
    np.testing.assert_allclose(
        w, recurrent_weights(plain, column, rule, weights, "none"), rtol=1e-4
    )


def test_like_to_like_with_inhibitory_cells(tables, column, rule, weights, all_pairs):
    """Strength falls with the difference in tuning, with a jitter of 5 (mixed) or 10 deg (I->I)."""
    excitatory = (tables.populations["ei"] == "e").to_numpy()[column.population_index]
    pre, post = excitatory[all_pairs.source], excitatory[all_pairs.target]
    for chosen, jitter in ((pre & ~post, 5.0), (~pre & post, 5.0), (~pre & ~post, 10.0)):
        edges = SampledEdges(
            *(getattr(all_pairs, f)[chosen] for f in ("source", "target", "quantile"))
        )
        w = recurrent_weights(edges, column, rule, weights, "like_to_like")
        half = SampledEdges(edges.source, edges.target, np.full(len(w), 0.5))
        middle = recurrent_weights(half, column, rule, weights, "none")
        shape = weights.shape[
            column.population_index[edges.source], column.type_index[edges.target]
        ]
        used = shape > 0.1
        u = stats.norm.cdf(np.log(w / middle.astype(np.float64))[used] / shape[used])
        apart = np.abs(column.tuning_angle[edges.source] - column.tuning_angle[edges.target])
        apart = np.minimum(apart, 360 - apart)[used]
        inner = (apart > 45) & (apart < 135)
        noise = (1 - u[inner]) * 180 - apart[inner]
        assert abs(noise.mean()) < 5 * jitter / np.sqrt(inner.sum())
        assert noise.std() == pytest.approx(jitter, rel=0.03)
