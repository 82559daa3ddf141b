import copy
import dataclasses
import json

import numpy as np
import pytest
from handmade import (
    every_ablation,
    make_network,
    repeated,
    some_activity,
    with_background,
    with_plasticity,
)
from scipy import stats

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.history import SpikeHistory
from v1builder.load.carrying import background_ratio
from v1builder.load.coordinates import ASPECTS
from v1builder.load.groups import LEVELS, group_cells
from v1builder.load.network import GroupedValues
from v1builder.load.psp import unit_psp
from v1builder.schema.errors import ConfigError, NetworkError
from v1builder.schema.parameters import THRESHOLD_PARAMETERS

PARAMETERS = ("C_m", "g", "E_L", "V_th", "V_reset", "t_ref", "asc_amps", "asc_decay", "asc_r")


def per_cell(network):
    return {name: network.membrane.per_cell(name) for name in PARAMETERS}


def features(network):
    """Independent of the implementation: one cell per row, in the space where means are taken."""
    v = per_cell(network)
    distance = v["V_th"] - v["E_L"]
    return np.column_stack(
        [
            np.log(v["C_m"] / v["g"]),
            np.log(v["g"]),
            np.log(distance),
            (v["V_reset"] - v["E_L"]) / distance,
            v["t_ref"],
            np.log(v["asc_decay"]),
            v["asc_amps"] / v["asc_decay"],
            v["asc_r"],
            v["E_L"],
        ]
    )


#: Columns of `features` that an aspect averages.
COLUMNS = {
    "tau_m": [0],
    "conductance": [1],
    "threshold": [2],
    "reset": [3],
    "t_ref": [4],
    "asc_rate": [5, 6],
    "asc_charge": [7, 8, 9, 10],
    "background": [],
}


def assert_same_cells(a, b):
    for name in PARAMETERS:
        np.testing.assert_allclose(a.membrane.per_cell(name), b.membrane.per_cell(name), rtol=1e-12)


@pytest.mark.parametrize("name", list(every_ablation()))
def test_the_original_is_untouched_and_the_record_is_json(network, name):
    network = with_background(with_plasticity(network))
    before = copy.deepcopy(network)
    ablated = parse_ablation(name)(network, seed=3, activity=some_activity(network))
    for attribute in ("membrane", "receptors"):
        for key, array in getattr(before, attribute).values.items():
            np.testing.assert_array_equal(getattr(network, attribute).values[key], array)
    np.testing.assert_array_equal(network.membrane.group_of, before.membrane.group_of)
    np.testing.assert_array_equal(network.bias_current, before.bias_current)
    for key, edges in before.edges.items():
        for field in ("weight", "delay", "source_index", "target_index", "receptor"):
            np.testing.assert_array_equal(getattr(network.edges[key], field), getattr(edges, field))
    for key, values in before.edges["v1_to_v1"].plasticity.values.items():
        np.testing.assert_array_equal(network.edges["v1_to_v1"].plasticity.values[key], values)
    assert network.provenance == {"seed": 0}
    (record,) = json.loads(json.dumps(ablated.provenance["ablations"], allow_nan=False))
    assert record["name"] == name
    assert ("seed" in record) == parse_ablation(name).is_random
    assert len(ablated.membrane.labels) == len(ablated.membrane.values["C_m"])


@pytest.mark.parametrize("level", LEVELS)
def test_mean_keeps_group_means_and_leaves_one_row_per_group(network, level):
    ablated = parse_ablation(f"mean({level})")(network)
    groups = group_cells(network.cells, level)
    assert ablated.membrane.labels == groups.labels
    assert ablated.membrane.values["C_m"].shape == (len(groups),)
    assert ablated.membrane.values["asc_amps"].shape == (len(groups), 2)
    before, after = features(network), features(ablated)
    for group in range(len(groups)):
        members = groups.of_cell == group
        np.testing.assert_allclose(
            after[members],
            np.broadcast_to(before[members].mean(axis=0), after[members].shape),
            atol=1e-12,
        )


