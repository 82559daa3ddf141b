"""Decoding, information, dimensions, timescales, similarity, sparsity and agreement: planted activity."""

import numpy as np
import pandas as pd
import pytest
from recorded import cells_of, design_of, whole

from v1builder.measures import MEASURES
from v1builder.measures.groups import measured_groups
from v1builder.schema.recordings import QUANTILES

#: Two populations of 24 cells.
CELLS = cells_of(("e23Cux2", "VisL23", 24), ("e4Rorb", "VisL4", 24))
TWO = np.repeat([0, 1], 40)


def measured(name, spikes, condition=None, reference=None, **design):
    kind = MEASURES[name]
    cells = design.pop("cells", CELLS)
    measure = kind(design_of(spikes, cells, **design))
    measure.see(whole(spikes, condition=condition))
    if reference is not None:
        measure.reference = kind(measure.design)
        measure.reference.see(whole(reference, condition=condition))
    return measure


def values(measure, level="population"):
    return measure.values(measured_groups(measure.design.cells, level))


def spikes_of(counts, n_steps):
    """[trial, step, cell] with so many spikes [trial, cell], evenly."""
    step = np.arange(n_steps)[:, None]
    return (step * counts[:, None] // n_steps) != ((step + 1) * counts[:, None] // n_steps)


def coding(rng, steps, n_steps=100, base=0.04, extra=0.3):
    """Two conditions; in the second some steps have more spikes, in cells of the first population."""
    rate = np.full((len(TWO), n_steps, 48), base)
    for first, last, cells in steps:
        rate[40:, first:last, cells] += extra
    return rng.random(rate.shape) < rate


@pytest.mark.parametrize("name", ["decoding", "decoding_across_time"])
def test_shuffled_labels_are_decoded_at_chance(name):
    rng = np.random.default_rng(0)
    spikes = coding(rng, [(0, 100, slice(0, 24))])
    found = values(measured(name, spikes, TWO))
    assert found.value[0] > 0.95
    shuffled = [values(measured(name, spikes, rng.permutation(TWO))).value for _ in range(8)]
    assert np.mean(shuffled) == pytest.approx(0.5, abs=0.03)
    assert found.value[1] == pytest.approx(0.5, abs=0.1)
    assert found.n.tolist() == [20, 20]


def test_decoding_follows_the_code_in_time():
    """Other cells carry it in the second half: decoders of one half know nothing in the other."""
    rng = np.random.default_rng(1)
    spikes = coding(rng, [(20, 60, slice(0, 12)), (60, 100, slice(12, 24))])
    groups = measured_groups(CELLS, "population")
    in_time = measured("decoding", spikes, TWO).curve(groups)
    assert list(in_time) == [0, 20, 40, 60, 80]
    assert in_time[0].value[0] == pytest.approx(0.5, abs=0.15)
    assert min(in_time[at].value[0] for at in (20, 40, 60, 80)) > 0.9
    across = measured("decoding_across_time", spikes, TWO)
    by_lag = {lag: found.value[0] for lag, found in across.curve(groups).items()}
    assert by_lag[0] == pytest.approx(np.mean([found.value[0] for found in in_time.values()]))
    assert by_lag[20] > by_lag[40] + 0.1
    stays = measured("decoding_across_time", coding(rng, [(0, 100, slice(0, 24))]), TWO)
    assert min(found.value[0] for found in stays.curve(groups).values()) > 0.9


def test_decoding_needs_conditions_and_cells():
    spikes = coding(np.random.default_rng(2), [])
    assert values(measured("decoding", spikes)).reason[0].startswith("fewer than 2 conditions")
    spikes[:, :, 10:24] = False
    found = values(measured("decoding", spikes, TWO))
    assert found.reason == ("fewer than 20 cells that fire", "")


def test_information_is_in_the_cells_that_have_it():
    """Poisson counts of 10 and 13 in independent cells: d'^2 of 10 of them is near 10 (3^2 / 11.5)."""
    rng = np.random.default_rng(3)
    mean = np.full((80, 48), 10.0)
    mean[40:, :24] = 13.0
    found = [
        values(measured("discriminability", spikes_of(rng.poisson(mean), 60), TWO)).value
        for _ in range(10)
    ]
    error = np.std(found, axis=0) / np.sqrt(10)
    assert abs(np.mean(found, axis=0) - [10 * 9 / 11.5, 0]) == pytest.approx(0, abs=3 * error.max())
    assert error.max() < 0.5


def test_fisher_information_is_per_degree_between_neighbours():
    rng = np.random.default_rng(4)
    spikes = spikes_of(rng.poisson(10.0 + 2 * TWO[:, None] * np.ones(48)), 60)
    squared = values(measured("discriminability", spikes, TWO)).value
    directions = np.array([30.0, 50.0])
    found = values(measured("fisher_information", spikes, TWO, directions=directions))
    assert found.value == pytest.approx(squared / 400)
    assert values(measured("fisher_information", spikes, TWO)).reason[0] == (
        "nothing that was shown has a direction"
    )
    few = values(measured("discriminability", spikes[30:50], TWO[30:50]))
    assert few.reason[0] == "10 trials of a condition, too few for 10 cells"


def test_dimensions_of_independent_and_of_common_activity():
    rng = np.random.default_rng(5)
    counts = rng.poisson(5.0, (200, 48))
    counts[:, :24] = np.arange(200)[:, None] % 19  # all alike
    spikes = spikes_of(counts, 60)
    assert values(measured("participation_ratio", spikes)).value == pytest.approx([1, 24], rel=0.1)
    found = values(measured("dimensions_95", spikes))
    assert found.value[0] == 1
    assert found.value[1] > 20
    few = values(measured("dimensions_95", spikes[:30]))
    assert few.value[0] == 1
    assert few.reason[1].startswith("14 components carry")
    assert values(measured("participation_ratio", spikes[:19])).reason[0].startswith("19 trials")


def test_intrinsic_timescale_by_population():
    """Rates that follow Ornstein-Uhlenbeck processes of 60 and of 150 ms, also in two conditions."""
    rng = np.random.default_rng(6)
    keep = np.exp(-5 / np.repeat([60.0, 150.0], 24))
    noise = rng.normal(size=(160, 120, 48))
    for step in range(1, 120):
        noise[:, step] = keep * noise[:, step - 1] + np.sqrt(1 - keep**2) * noise[:, step]
    rate = 0.06 * np.exp(0.8 * noise - 0.32) * (1 + 0.5 * (np.arange(160) % 2))[:, None, None]
    spikes = rng.random((160, 120, 48)) < 5 * rate / 2
    found = values(measured("intrinsic_timescale", spikes, np.arange(160) % 2, dt=5.0))
    assert found.value[0] < 0.7 * found.value[1]
    # exp of the process decays a little faster than the process.
    assert found.value == pytest.approx([55, 135], rel=0.3)
    white = rng.random((160, 120, 48)) < 0.2
    assert np.isnan(values(measured("intrinsic_timescale", white, dt=5.0)).value).all()


def test_similarity_to_another_network():
    """The first population keeps its responses among its cells, the second has others."""
    rng = np.random.default_rng(7)
    condition = np.repeat(np.arange(16), 3)
    tuned = rng.gamma(1.0, 8.0, (16, 48))[condition]
    own = rng.poisson(tuned)
    other = rng.poisson(np.roll(tuned, 5, axis=1))
    other[:, :24] = np.roll(own[:, :24], 5, axis=1)
    other[:, 24:] = rng.poisson(rng.gamma(1.0, 8.0, (16, 24))[condition])
    spikes, reference = (spikes_of(each, 120) for each in (own, other))
    for name in ("cka", "rsa"):
        found = values(measured(name, spikes, condition, reference))
        assert found.value[0] == pytest.approx(1)
        assert abs(found.value[1]) < 0.4
        alone = values(measured(name, spikes, condition))
        assert alone.reason[0] == "no network to compare with"
    found = values(measured("cka", spikes, condition, reference[:40]))
    assert found.reason[0] == "the other network has other cells or saw other trials"
    assert values(measured("rsa", spikes[:12], condition[:12], reference[:12])).reason[0] == (
        "4 conditions with 2 trials or more, fewer than 5"
    )


def test_sparsity_over_conditions_and_over_cells():
    counts = np.full((8, 48), 4)
    counts[:, :24] = 0
    counts[2, :24] = 12  # all of them in one condition
    spikes = spikes_of(counts, 50)
    condition = np.arange(8)
    assert values(measured("lifetime_sparsity", spikes, condition)).value == pytest.approx([1, 0])
    assert values(measured("population_sparsity", spikes, condition)).value == pytest.approx([0, 0])
    alone = np.where(np.arange(48) % 24 == 3, 20, 0) * np.ones((8, 1), int)
    found = values(measured("population_sparsity", spikes_of(alone, 50), condition))
    assert found.value == pytest.approx([1, 1])
    assert values(measured("lifetime_sparsity", spikes)).reason[0] == "0 conditions, fewer than 2"


def test_preferred_direction_of_cells():
    directions = np.arange(8) * 45.0
    rates = 10 + 8 * np.cos(np.deg2rad(directions[:, None] - directions[np.arange(48) % 8]))
    spikes = spikes_of(rates.round().astype(int), 50)
    found = values(
        measured("preferred_direction", spikes, np.arange(8), directions=directions), "cell"
    )
    np.testing.assert_array_equal(found.value, directions[np.arange(48) % 8])


def test_agreement_of_rates_with_recordings():
    """Cells at the recorded quantiles agree; twice the rates do not, and few units count for nothing."""
    at = (np.arange(24) + 0.5) / 24
    recorded = np.array([5.0, 10.0, 15.0, 20.0, 30.0])
    rates = np.interp(at, list(QUANTILES.values()), recorded)
    spikes = spikes_of(np.round(10 * np.r_[rates, 2 * rates]).astype(int)[None], 10_000)
    row = {"metric": "mean_rate_Hz", "n_units": 15} | dict(zip(QUANTILES, recorded, strict=True))
    table = pd.DataFrame([{"cell_type": name} | row for name in ("L2/3 Exc", "L4 Exc")])
    found = values(measured("agreement_rate", spikes, in_vivo=table))
    assert found.value[0] > 0.94
    assert found.value[1] < 0.6
    network = values(measured("agreement_rate", spikes, in_vivo=table), "network")
    assert network.value[0] == pytest.approx(found.value.mean())
    few = values(measured("agreement_rate", spikes, in_vivo=table.assign(n_units=[15, 14])))
    assert few.n.tolist() == [24, 0]
    assert "no type with 15 recorded units" in few.reason[1]
    assert "no recordings" in values(measured("agreement_rate", spikes)).reason[0]
