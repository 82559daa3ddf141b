"""Closed forms: Fano factors of shared gains, and earth mover's distances of known displacements."""

import numpy as np
import pytest
import torch
from columns import N_E, N_I, network, seen, setting
from scipy.stats import wasserstein_distance

from v1builder.analysis.synchrony import population_fano
from v1builder.objectives.synchrony import SynchronySettings
from v1builder.objectives.weights import WeightsSettings, distance_by_pair, sorted_by_pair
from v1builder.schema.config import parse_settings
from v1builder.schema.errors import ConfigError

N = N_E + N_I


def shared_gain(rng, where, cv, n_trials=64, rate=0.03):
    """Poisson cells with a common gain per trial: F(T) = 1 + cv^2 n rate T."""
    shape = 1 / cv**2 if cv else None
    gain = np.ones(n_trials) if shape is None else rng.gamma(shape, 1 / shape, n_trials)
    spikes = rng.poisson(rate * gain[:, None, None], (n_trials, where.task.n_steps, N))
    return torch.from_numpy(spikes.astype(np.float64))


def test_the_fano_factor_of_a_population_grows_with_the_window_by_its_shared_gain():
    rng = np.random.default_rng(0)
    n_trials, n_steps, m, cv = 600, 400, 2.0, 0.3
    gain = rng.gamma(1 / cv**2, cv**2, (n_trials, 1))
    counts = rng.poisson(m * gain, (n_trials, n_steps)).astype(float)
    found = population_fano(counts, [1, 10, 100, 1000])
    assert list(found) == [1, 10, 100]
    for length, value in found.items():
        assert value == pytest.approx(1 + cv**2 * m * length, rel=0.15)
    independent = population_fano(rng.poisson(m, (n_trials, n_steps)).astype(float), [1, 100])
    assert list(independent.values()) == pytest.approx([1, 1], abs=0.1)
    assert np.isnan(population_fano(np.zeros((3, 10)), [5])[5])


def value(where, spikes, **options):
    options = {"windows_ms": (50.0,), "n_cells": 50} | options
    objective = SynchronySettings(**options).make(where)
    return objective(seen(spikes, np.zeros(len(spikes), int)))


def test_synchrony_is_the_squared_log_of_the_excess():
    rng = np.random.default_rng(1)
    where = setting()
    cv, n_cells, rate, ms = 0.5, 50, 0.03, 50
    spikes = shared_gain(rng, where, cv, n_trials=400, rate=rate)
    fano = 1 + cv**2 * n_cells * rate * ms
    for wanted in (2.0, 5.0):
        found = value(where, spikes, fano=(wanted,)).item()
        assert found == pytest.approx(np.log(fano / wanted) ** 2, rel=0.15)
    assert value(where, spikes, fano=(2 * fano,)).item() == 0
    below = value(where, spikes, fano=(2 * fano,), upper=False).item()
    assert below == pytest.approx(np.log(2) ** 2, rel=0.3)


def test_synchrony_is_taken_out_of_the_trials_that_have_more_than_their_share():
    rng = np.random.default_rng(2)
    where = setting()
    spikes = shared_gain(rng, where, 0.6).requires_grad_()
    value(where, spikes, fano=(1.5,)).backward()
    assert spikes.grad is not None
    on = where.task.evoked
    total = spikes.detach()[:, on].sum(dim=(1, 2))
    asked = spikes.grad[:, on, :].sum(dim=(1, 2))
    assert np.corrcoef(total, asked)[0, 1] > 0.9  # more spikes than others: fewer are asked for


@pytest.mark.parametrize(("options", "said"), [
    ({"fano": [1.0]}, "one for every length"),
    ({"windows_ms": [-5.0], "fano": [1.0]}, "above 0"),
    ({"windows_ms": [20.0], "fano": [-1.0]}, "above 0"),
])  # fmt: skip
def test_a_wrong_curve_is_explained(options, said):
    with pytest.raises(ConfigError, match=said):
        parse_settings(options, SynchronySettings, "experiment.toml")


def test_windows_and_cells_that_there_are_not_are_one_message():
    with pytest.raises(ConfigError, match="no counting window fits"):
        SynchronySettings(windows_ms=(5000.0,), fano=(2.0,)).make(setting())
    with pytest.raises(ConfigError, match="fewer excitatory cells"):
        SynchronySettings(n_cells=N_E + 1).make(setting())


def test_the_distance_of_weights_is_that_of_scipy_for_every_pair():
    rng = np.random.default_rng(3)
    pair = torch.from_numpy(rng.integers(0, 5, 400))
    built = torch.from_numpy(rng.lognormal(0, 1, 400))
    now = built[torch.from_numpy(rng.permutation(400))] * 1.3
    ordered = built[sorted_by_pair(built, pair)]
    found = distance_by_pair(now, ordered, pair, 5)
    for k in range(5):
        own = pair == k
        expected = wasserstein_distance(now[own], built[own]) / built[own].mean()
        assert found[k].item() == pytest.approx(expected)
    shuffled = built.clone()
    for k in range(5):
        own = torch.nonzero(pair == k)[:, 0]
        shuffled[own] = built[own[torch.from_numpy(rng.permutation(len(own)))]]
    assert distance_by_pair(shuffled, ordered, pair, 5).abs().max() < 1e-12


def test_weights_may_change_places_but_not_their_distribution():
    of = network()
    objective = WeightsSettings().make(setting(of=of))
    built = torch.from_numpy(of.edges["v1_to_v1"].weight)
    spikes, condition = torch.zeros(2, 10, N), [0, 0]

    def of_weights(weights):
        return objective(seen(spikes, condition, weights=weights)).item()

    assert of_weights(built) == 0
    assert of_weights(1.2 * built) == pytest.approx(0.2)  # of a mean weight, in every pair
    grown = (1.2 * built).requires_grad_()
    objective(seen(spikes, condition, weights=grown)).backward()
    assert (grown.grad * built.sign() > 0).all()  # all too strong
    with pytest.raises(ConfigError, match="did you mean 'v1_to_v1'"):
        WeightsSettings(edges=("v1_to_v2",)).make(setting())
