"""Shapley values of planted outcomes, and the networks they are made of."""

import dataclasses
import itertools

import numpy as np
import pytest
from handmade import make_foreign, make_network

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.ablations.coalition import PARTS, Coalition
from v1builder.experiments.shapley import coalitions, orders, shapley_values
from v1builder.load.coordinates import ASPECTS
from v1builder.schema.errors import ConfigError

ORDERS, SEED = 6, 3


def kept(name):
    """The parts of a coalition by its name."""
    return set(PARTS) if name == "intact" else set(parse_ablation(name).kept)


def planted(outcome, n_orders=ORDERS):
    """Outcomes of all coalitions by a function of the parts that are kept."""
    return {name: outcome(kept(name)) for name in coalitions(n_orders, SEED)}


def test_an_additive_outcome_gives_back_what_was_planted():
    """Whatever the orders: every part enters with the same gain each time."""
    rng = np.random.default_rng(0)
    gain = {part: rng.normal(0, 0.03, 5) for part in PARTS}  # of five seeds
    base = rng.normal(0.7, 0.05, 5)
    outcomes = planted(lambda parts: base + sum(gain[part] for part in parts))
    values = shapley_values(outcomes, ORDERS, SEED)
    assert [value.part for value in values] == list(PARTS)
    for value in values:
        np.testing.assert_allclose(value.per_seed, gain[value.part], atol=1e-12)
        assert value.mean == pytest.approx(gain[value.part].mean())
        half = (
            2.7764451 * gain[value.part].std(ddof=1) / np.sqrt(5)
        )  # t_.975 of 4 degrees of freedom
        assert (value.t_high - value.t_low) / 2 == pytest.approx(half)
        assert value.low <= value.mean <= value.high


def test_values_add_up_to_what_all_parts_do_whatever_the_outcome():
    """Efficiency: a sum that telescopes in every order, interactions or not."""
    rng = np.random.default_rng(1)
    noise = {}

    def outcome(parts):
        return noise.setdefault(frozenset(parts), rng.normal(0.6, 0.1, 3))

    outcomes = planted(outcome)
    values = shapley_values(outcomes, ORDERS, SEED)
    total = sum(np.array(value.per_seed) for value in values)
    np.testing.assert_allclose(total, outcomes["intact"] - outcomes["coalition(none)"])


def test_a_part_without_effect_has_no_value_and_an_interaction_is_shared():
    """Two parts that only do something together: half of it each, exactly, as orders come with reverses."""
    first, second = "threshold.within", "tau_m.between"
    outcomes = planted(lambda parts: np.array([0.2 * ({first, second} <= parts)]))
    values = {value.part: value.mean for value in shapley_values(outcomes, ORDERS, SEED)}
    assert values.pop(first) == pytest.approx(0.1)
    assert values.pop(second) == pytest.approx(0.1)
    assert not any(values.values())


def test_orders_are_permutations_followed_by_their_reverse():
    found = orders(4, SEED)
    assert len(found) == 4
    assert all(sorted(order) == sorted(PARTS) for order in found)
    assert found[1] == found[0][::-1]
    assert found[3] == found[2][::-1]
    assert found[0] != found[2]
    assert orders(3, SEED) == found[:3]
    assert orders(4, SEED + 1) != found


def test_names_of_coalitions_parse_back_and_are_needed_once():
    names = coalitions(ORDERS, SEED)
    assert names[0] == "intact"
    assert "coalition(none)" in names
    assert len(set(names)) == len(names)
    # The two ends are shared by all orders, and a set of parts is one coalition however it was reached.
    assert len(names) <= 2 + ORDERS * (len(PARTS) - 1)
    assert len({frozenset(kept(name)) for name in names}) == len(names)
    for name in names[1:]:
        assert parse_ablation(name).name == name
    steps = [order[:n] for order in orders(ORDERS, SEED) for n in range(len(PARTS) + 1)]
    assert {frozenset(step) for step in steps} == {frozenset(kept(name)) for name in names}


def test_a_missing_outcome_is_named():
    outcomes = planted(lambda parts: np.array([len(parts)]))
    gone = coalitions(ORDERS, SEED)[3]
    del outcomes[gone]
    with pytest.raises(ConfigError) as error:
        shapley_values(outcomes, ORDERS, SEED)
    assert gone in str(error.value)


@pytest.mark.parametrize("make", [make_network, make_foreign])
def test_all_parts_are_the_intact_network_none_is_the_mean_of_signs(make):
    network = make()
    whole = Coalition(" + ".join(PARTS))(network)
    bare, mean = Coalition("none")(network), parse_ablation("mean(ei)")(network)
    for ablated, expected in ((whole, network), (bare, mean)):
        for name in network.membrane.values:
            own, other = (
                one.membrane.per_cell(name)
                - (one.membrane.per_cell("E_L") if name in ("V_th", "V_reset") else 0)
                for one in (ablated, expected)
            )
            if name == "E_L":  # no aspect: it stays
                own, other = ablated.membrane.per_cell(name), network.membrane.per_cell(name)
            np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-9, err_msg=name)
        for name in network.edges:
            np.testing.assert_allclose(
                ablated.edges[name].weight, expected.edges[name].weight, rtol=1e-9
            )


def test_a_part_changes_its_own_aspect_only():
    """within: differences inside populations, whose mean stays; between: only the means of populations."""
    network = make_network()
    sign, population = (network.cells.attributes[k] for k in ("ei", "pop_name"))
    g = np.log(network.membrane.per_cell("g"))
    of_sign = {s: g[sign == s].mean() for s in "ei"}
    of_population = {p: g[population == p].mean() for p in np.unique(population)}
    m_s = np.array([of_sign[s] for s in sign])
    m_p = np.array([of_population[p] for p in population])
    expected = {
        "conductance.within": m_s + g - m_p,
        "conductance.between": m_p,
        "conductance.within + conductance.between": g,
        "tau_m.within": m_s,
    }
    for parts, value in expected.items():
        ablated = Coalition(parts)(network)
        np.testing.assert_allclose(np.log(ablated.membrane.per_cell("g")), value, atol=1e-12)


def test_every_aspect_has_two_parts():
    assert list(PARTS) == [f"{a}.{w}" for a, w in itertools.product(ASPECTS, ("within", "between"))]
    with pytest.raises(ConfigError, match=r"did you mean 'tau_m\.within'"):
        parse_ablation("coalition(tau_m.withn)")
    assert dataclasses.asdict(Coalition("threshold.within + tau_m.within")) == {
        "parts": "tau_m.within + threshold.within"
    }