def test_mean_by_hand(network):
    """e23Cux2 has 5 cells of model 0 and 3 of model 1."""
    v = network.membrane.values
    ablated = parse_ablation("mean(population)")(network).membrane
    row = ablated.labels.index("e23Cux2")
    assert ablated.values["C_m"][row] == pytest.approx(
        (v["C_m"][0] ** 5 * v["C_m"][1] ** 3) ** (1 / 8)
    )
    assert ablated.values["t_ref"][row] == pytest.approx(
        (5 * v["t_ref"][0] + 3 * v["t_ref"][1]) / 8
    )
    gap = v["V_th"] - v["E_L"]
    got = ablated.values["V_th"][row] - ablated.values["E_L"][row]
    assert got == pytest.approx((gap[0] ** 5 * gap[1] ** 3) ** (1 / 8))
    amps = v["asc_amps"]
    rate = v["asc_decay"]
    charge = (5 * amps[0] / rate[0] + 3 * amps[1] / rate[1]) / 8
    mean_rate = (rate[0] ** 5 * rate[1] ** 3) ** (1 / 8)
    np.testing.assert_allclose(ablated.values["asc_decay"][row], mean_rate)
    np.testing.assert_allclose(ablated.values["asc_amps"][row], charge * mean_rate)
    reset = (v["V_reset"] - v["E_L"]) / gap
    relative = (5 * reset[0] + 3 * reset[1]) / 8
    assert ablated.values["V_reset"][row] - ablated.values["E_L"][row] == pytest.approx(
        relative * got
    )


@pytest.mark.parametrize("level", LEVELS)
def test_dose_one_is_intact_and_dose_zero_is_the_mean(network, level):
    assert_same_cells(parse_ablation(f"dose(1, {level})")(network), network)
    mean = parse_ablation(f"mean({level})")(network)
    assert_same_cells(parse_ablation(f"dose(0, {level})")(network), mean)
    assert_same_cells(parse_ablation("intact")(network), network)


def test_dose_scales_the_deviations_linearly(network):
    full = features(network) - features(parse_ablation("mean(ei)")(network))
    half = features(parse_ablation("dose(0.5, ei)")(network)) - features(
        parse_ablation("mean(ei)")(network)
    )
    np.testing.assert_allclose(half, 0.5 * full, atol=1e-12)
    assert np.abs(full).max() > 1


def test_dose_beyond_the_physical_range_is_clipped_and_counted(network):
    v = network.membrane.values
    v["t_ref"][:] = [0.2, 9, 3, 3, 3, 3, 3]
    reset = np.array([0.99, 0.2, 0.5, 0.5, 0.5, 0.5, 0.5])
    v["V_reset"][:] = v["E_L"] + reset * (v["V_th"] - v["E_L"])
    ablated = parse_ablation("dose(2, population)")(network)
    # Population mean of t_ref is 3.5 -> model 0 (5 cells) would get 0.2 - 3.3 < 0.
    assert ablated.provenance["ablations"][0]["clipped_cells"] == {"t_ref": 5, "V_reset": 5}
    assert (ablated.membrane.per_cell("t_ref") > 0).all()
    assert (ablated.membrane.per_cell("V_reset") < ablated.membrane.per_cell("V_th")).all()
    assert (
        parse_ablation("dose(1, population)")(network).provenance["ablations"][0]["clipped_cells"]
        == {}
    )


