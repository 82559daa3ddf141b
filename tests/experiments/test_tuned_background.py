"""The background that is tuned for new cells, and cells that no background holds."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from handmade import make_network

from v1builder.experiments import background
from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.ablations.rows import cell_points
from v1builder.experiments.background import SPIKES_MIN, calibrated, overdriven, with_factors
from v1builder.experiments.operating_table import bench_of
from v1builder.experiments.probes import gray_inputs
from v1builder.inputs import input_sources
from v1builder.load import load_network
from v1builder.load.groups import group_cells
from v1builder.load.network import GroupedValues
from v1builder.model import V1Network
from v1builder.schema.parameters import GLIF_UNITS
from v1builder.tasks import DirectionClassification, make_task

module = partial(V1Network, dt=1.0, trainable=[])

SECONDS = 12.0


@pytest.fixture(scope="module")
def column(small_column):
    """A built column, and gray input of two seeds: one to tune with, one to test with."""
    network = load_network(small_column)
    task = make_task(DirectionClassification(), input_sources(network, dt=1.0), dt=1.0)
    return network, gray_inputs(task, SECONDS, 1, 1.0), gray_inputs(task, SECONDS, 2, 1.0)


def renamed(network):
    """The network with the same cell models under other names, which count as new."""
    membrane = network.membrane
    labels = tuple(f"{label}, new" for label in membrane.labels)
    return dataclasses.replace(network, membrane=dataclasses.replace(membrane, labels=labels))


@torch.no_grad()
def spikes(network, gray):
    """[n_cells] in front of a gray screen."""
    return module(network)(dict(gray)).spikes.sum(dim=(0, 1)).numpy()


def by_population(network, counts):
    groups = group_cells(network.cells, "population")
    return np.bincount(groups.of_cell, counts), groups


def test_mean_cells_fire_as_the_cells_they_replace_once_tuned(column):
    network, gray, other = column
    wanted = spikes(network, gray)
    ablated = parse_ablation("mean(population)")(network)
    found = calibrated(ablated, network, gray, model=module)
    tuned, record = found.network, found.record
    target, groups = by_population(network, wanted)
    before = by_population(network, spikes(ablated, gray))[0]
    after = by_population(network, spikes(tuned, gray))[0]
    counted = target >= 10 * SPIKES_MIN
    assert counted.sum() >= 8
    error = np.sqrt(target[counted])
    off = (before - target)[counted] / error
    left = (after - target)[counted] / error
    assert np.abs(left).max() < 2.0
    assert np.sqrt((left**2).mean()) < 1.0
    assert np.abs(off).max() > 5.0
    assert np.sqrt((off**2).mean()) > 3.0
    # With noise that it was not tuned with, the difference is that of two counts.
    fresh = by_population(network, spikes(network, other))[0]
    found = by_population(network, spikes(tuned, other))[0]
    again = (found - fresh)[counted] / np.sqrt(2 * fresh[counted])
    assert np.sqrt((again**2).mean()) < 2.0
    # The mean of a population of one model is that model.
    rows = [np.unique(network.membrane.group_of[groups.of_cell == k]) for k in range(len(groups))]
    assert record["tuned_models"] == sum(len(models) > 1 for models in rows)
    assert record["median_factor"].keys() == set(groups.labels)
    # Nothing but weights of the background differs.
    for name, edges in tuned.edges.items():
        assert (edges is ablated.edges[name]) == (name != "bkg_to_v1")
    assert tuned.membrane is ablated.membrane


def test_a_network_with_its_own_membranes_is_not_touched(column):
    network, gray, _ = column
    for text in ("intact", "weights_shuffle", "shuffle_within", "no_asc"):
        ablated = parse_ablation(text)(network, seed=1)
        found = calibrated(ablated, network, gray, model=module)
        tuned, record = found.network, found.record
        if text == "no_asc":
            assert record["tuned_models"] > 50
        else:
            assert tuned is ablated
            assert record == {"tuned_models": 0}


def test_a_network_without_background_is_not_tuned():
    network = make_network()
    ablated = parse_ablation("mean(population)")(network)
    found = calibrated(ablated, network, {}, model=module)
    tuned, record = found.network, found.record
    assert tuned is ablated
    assert record == {"tuned_models": 0}


def test_what_was_planted_is_found_again(column):
    """The background doubled behind the tuning's back: half of it is what the cells need."""
    network, gray, _ = column
    same = renamed(network)
    doubled = with_factors(same, np.full(network.n_cells, 2.0))
    found = calibrated(doubled, network, gray, model=module)
    tuned, record = found.network, found.record
    ratio = tuned.edges["bkg_to_v1"].weight / network.edges["bkg_to_v1"].weight
    heard = spikes(network, gray)[network.edges["bkg_to_v1"].target_index] > 0
    # Counts are whole numbers, so a range of factors gives the same.
    assert np.median(np.abs(ratio[heard] - 1)) < 0.02
    assert np.median(list(record["median_factor"].values())) == pytest.approx(0.5, abs=0.01)
    target, _ = by_population(network, spikes(network, gray))
    assert np.abs(by_population(network, spikes(tuned, gray))[0] - target).max() <= np.sqrt(
        target.max()
    )


