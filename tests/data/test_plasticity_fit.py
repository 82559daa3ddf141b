"""The fit of short-term plasticity: the right model, the right metrics, honest about thin data."""

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import solve_ivp

from v1builder.curate import plasticity_draws, read_store, short_term_plasticity
from v1builder.curate.plasticity import METRICS, SUBCLASSES, metrics, releases
from v1builder.schema.errors import DataError

TIMES = [20.0 * k for k in range(8)] + [140.0 + 250.0 + 20.0 * k for k in range(4)]


@pytest.fixture(scope="module")
def table():
    return read_store().synaptic_physiology


@pytest.fixture(scope="module")
def fit(table):
    return short_term_plasticity(table).set_index(["pre", "post"])


@pytest.mark.parametrize("synapse", [(0.5, 300.0, 10.0), (0.05, 50.0, 400.0), (0.3, 30.0, 30.0)])
def test_amplitudes_are_those_of_the_differential_equations(synapse):
    U, tau_rec, tau_fac = synapse
    u, x, last, expected = 0.0, 1.0, 0.0, []
    for time in TIMES:
        if time > last:
            solution = solve_ivp(
                lambda _t, y: [-y[0] / tau_fac, (1 - y[1]) / tau_rec],
                (last, time),
                [u, x],
                rtol=1e-10,
                atol=1e-12,
            )
            u, x = solution.y[:, -1]
        u += U * (1 - u)
        expected.append(u * x)
        x -= u * x
        last = time
    np.testing.assert_allclose(releases(*synapse), expected, rtol=1e-7)
    A = np.array(expected)
    A90 = np.percentile(A, 90)
    induction = (np.median(A[5:8]) - A[0]) / A90
    recovery = np.median(A[8:] - A[:4]) / A90
    np.testing.assert_allclose(metrics(*synapse), [induction, recovery], rtol=1e-6)


def test_metrics_of_known_synapses_are_recovered(table):
    rng = np.random.default_rng(0)
    made = table.copy()
    expected = {}
    for pre in SUBCLASSES:
        for post in SUBCLASSES:
            truth = rng.uniform(0.1, 0.5), rng.uniform(50, 300), rng.uniform(20, 300)
            expected[pre, post] = metrics(*truth)
            for name, value in zip(METRICS, expected[pre, post], strict=True):
                rows = (made["metric"] == name) & (made["pre"] == pre) & (made["post"] == post)
                made.loc[rows, ["median", "n_pairs"]] = [value, 200]
    found = short_term_plasticity(made).set_index(["pre", "post"])
    assert (found["source"] == "fitted").all()
    for pair, target in expected.items():
        fitted = [found.loc[pair, f"{name}_fitted"] for name in METRICS]
        np.testing.assert_allclose(fitted, target, atol=0.01)


def test_known_signs_of_plasticity(fit):
    change = fit["stp_induction_50hz_fitted"]
    assert change["pyr", "sst"] > 0.05
    assert change["sst", "vip"] > 0.2
    assert change["pyr", "pyr"] < -0.2
    assert all(change["pvalb", post] < -0.2 for post in SUBCLASSES)


def test_pairs_with_too_few_synapses_are_pooled_and_marked(fit):
    assert list(fit.index[fit["source"] != "fitted"]) == [("vip", "pyr")]
    assert fit.loc[("vip", "pyr"), "source"] == "pooled over vip -> all"
    own = fit["source"] == "fitted"
    assert fit.loc[own, "stp_induction_50hz_residual"].abs().max() < 0.02
    assert (fit["at_bound"] == "").all()


def test_a_subclass_without_measurements_is_refused(table):
    with pytest.raises(DataError, match="too few synapses"):
        short_term_plasticity(table[table["pre"] != "sst"])


# --- Synapses of a pair that differ -------------------------------------------------------------


@pytest.fixture(scope="module")
def published(table, fit):
    return table, fit.reset_index()


def test_draws_have_the_mean_of_the_fit_and_the_spread_of_the_pairs(published):
    table, fits = published
    draws = plasticity_draws(table, fits, width=1.0, n=8, seed=3)
    own = fits.loc[fits["n_pairs"] >= 5, list(METRICS)]
    for name in METRICS:
        of_pair = draws.groupby(["pre", "post"])[name]
        fitted = fits.set_index(["pre", "post"])[f"{name}_fitted"]
        np.testing.assert_allclose(of_pair.mean(), fitted.sort_index(), atol=1e-9)
        np.testing.assert_allclose(of_pair.std(ddof=0), own[name].std(ddof=1), rtol=1e-9)
        # Nearly all of them exist as synapses: depression and facilitation have limits.
        reached = draws[f"{name}_fitted"]
        assert np.corrcoef(draws[name], reached)[0, 1] > 0.95
        assert (np.abs(reached - draws[name]) < 0.05).mean() > 0.85
    assert draws["U"].between(0.01, 0.95).all()
    assert draws[["tau_rec_ms", "tau_fac_ms"]].ge(1).all(axis=None)


def test_synapses_differ_as_little_as_the_width_says(published):
    table, fits = published
    center = fits.set_index(["pre", "post"])[["U", "tau_rec_ms", "tau_fac_ms"]]
    off = {}
    for width in (0.01, 0.5):
        draws = plasticity_draws(table, fits, width, 6, 3).set_index(["pre", "post"])
        ratio = np.log(draws[list(center)] / center.loc[draws.index])
        off[width] = np.median(ratio.abs())
    assert off[0.01] < 0.02
    assert off[0.5] > 20 * off[0.01]


def test_draws_depend_on_the_seed_alone(published):
    first, again, other = (plasticity_draws(*published, 1.0, 4, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not np.allclose(first["U"], other["U"])
