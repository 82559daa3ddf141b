"""What training changed: weights by pair of types, spread of parameters."""

from dataclasses import replace

import numpy as np
import pytest
from handmade import make_network, with_plasticity

from v1builder.model.neurons import NEURONS
from v1builder.schema.errors import ConfigError
from v1builder.train.learned import dispersions, learned_rows, weight_changes
from v1builder.train.metric import Metric

GLIF = NEURONS["glif"]


def with_weight(network, weight, name="v1_to_v1"):
    edges = replace(network.edges[name], weight=weight)
    return replace(network, edges=network.edges | {name: edges})


def by_key(rows):
    return {(row.measure, row.window, row.level, row.group): row for row in rows}


def test_weights_change_by_pair_of_types():
    network = make_network()
    edges = network.edges["v1_to_v1"]
    pop = network.cells.attributes["pop_name"]
    pair = (pop[edges.source_index] == "e23Cux2") & (pop[edges.target_index] == "i4Sst")
    assert pair.sum() > 3
    change = np.random.default_rng(1).normal(0, 0.2, len(edges))
    change[~pair] = 0.1
    flipped = np.flatnonzero(pair)[0]
    factor = np.exp(change)
    factor[flipped] *= -1  # where a model lets weights change sign, they have no relative change
    rows = weight_changes(network, with_weight(network, edges.weight * factor), ["v1_to_v1.weight"])
    found = by_key(rows)
    own = change[pair][1:]
    where = ("v1_to_v1", "population pair", "e23Cux2>i4Sst")
    assert found["weight_change_rms", *where].value == pytest.approx(np.sqrt((own**2).mean()))
    assert found["weight_change_mean", *where].value == pytest.approx(own.mean())
    assert found["weight_strengthened_share", *where].value == pytest.approx((own > 0).mean())
    assert found["weight_change_rms", *where].n == len(own)
    other = found["weight_change_mean", "v1_to_v1", "class pair", "Pvalb>Sst"]
    assert other.value == pytest.approx(0.1)
    whole = found["weight_change_mean", "v1_to_v1", "network", "network"]
    assert whole.value == pytest.approx(np.delete(change, flipped).mean())
    assert {row.window for row in rows} == {"v1_to_v1"}  # the others were not trained


def test_inputs_are_grouped_by_what_their_nodes_say():
    network = make_network()
    doubled = with_weight(network, 2 * network.edges["lgn_to_v1"].weight, "lgn_to_v1")
    rows = by_key(weight_changes(network, doubled, ["lgn_to_v1.weight"]))
    value = rows["weight_change_mean", "lgn_to_v1", "population pair", "sON>e23Cux2"].value
    assert value == pytest.approx(np.log(2))
    assert ("weight_change_mean", "lgn_to_v1", "class pair", "lgn>Exc") in rows


def test_spread_is_that_over_cells_of_logarithms_or_values():
    network = make_network()
    rows = by_key(dispersions(network, ["g", "V_reset", "asc_amps"], GLIF))
    own = network.cells.attributes["pop_name"] == "i23Pvalb"
    g = network.membrane.per_cell("g")[own]
    V_reset = (network.membrane.per_cell("V_reset") - network.membrane.per_cell("E_L"))[own]
    amps = network.membrane.per_cell("asc_amps")[own]
    where = ("cells", "population", "i23Pvalb")
    assert rows["dispersion_g", *where].value == pytest.approx(np.log(g).std(ddof=1))
    assert (rows["dispersion_g", *where].unit, rows["dispersion_g", *where].n) == ("1", own.sum())
    assert rows["dispersion_V_reset", *where].value == pytest.approx(V_reset.std(ddof=1))
    assert rows["dispersion_V_reset", *where].unit == "mV"
    assert rows["dispersion_asc_amps_2", *where].value == pytest.approx(amps[:, 1].std(ddof=1))
    alone = rows["dispersion_g", "cells", "population", "e4Rorb"]
    assert alone.value == pytest.approx(0)  # four cells of one model


def test_spread_of_plastic_synapses_leaves_static_ones_out():
    network = with_plasticity(make_network())
    rows = by_key(dispersions(network, ["v1_to_v1.U", "v1_to_v1.tau_rec"], GLIF))
    table = network.edges["v1_to_v1"].plasticity
    plastic = table.group_of >= 0
    U = table.values["U"][table.group_of[plastic]]
    whole = rows["dispersion_U", "v1_to_v1", "network", "network"]
    assert whole.value == pytest.approx(U.std(ddof=1))
    assert whole.n == plastic.sum()
    tau = np.log(table.values["tau_rec"][table.group_of[plastic]])
    whole = rows["dispersion_tau_rec", "v1_to_v1", "network", "network"]
    assert whole.value == pytest.approx(tau.std(ddof=1))


def test_the_observed_spread_stands_beside_that_before_and_after():
    """An ablation that makes all cells equal has none before, and what training made of it after."""
    observed = make_network()
    g = observed.membrane.values["g"]

    def with_g(values):
        membrane = replace(observed.membrane, values=observed.membrane.values | {"g": values})
        return replace(observed, membrane=membrane)

    before, after = with_g(np.full_like(g, 4.0)), with_g(np.geomspace(3, 5, len(g)))
    rows = {
        phase: row.value
        for phase, row in learned_rows(before, after, observed, ["g"], GLIF)
        if row.level == "network"
    }
    assert list(rows) == ["observed", "untrained", "trained"]
    assert rows["observed"] > rows["trained"] > rows["untrained"] == pytest.approx(0)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("fano_factor", ("fano_factor", "network", None, "trained")),
        ("rate_cv[Pvalb]@untrained", ("rate_cv", "Pvalb", None, "untrained")),
        ("mean_rate[L2/3]:spontaneous", ("mean_rate", "L2/3", "spontaneous", "trained")),
        (
            "weight_change_rms[Exc>Pvalb]:v1_to_v1",
            ("weight_change_rms", "Exc>Pvalb", "v1_to_v1", "training"),
        ),
    ],
)
def test_names_of_metrics(text, parts):
    metric = Metric.parse(text)
    assert (metric.measure, metric.group, metric.window, metric.phase) == parts
    assert str(metric) == text
    with pytest.raises(ConfigError, match="did you mean 'trained'"):
        Metric.parse("fano_factor@traind")