def test_within_only_removes_differences_between_groups_and_nothing_else(network):
    before = features(network)
    after = features(parse_ablation("within_only(population)")(network))
    groups = group_cells(network.cells, "population")
    for group in range(len(groups)):
        members = groups.of_cell == group
        np.testing.assert_allclose(after[members].mean(axis=0), before.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(np.cov(after[members].T), np.cov(before[members].T), atol=1e-9)


def test_archetype_is_the_medoid(network):
    ablated = parse_ablation("archetype(ei)")(network)
    before, after = features(network)[:, :-1], features(ablated)
    spread = before.std(axis=0)
    scaled = before[:, spread > 1e-9] / spread[spread > 1e-9]
    groups = group_cells(network.cells, "ei")
    for group in range(len(groups)):
        members = np.flatnonzero(groups.of_cell == group)
        distance = np.linalg.norm(scaled[members][:, None] - scaled[members][None], axis=-1)
        medoid = members[np.argmin(distance.sum(axis=0))]
        np.testing.assert_allclose(
            after[members],
            np.broadcast_to(features(network)[medoid], after[members].shape),
            rtol=1e-9,
            atol=1e-9,
        )
        label = ablated.provenance["ablations"][0]["archetypes"][groups.labels[group]]
        assert label == network.membrane.labels[network.membrane.group_of[medoid]]


@pytest.mark.parametrize("aspect", ASPECTS)
def test_only_and_all_but_average_complementary_aspects(network, aspect):
    network = with_background(network)

    def of(name):
        ablated = parse_ablation(name)(network)
        return np.column_stack([features(ablated), background_ratio(ablated)])

    mean = of("mean(ei)")
    only, but = of(f"only({aspect}, ei)"), of(f"all_but({aspect}, ei)")
    intact = np.column_stack([features(network), background_ratio(network)])
    E_L = features(network).shape[1] - 1
    averaged = COLUMNS[aspect] if aspect != "background" else [E_L + 1]
    for column in range(intact.shape[1]):
        if column == E_L:
            continue
        changed, kept = (only, but) if column in averaged else (but, only)
        np.testing.assert_allclose(changed[:, column], mean[:, column], atol=1e-9)
        np.testing.assert_allclose(kept[:, column], intact[:, column], atol=1e-9)
    np.testing.assert_allclose(only[:, E_L], intact[:, E_L])


def sorted_rows(matrix):
    return matrix[np.lexsort(matrix.T)]


def test_shuffle_within_keeps_the_cells_of_each_population():
    network = make_network()
    ablated = parse_ablation("shuffle_within")(network, seed=1)
    before, after = features(network), features(ablated)
    assert not np.array_equal(before, after)
    pop = network.cells.attributes["pop_name"]
    for name in np.unique(pop):
        np.testing.assert_array_equal(
            sorted_rows(before[pop == name]), sorted_rows(after[pop == name])
        )


def test_shuffle_across_crosses_populations_but_never_signs(network):
    ablated = parse_ablation("shuffle_across")(network, seed=1)
    before, after = features(network), features(ablated)
    pop, ei = network.cells.attributes["pop_name"], network.cells.attributes["ei"]
    for sign in "ei":
        np.testing.assert_array_equal(
            sorted_rows(before[ei == sign]), sorted_rows(after[ei == sign])
        )
    assert any(
        not np.array_equal(sorted_rows(before[pop == p]), sorted_rows(after[pop == p]))
        for p in np.unique(pop)
    )


def test_shuffle_independent_keeps_marginals_only(network):
    network.cells.attributes["pop_name"] = np.full(24, "e23Cux2")
    ablated = parse_ablation("shuffle_independent")(network, seed=1)
    before, after = features(network), features(ablated)
    np.testing.assert_allclose(np.sort(before, axis=0), np.sort(after, axis=0), atol=1e-9)
    rows = {tuple(np.round(row, 6)) for row in before}
    assert not rows & {tuple(np.round(row, 6)) for row in after}


def test_gaussian_keeps_mean_and_covariance_exactly():
    network = make_network()
    network.membrane.values["t_ref"] += 50  # far from the physical limits, so nothing is clipped
    v = network.membrane.values
    v["V_reset"][:] = v["E_L"] - np.linspace(0.9, 1.1, 7) * (v["V_th"] - v["E_L"])
    ablated = parse_ablation("gaussian_matched(log)")(network, seed=1)
    assert ablated.provenance["ablations"][0]["clipped_cells"] == {}
    before, after = features(network), features(ablated)
    pop = network.cells.attributes["pop_name"]
    for name in np.unique(pop):
        cells = pop == name
        np.testing.assert_allclose(after[cells].mean(axis=0), before[cells].mean(axis=0), atol=1e-8)
        np.testing.assert_allclose(np.cov(after[cells].T), np.cov(before[cells].T), atol=1e-6)
    single = pop == "e4Rorb"  # one cell model: no variance, so nothing to draw
    np.testing.assert_allclose(after[single], before[single], atol=1e-9)
    mixed = pop == "i4Sst"  # two cell models: draws differ from both
    assert len(np.unique(np.round(after[mixed], 6), axis=0)) == 7


def test_no_asc(network):
    ablated = parse_ablation("no_asc")(network)
    assert not ablated.membrane.values["asc_amps"].any()
    assert (ablated.bias_current == 0).all()
    for name in set(PARAMETERS) - {"asc_amps"}:
        np.testing.assert_array_equal(ablated.membrane.values[name], network.membrane.values[name])


def test_gaussian_in_linear_space_is_not_skewed(network):
    """4 000 cells with lognormal time constants: as many ms and as much spread, no skew."""
    pop = network.cells.attributes["pop_name"]
    big = repeated(network, 200)
    rng = np.random.default_rng(0)
    tau = rng.lognormal(2.5, 0.3, big.n_cells)
    membrane = big.membrane
    values = {name: membrane.per_cell(name).copy() for name in membrane.values}
    values["C_m"] = tau * values["g"]
    labels = tuple(str(i) for i in range(big.n_cells))
    membrane = GroupedValues(values, np.arange(big.n_cells), labels)
    big = dataclasses.replace(big, membrane=membrane)
    linear = parse_ablation("gaussian_matched(linear)")(big, seed=1).membrane
    new = linear.per_cell("C_m") / linear.per_cell("g")
    names = np.tile(pop, 200)
    for name in np.unique(pop):
        cells = names == name
        assert new[cells].mean() == pytest.approx(tau[cells].mean(), rel=0.01)
        assert new[cells].std() == pytest.approx(tau[cells].std(), rel=0.03)
        assert stats.skew(tau[cells]) > 0.7
        assert abs(stats.skew(new[cells])) < 0.25
    with pytest.raises(ConfigError, match="did you mean 'linear'"):
        parse_ablation("gaussian_matched(liner)")


def test_asc_mean_current_is_the_measured_mean_of_the_population(network):
    network.bias_current[:] = 7.0
    activity = some_activity(network)
    ablated = parse_ablation("asc_mean_current")(network, activity=activity)
    assert not ablated.membrane.values["asc_amps"].any()
    pop = network.cells.attributes["pop_name"]
    for name in np.unique(pop):
        cells = pop == name
        mean = activity.asc_current[cells].mean()
        np.testing.assert_allclose(ablated.bias_current[cells], 7.0 + mean)


def test_activity_is_asked_for_and_checked(network):
    with pytest.raises(ConfigError, match="needs the network's activity"):
        parse_ablation("asc_mean_current")(network)
    other = SpikeHistory(np.zeros(3), np.zeros(3))
    with pytest.raises(ConfigError, match="of another network"):
        parse_ablation("asc_mean_current")(network, activity=other)


def test_charges_are_averaged_and_so_is_what_a_cell_adapts_by(network):
    """Fast currents are large: averaged apart, amplitude and rate would give another charge."""
    v = network.membrane.values
    v["asc_decay"][:] = [[0.3, 0.003]] * 3 + [[0.03, 0.003]] * 4
    v["asc_amps"][:] = -2000 * v["asc_decay"]  # the same charge, -2 pA s, for every current
    v["asc_amps"][:, 1] *= np.linspace(0.5, 1.5, 7)
    charge = (network.membrane.per_cell("asc_amps") / network.membrane.per_cell("asc_decay")).sum(1)
    ablated = parse_ablation("mean(global)")(network).membrane
    after = (ablated.per_cell("asc_amps") / ablated.per_cell("asc_decay")).sum(axis=1)
    np.testing.assert_allclose(after, charge.mean(), rtol=1e-9)
    apart = network.membrane.per_cell("asc_amps").mean(0) / np.exp(
        np.log(network.membrane.per_cell("asc_decay")).mean(0)
    )
    assert abs(apart.sum() / charge.mean() - 1) > 0.1  # what it would have been


@pytest.mark.parametrize("name", ["mean(population)", "shuffle_within", "dose(1.5, ei)"])
def test_psps_and_background_are_carried_to_the_new_membranes(network, name):
    network = with_background(network)
    ablated = parse_ablation(name)(network, seed=1)
    for key, edges in network.edges.items():
        if key == "bkg_to_v1":
            continue
        before = edges.weight * unit_psp(network).of(edges)
        after = ablated.edges[key].weight * unit_psp(ablated).of(ablated.edges[key])
        np.testing.assert_allclose(after, before, rtol=1e-9)
    before, after = background_ratio(network), background_ratio(ablated)
    pop = network.cells.attributes["pop_name"]
    for group in np.unique(pop):
        cells = pop == group
        if name == "shuffle_within":
            np.testing.assert_allclose(np.sort(after[cells]), np.sort(before[cells]))
        if name == "mean(population)":
            np.testing.assert_allclose(after[cells], before[cells].mean())
    assert after.mean() == pytest.approx(before.mean(), rel=1e-3)


def test_nothing_is_carried_when_told_so_and_the_record_says_it(network):
    network = with_background(network)
    ablated = parse_ablation("mean(population)")(network, carry="none")
    for key, edges in network.edges.items():
        np.testing.assert_array_equal(ablated.edges[key].weight, edges.weight)
    assert ablated.provenance["ablations"][0]["carry"] == "none"
    assert parse_ablation("mean(population)")(network).provenance["ablations"][0]["carry"] == "psp"
    with pytest.raises(ConfigError, match="did you mean 'psp'"):
        parse_ablation("mean(population)")(network, carry="psps")


def test_composition_applies_left_to_right(network):
    shuffled_first = parse_ablation("shuffle_within | only(tau_m, cell_model)")(network, seed=1)
    mean_first = parse_ablation("only(tau_m, cell_model) | shuffle_within")(network, seed=1)
    assert_same_cells(mean_first, parse_ablation("shuffle_within")(network, seed=1))
    model = network.cells.node_type_id  # the shuffle brought several time constants to a cell model
    tau = shuffled_first.membrane.per_cell("C_m") / shuffled_first.membrane.per_cell("g")
    for kind in np.unique(model):
        assert np.ptp(tau[model == kind]) < 1e-9 * tau[model == kind].mean()
    names = [record["name"] for record in mean_first.provenance["ablations"]]
    assert names == ["only(tau_m, cell_model)", "shuffle_within"]


def test_cell_models_are_found_again_after_a_mean(network):
    """cell_model is the node type, not the row of parameters, which an earlier ablation changes."""
    ablated = parse_ablation("mean(population) | mean(cell_model)")(network)
    assert len(ablated.membrane.labels) == 7
    assert_same_cells(ablated, parse_ablation("mean(population)")(network))


def test_same_seed_same_cells_and_draws_do_not_depend_on_company(network):
    shuffle = parse_ablation("shuffle_across")
    assert_same_cells(shuffle(network, seed=5), shuffle(network, seed=5))
    alone = shuffle(network, seed=5).membrane.group_of
    assert not np.array_equal(alone, shuffle(network, seed=6).membrane.group_of)
    composed = parse_ablation("weights_shuffle | shuffle_across")(network, seed=5)
    np.testing.assert_array_equal(composed.membrane.group_of, alone)


def test_networks_the_space_has_no_rule_for_are_refused(network):
    network.membrane.values["gap_junctions"] = np.ones(7)
    with pytest.raises(NetworkError, match="no rule for the membrane parameter 'gap_junctions'"):
        parse_ablation("mean(ei)")(network)
    del network.membrane.values["gap_junctions"]
    network.membrane.values["V_th"][2] = network.membrane.values["E_L"][2] - 1
    with pytest.raises(NetworkError, match="V_th - E_L must be positive"):
        parse_ablation("mean(ei)")(network)


def test_cells_without_after_spike_currents(network):
    for name in ("asc_amps", "asc_decay", "asc_r"):
        network.membrane.values[name] = np.zeros((7, 0))
    ablated = parse_ablation("mean(ei) | no_asc")(network)
    assert ablated.membrane.values["asc_amps"].shape == (2, 0)


def test_what_moves_the_threshold_is_averaged_linearly(network):
    rng = np.random.default_rng(0)
    moving = {name: rng.uniform(0.1, 1, 7) for name in THRESHOLD_PARAMETERS}
    network.membrane.values.update(moving)
    before = {name: network.membrane.per_cell(name) for name in moving}
    ablated = parse_ablation("mean(global)")(network)
    for name, values in before.items():
        assert np.allclose(ablated.membrane.per_cell(name), values.mean(), rtol=1e-12)
    only = parse_ablation("only(reset, global)")(network).membrane
    assert np.ptp(only.per_cell("voltage_reset_fraction")) < 1e-12
    assert np.array_equal(only.per_cell("th_spike_add"), before["th_spike_add"])
