"""What a network does, whether two may be compared, and the background that is tuned for new cells."""

import copy
import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from handmade import make_network

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.ablations.rows import cell_points
from v1builder.experiments.background import SPIKES_MIN, calibrated, with_factors
from v1builder.experiments.matching import with_bias
from v1builder.experiments.operating_point import compared, judge, operating_point
from v1builder.experiments.operating_table import bench_of
from v1builder.experiments.probes import gray_inputs
from v1builder.inputs import input_sources
from v1builder.load import load_network
from v1builder.load.groups import group_cells
from v1builder.model import V1Network
from v1builder.schema.parameters import GLIF_UNITS
from v1builder.tasks import DirectionClassification, make_task

module = partial(V1Network, dt=1.0, trainable=[])
SIZES = {"large": 200, "other": 20, "small": 19}


def point(**changed):
    """A record of an intact network; a dict replaces entries of a dict."""
    record = {
        "spontaneous_Hz": 3.0,
        "evoked_Hz": 5.0,
        "population_Hz": {"large": 5.0, "other": 0.5, "small": 8.0},
        "silent_share": 0.10,
        "rate_cv": 0.8,
        "top10_share": 0.3,
        "bias_over_rheobase": dict.fromkeys(SIZES, 0.0),
        "asc_charge": {"large": -1000.0, "other": 20.0, "small": -50.0},
    }
    for name, value in changed.items():
        record[name] = record[name] | value if isinstance(value, dict) else value
    return record


def judged(*, keeps_charge=True, intact=None, **changed):
    return judge([point(**changed)], [intact or point()], SIZES, keeps_charge=keeps_charge)


INSIDE = [
    {"population_Hz": {"large": 5.49}},  # 10 % of 5
    {"population_Hz": {"large": 4.51}},
    {"population_Hz": {"other": 0.599}},  # 20 %, but less than .1 Hz
    {"population_Hz": {"other": 0.401}},
    {"silent_share": 0.129},
    {"silent_share": 0.071},
    {"rate_cv": 0.8 * 1.149},
    {"rate_cv": 0.8 * 0.851},
    {"bias_over_rheobase": {"large": 0.0499}},
    {"bias_over_rheobase": {"large": -0.0499}},
    {"asc_charge": {"large": -1009.9}},
    {"asc_charge": {"large": -990.1, "other": 20.19}},
    # A population below 20 cells may do anything.
    {"population_Hz": {"small": 80.0}, "bias_over_rheobase": {"small": 0.9},
     "asc_charge": {"small": 900.0}},
]  # fmt: skip
OUTSIDE = [
    ({"population_Hz": {"large": 5.51}}, "large 5.00 -> 5.51"),
    ({"population_Hz": {"large": 4.49}}, "large 5.00 -> 4.49"),
    ({"population_Hz": {"other": 0.601}}, "other 0.50 -> 0.60"),
    ({"population_Hz": {"other": 0.399}}, "other 0.50 -> 0.40"),
    ({"silent_share": 0.131}, "13.1% of the cells are silent, 10.0% in intact"),
    ({"silent_share": 0.069}, "6.9% of the cells are silent"),
    ({"rate_cv": 0.8 * 1.151}, "CV of 0.92, 0.80 in intact"),
    ({"rate_cv": 0.8 * 0.849}, "CV of 0.68"),
    ({"bias_over_rheobase": {"other": 0.0501}}, "above 5 % of rheobase: other 5.0%"),
    ({"bias_over_rheobase": {"large": -0.0501}}, "above 5 % of rheobase: large 5.0%"),
    ({"asc_charge": {"large": -1010.1}}, "charge of after-spike currents moved: large"),
    ({"asc_charge": {"other": 20.21}}, "charge of after-spike currents moved: other"),
]


@pytest.mark.parametrize("changed", INSIDE)
def test_just_inside_a_bar(changed):
    found = judged(**changed)
    assert (found.valid, found.reasons) == (True, ())


@pytest.mark.parametrize(("changed", "reason"), OUTSIDE)
def test_just_outside_a_bar(changed, reason):
    found = judged(**changed)
    assert not found.valid
    (said,) = found.reasons
    assert reason in said


def test_every_bar_has_its_own_reason():
    found = judged(
        population_Hz={"large": 9.0, "other": 9.0},
        silent_share=0.5,
        rate_cv=2.0,
        bias_over_rheobase={"large": 0.2},
        asc_charge={"large": 0.0},
    )
    assert len(found.reasons) == 5
    assert "large 5.00 -> 9.00, other 0.50 -> 9.00" in found.reasons[0]


def test_the_charge_is_no_bar_for_ablations_of_after_spike_currents():
    gone = {"asc_charge": dict.fromkeys(SIZES, 0.0)}
    assert not judged(**gone).valid
    assert judged(**gone, keeps_charge=False).valid
    # Without any in the intact network, none may appear.
    none = point(**gone)
    assert judged(**gone, intact=none).valid
    assert not judged(asc_charge={"large": 0.1, "other": 0.0}, intact=none).valid
    for text, keeps in {
        "no_asc": False, "mean(population)": True, "mean(ei)": False, "shuffle_within": True,
        "mean(population) | no_asc": False, "archetype(population)": False,
    }.items():  # fmt: skip
        assert parse_ablation(text).keeps_charge == keeps, text


def test_seeds_are_judged_together():
    """One seed 12 % up and one 12 % down are no shift; biases of opposite sign do not cancel."""
    intact = [point(), point()]
    rates = [point(population_Hz={"large": 5.6}), point(population_Hz={"large": 4.4})]
    assert judge(rates, intact, SIZES, keeps_charge=True).valid
    assert not judge(rates[:1], intact[:1], SIZES, keeps_charge=True).valid
    bias = [point(bias_over_rheobase={"large": x}) for x in (0.08, -0.08)]
    assert not judge(bias, intact, SIZES, keeps_charge=True).valid


