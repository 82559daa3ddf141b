"""What a network does, whether two may be compared, and the background that is tuned for new cells."""

import copy
import dataclasses
from functools import partial

import numpy as np
import pytest
from handmade import make_network

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.matching import with_bias
from v1builder.experiments.operating_point import compared, judge, operating_point
from v1builder.load.groups import group_cells
from v1builder.model import V1Network

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


def test_a_condition_that_spares_many_cells_is_not_what_it_says():
    assert judged(spared_share=0.099).valid
    found = judged(spared_share=0.101)
    assert found.reasons == ("10.1% of the cells were spared",)