def test_a_network_as_it_was_keeps_its_background_to_the_last_digit(column):
    network, gray, _ = column
    same = renamed(network)
    found = calibrated(same, network, gray, model=module)
    tuned, record = found.network, found.record
    np.testing.assert_array_equal(tuned.edges["bkg_to_v1"].weight, same.edges["bkg_to_v1"].weight)
    assert set(record["median_factor"].values()) == {1.0}


def test_shuffled_cells_bring_their_background_along(column):
    """Negative control: no model is new, so nothing is tuned; were they new, there would be little to do."""
    network, gray, _ = column
    ablated = parse_ablation("shuffle_within")(network, seed=1)
    found = calibrated(ablated, network, gray, model=module)
    tuned, record = found.network, found.record
    assert tuned is ablated
    assert record == {"tuned_models": 0}
    record = calibrated(renamed(ablated), network, gray, model=module).record
    groups = group_cells(network.cells, "population")
    sizes = dict(zip(groups.labels, groups.sizes, strict=True))
    large = {name: f for name, f in record["median_factor"].items() if sizes[name] >= 20}
    assert len(large) == 6
    # Up to .10 in one of some 30 cells, by who sits in front of which LGN units; nothing overall.
    assert all(abs(factor - 1) < 0.2 for factor in large.values()), large
    share = [sizes[name] for name in large]
    assert np.average(list(large.values()), weights=share) == pytest.approx(1.0, abs=0.05)
    assert record["cells_out_of_reach"] < 0.1 * network.n_cells


# --- Cells that no background could hold ------------------------------------------------------------

DOSE = "dose(2, population)"


@pytest.fixture(scope="module")
def dosed(column):
    """Twice the diversity: (intact, dosed as it is, dosed with cells spared, record)."""
    network, _, _ = column
    bench = bench_of(network, n_trials=2, calibration_seconds=6.0)
    spared, record = bench.ablated(bench.start(network), parse_ablation(DOSE))
    return network, parse_ablation(DOSE)(network), spared, record["calibration"]


def untouched(network, ablated):
    """[n_cells] whether a cell has the parameters that it had."""
    pairs = ((network.membrane.per_cell(n), ablated.membrane.per_cell(n)) for n in GLIF_UNITS)
    return np.all([np.isclose(a, b).reshape(network.n_cells, -1).all(1) for a, b in pairs], axis=0)


def test_extrapolated_cells_that_no_background_holds_are_spared(column, dosed):
    network, raw, ablated, record = dosed
    _, gray, other = column
    tuned = calibrated(raw, network, gray, model=module)
    excess = overdriven(raw, network, gray, model=module)
    assert excess.any()
    spared = untouched(network, ablated) & ~untouched(network, raw)
    # All spared cells are as they were, and so is one that has no other left to differ from.
    assert 0 < record["spared_share"] <= spared.mean() < 0.25
    assert record["cells_out_of_reach"] < tuned.record["cells_out_of_reach"]
    # With noise of another seed they fire as they did, which without sparing they do not.
    chosen = spared & excess
    wanted, with_them, without = (
        spikes(n.without_recurrence(), other)[chosen].sum()
        for n in (network, tuned.network, ablated)
    )
    assert with_them > 1.5 * wanted
    assert without == pytest.approx(wanted, rel=0.1)


def test_the_others_are_dosed_around_a_mean_that_stays(dosed):
    network, raw, ablated, _ = dosed
    theta, space = cell_points(network)
    new, _ = cell_points(ablated)
    linear = ~space.logarithmic & space.of(("asc_charge",))
    free = space.of(("tau_m", "g", "V_th")) | linear
    spared = untouched(network, ablated) & ~untouched(network, raw)
    groups = group_cells(network.cells, "population").of_cell
    for group in np.unique(groups):
        others = (groups == group) & ~spared
        if others.any():
            mean = theta[others].mean(axis=0)
            doubled = mean + 2 * (theta[others] - mean)
            np.testing.assert_allclose(new[others][:, free], doubled[:, free], rtol=1e-6, atol=1e-6)