def test_silent_networks_are_compared_without_a_spread():
    silent = point(population_Hz=dict.fromkeys(SIZES, 0.0), silent_share=1.0, rate_cv=None)
    assert judged(**silent, intact=copy.deepcopy(silent)).valid
    found = judged(**silent)
    assert len(found.reasons) == 2  # rates and silence; no spread to compare
    assert not any("CV" in reason for reason in found.reasons)


# --- Measured ------------------------------------------------------------------------------------


def large_network():
    """`make_network` with 30 of every cell: populations of 90 to 240 cells."""
    network = make_network()
    cells, n, times = network.cells, network.n_cells, 30
    like = np.tile(np.arange(n), times)
    cells = dataclasses.replace(
        cells,
        node_id=np.arange(n * times),
        node_type_id=cells.node_type_id[like],
        attributes={name: values[like] for name, values in cells.attributes.items()},
    )
    membrane, receptors = (
        dataclasses.replace(table, group_of=table.group_of[like])
        for table in (network.membrane, network.receptors)
    )
    return dataclasses.replace(
        network, nodes={"v1": cells}, edges={}, membrane=membrane, receptors=receptors,
        bias_current=np.zeros(n * times),
    )  # fmt: skip


def test_the_record_by_hand():
    network = large_network()
    population = network.cells.attributes["pop_name"]
    rng = np.random.default_rng(0)
    rates = rng.gamma(2.0, 3.0, (network.n_cells, 2))
    rates[rng.random(network.n_cells) < 0.1] = 0.0
    found = operating_point(network, rates)
    both = rates.mean(axis=1)
    assert found.spontaneous_Hz == pytest.approx(rates[:, 0].mean())
    assert found.evoked_Hz == pytest.approx(rates[:, 1].mean())
    assert found.silent_share == (both == 0).mean()
    top = sorted(both)[-round(0.1 * len(both)) :]
    assert found.top10_share == pytest.approx(sum(top) / both.sum())
    cv, weight = 0.0, 0
    for name in np.unique(population):
        own = both[population == name]
        assert found.population_Hz[name] == pytest.approx(own.mean())
        cv, weight = cv + len(own) * own.std() / own.mean(), weight + len(own)
        amps, rate = (
            network.membrane.per_cell(k)[population == name] for k in ("asc_amps", "asc_decay")
        )
        assert found.asc_charge[name] == pytest.approx((amps / rate).sum(axis=1).mean())
    assert found.rate_cv == pytest.approx(cv / weight)


def test_small_and_silent_populations_have_no_spread():
    small = make_network()  # none has 20 cells
    assert operating_point(small, np.ones((small.n_cells, 2))).rate_cv is None
    large = large_network()
    silent = operating_point(large, np.zeros((large.n_cells, 2)))
    assert (silent.rate_cv, silent.top10_share, silent.silent_share) == (None, None, 1.0)
    assert compared(silent.record(), silent.record())["rate_ratio"] == dict.fromkeys(
        silent.population_Hz
    )


def test_ratios_are_to_the_intact_network():
    own = {"population_Hz": {"large": 6.0, "other": 0.25, "small": 8.0}}
    assert compared(point(**own), point())["rate_ratio"] == {
        "large": 1.2, "other": 0.5, "small": 1.0
    }  # fmt: skip


def test_only_currents_of_matching_are_bias():
    """asc_mean_current adds a current too, as what it ablates to."""
    network = large_network()
    rates = np.ones((network.n_cells, 2))
    groups = group_cells(network.cells, "population")
    added = dataclasses.replace(network, bias_current=network.bias_current - 30.0)
    assert set(operating_point(added, rates).bias_over_rheobase.values()) == {0.0}
    bias = np.array([3.0, -4.0, 0.0, 10.0])
    twice = with_bias(with_bias(added, bias), bias / 2)
    found = operating_point(twice, rates).bias_over_rheobase
    values = {name: network.membrane.per_cell(name) for name in ("g", "V_th", "E_L")}
    scale = values["g"] * (values["V_th"] - values["E_L"])
    for group, name in enumerate(groups.labels):
        expected = 1.5 * bias[group] / scale[groups.of_cell == group].mean()
        assert found[name] == pytest.approx(expected)


# --- Background -----------------------------------------------------------------------------------

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
    assert record["tuned_models"] == len(groups)
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
    assert tuned.excess.any()
    spared = untouched(network, ablated) & ~untouched(network, raw)
    # All spared cells are as they were, and so is one that has no other left to differ from.
    assert 0 < record["spared_share"] <= spared.mean() < 0.25
    assert record["cells_out_of_reach"] < tuned.record["cells_out_of_reach"]
    # With noise of another seed they fire as they did, which without sparing they do not.
    chosen = spared & tuned.excess
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


def test_only_doses_above_one_spare_cells():
    for text, extrapolates in {
        DOSE: True,
        "dose(1.2, class, cells=v1)": True,
        "dose(1.5, population) | er_global": True,
        "dose(1, population)": False,
        "mean(population)": False,
        "gaussian_matched(log)": False,
    }.items():
        assert parse_ablation(text).extrapolates == extrapolates, text


def test_a_condition_that_spares_many_cells_is_not_what_it_says():
    assert judged(spared_share=0.099).valid
    found = judged(spared_share=0.101)
    assert found.reasons == ("10.1% of the cells were spared",)