def test_only_cells_that_were_never_recorded_are_spared():
    for text, extrapolates in {
        DOSE: True,
        "dose(1.2, class, cells=v1)": True,
        "dose(1.5, population) | er_global": True,
        "shuffle_independent": True,
        "gaussian_matched(log)": True,
        "dose(1, population)": False,
        "mean(population)": False,
        "shuffle_within": False,
    }.items():
        assert parse_ablation(text).extrapolates == extrapolates, text


@pytest.mark.parametrize("text", ["shuffle_independent", "gaussian_matched(log)"])
def test_the_others_are_drawn_like_themselves(column, text):
    network, _, _ = column
    spared = np.random.default_rng(1).random(network.n_cells) < 0.1
    raw, ablated = (parse_ablation(text)(network, seed=1, spared=s) for s in (None, spared))
    before, space = cell_points(network)
    found, again = cell_points(ablated)[0], cell_points(raw)[0]
    np.testing.assert_allclose(found[spared], before[spared], rtol=1e-6, atol=1e-6)
    groups = group_cells(network.cells, "population").of_cell
    free = space.of(("tau_m", "g", "V_th"))
    for group in np.unique(groups):
        others = (groups == group) & ~spared
        if others.sum() < 2:
            continue
        old, new = before[others][:, free], found[others][:, free]
        if text == "shuffle_independent":
            np.testing.assert_allclose(np.sort(new, axis=0), np.sort(old, axis=0), rtol=1e-6)
        else:
            np.testing.assert_allclose(new.mean(0), old.mean(0), rtol=1e-5)
            np.testing.assert_allclose(np.cov(new.T), np.cov(old.T), rtol=1e-4, atol=1e-6)
    # Sparing some moves the others little: what was found of them still holds.
    same = np.corrcoef(found[~spared][:, free][:, 0], again[~spared][:, free][:, 0])[0, 1]
    assert same > 0.8


def with_asc(network, cell, charge):
    """One cell with after-spike currents of the given charge, as a part of what the next spike needs."""
    membrane = network.membrane
    values = {name: membrane.per_cell(name).copy() for name in membrane.values}
    rates = values["asc_decay"][cell]
    needed = values["C_m"][cell] * (values["V_th"] - values["V_reset"])[cell]
    values["asc_amps"][cell] = charge * needed / len(rates) * rates
    labels = tuple(f"{i}" for i in range(network.n_cells))
    membrane = GroupedValues(values, np.arange(network.n_cells), labels)
    return dataclasses.replace(network, membrane=membrane)


def test_cells_that_excite_themselves_are_no_cells(column):
    network, gray, _ = column
    cell = int(np.flatnonzero(network.cells.attributes["pop_name"] == "e23Cux2")[0])
    kept = np.arange(network.n_cells) != cell
    found = [
        overdriven(with_asc(network, cell, charge), network, gray, model=module)
        for charge in (0.49, 0.51)
    ]
    assert (found[0][cell], found[1][cell]) == (False, True)
    np.testing.assert_array_equal(found[0][kept], found[1][kept])


# --- Cells that are a model of their own ------------------------------------------------------------


def test_single_cells_are_tuned_one_by_one(column):
    """Factors planted in every cell, none like another, are found again: one for all would leave them in."""
    network, gray, _ = column
    single = with_asc(network, 0, -0.1)
    planted = np.exp(np.random.default_rng(1).uniform(-0.4, 0.4, network.n_cells))
    gray = {name: trials[:6] for name, trials in gray.items()}
    tuned = calibrated(with_factors(single, planted), network, gray, model=module).network
    left = np.ones(network.n_cells)
    edges = network.edges["bkg_to_v1"]
    left[edges.target_index] = tuned.edges["bkg_to_v1"].weight / edges.weight
    heard = spikes(network, gray) >= 3
    assert heard.sum() > 200
    assert np.median(np.abs(np.log(planted[heard]))) > 0.15
    assert np.median(np.abs(np.log(left[heard]))) < 0.03


@pytest.mark.slow
def test_cells_drawn_anew_leave_the_operating_point_where_it_is(column, monkeypatch):
    """Silent cells and spread of rates, beside those of one factor for all of a population."""
    network, _, _ = column
    bench = bench_of(network, n_trials=8, calibration_seconds=8.0)
    start = bench.start(network)

    def changed():
        ablated, _ = bench.ablated(start, parse_ablation("shuffle_independent"))
        found = bench.point(ablated, start)
        return [found[name] - start.point[name] for name in ("silent_share", "rate_cv")]

    silent, spread = changed()
    assert abs(silent) < 0.05
    monkeypatch.setattr(background, "SPIKES_MIN", np.inf)
    monkeypatch.setattr(background, "_PLACES", 1)
    silent_before, spread_before = changed()
    assert silent_before > 2 * silent
    assert spread_before > 3 * spread
