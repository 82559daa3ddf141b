"""Gray and gratings without a question: balanced directions, and cells that are compared with units."""

import dataclasses

import numpy as np
import pytest
import torch
from lgn_nodes import lgn_nodes
from scipy import stats

from v1builder.analysis.agreement import agreement_by_type
from v1builder.analysis.tuning import osi_vector
from v1builder.inputs import FilterSource
from v1builder.lgn import LGN
from v1builder.load import load_network
from v1builder.load.reference import read_in_vivo_units
from v1builder.schema.errors import ConfigError, DataError
from v1builder.tasks import TASKS, make_task


@pytest.fixture(scope="module")
def column(small_column):
    return load_network(small_column)


@pytest.fixture(scope="module")
def units(small_column):
    return read_in_vivo_units(small_column)


@pytest.fixture(scope="module")
def plain():
    sources = {"lgn": FilterSource(LGN(lgn_nodes(1, seed=4)))}
    return make_task(TASKS["in_vivo"](), sources, dt=1.0)


@pytest.fixture(scope="module")
def task(plain, column, units):
    return plain.on(column, units, np.ones(column.n_cells, bool))


def draw(task, n, split="train"):
    return task.draw(n, split, torch.Generator().manual_seed(0))


def test_gratings_are_those_of_the_recordings_as_often_in_every_direction(plain):
    trials = draw(plain, 32)
    gratings = [movie[0].stimulus for movie in trials.movies]
    directions = [grating.direction for grating in gratings]
    assert sorted(directions) == sorted([45.0 * k for k in range(8)] * 4)
    assert {(g.temporal_frequency, g.spatial_frequency, g.contrast) for g in gratings} == {
        (2.0, 0.04, 0.8)
    }
    assert [45.0 * k for k in trials.target[:, 1].tolist()] == directions
    assert set(trials.target[:, 0].tolist()) == {-1}
    gray, response = plain.windows
    assert response.stop - response.start == 500  # a cycle of 2 Hz
    assert gray == plain.spontaneous
    assert plain.evoked.start <= response.start < response.stop <= plain.evoked.stop


def test_without_gray_there_is_one_window(plain):
    settings = TASKS["in_vivo"](gray_before_ms=0.0, response_ms=(100.0, 600.0))
    made = make_task(settings, plain.sources, dt=1.0)
    assert draw(made, 8).target.shape == (8, 1)
    assert list(made.windows) == [slice(100, 600)]


def answers(task, column, units, split, rng):
    """Counts of cells whose rates are those of units of a split, with tuned responses."""
    trials = draw(task, 64)
    types = task.answer.judged.types
    rates, spontaneous = np.zeros(len(types)), np.zeros(len(types))
    for kind in np.unique(types):
        own = units[(units["cell_type"] == kind) & (units["split"] == split)]
        if len(own):
            n = int((types == kind).sum())
            which = np.arange(n) * len(own) // n
            rates[types == kind] = own["mean_rate_Hz"].to_numpy()[which]
            spontaneous[types == kind] = own["spontaneous_rate_Hz"].to_numpy()[which]
    preferred = rng.integers(0, 4, len(types))
    direction = trials.target[:, 1].numpy()[:, None]
    tuning = 1 + 0.8 * np.cos(2 * np.pi * (direction - preferred) / 4)
    evoked = rng.poisson(rates * tuning * 0.5)
    gray = rng.poisson(np.tile(spontaneous, (64, 1)) * 0.2)
    return trials, torch.from_numpy(np.stack([gray, evoked], axis=1).astype(np.float32))


def test_cells_that_do_what_units_do_agree_and_the_held_out_are_looked_at_in_tests_alone(
    task, column, units
):
    rng = np.random.default_rng(0)
    changed = units.copy()
    held = changed["split"] == "judge"
    changed.loc[held, "mean_rate_Hz"] += 60.0  # held out are others, that nothing was drawn to
    judged = dataclasses.replace(task.answer.judged, units=changed)
    other = task.on(column, changed, np.ones(column.n_cells, bool))
    assert np.array_equal(other.answer.judged.types, judged.types)
    trials, output = answers(task, column, units, "target", rng)
    found = other.answer.score(output, trials.target)
    assert found["agreement_rate"] > 0.75
    assert other.describe(output, trials) == {}
    in_test = other.describe(output, dataclasses.replace(trials, split="test"))
    assert in_test["agreement_rate"] < 0.1
    assert in_test["agreement_spontaneous"] == pytest.approx(
        task.describe(output, dataclasses.replace(trials, split="test"))["agreement_spontaneous"]
    )
    none = other.answer.score(torch.zeros_like(output), trials.target)
    assert none["agreement"] < 0.1
    assert (none["agreement_osi"], none["agreement_dsi"]) == (None, None)  # silent cells have none


def test_measured_numbers_are_those_of_the_counts(task, column, units):
    trials, output = answers(task, column, units, "target", np.random.default_rng(1))
    measured = task.answer.measured(output, trials.target)
    evoked, shown = output[:, 1].numpy(), trials.target[:, 1].numpy()
    np.testing.assert_allclose(measured["mean_rate_Hz"], evoked.mean(axis=0) / 0.5, rtol=1e-6)
    np.testing.assert_allclose(
        measured["spontaneous_rate_Hz"], output[:, 0].numpy().mean(axis=0) / 0.2, rtol=1e-6
    )
    rates = np.stack([evoked[shown == k].mean(axis=0) for k in range(8)]).astype(float)
    enough = evoked.sum(axis=0) >= 10
    assert 0 < enough.sum() < len(enough)
    np.testing.assert_allclose(
        measured["osi"][enough], osi_vector(rates, 45.0 * np.arange(8))[enough], rtol=1e-6
    )
    assert np.isnan(measured["osi"][~enough]).all()
    few = trials.target[:4]
    assert "osi" not in task.answer.measured(output[:4], few)  # not every direction was shown


def test_agreement_is_the_two_sample_statistic_of_every_type(task, column, units):
    judge = units[units["split"] == "judge"]
    rng = np.random.default_rng(2)
    types = task.answer.judged.types
    rates = rng.lognormal(1, 1, len(types))
    table = agreement_by_type({"mean_rate_Hz": rates}, types, judge).set_index("cell_type")
    own = judge[judge["cell_type"] == "L4 Exc"]["mean_rate_Hz"]
    expected = 1 - stats.ks_2samp(rates[types == "L4 Exc"], own).statistic
    assert table.loc["L4 Exc", "score"] == pytest.approx(expected)
    # No layer has 15 held-out Sst units: the class is judged as a whole, if there are cells enough.
    assert table.loc["SST", "n_units"] == judge["cell_type"].str.endswith("SST").sum() >= 15
    assert table.loc["VIP", "reason"] == "fewer than 15 units"
    assert not any(name.endswith((" SST", " VIP")) for name in table.index)
    same = agreement_by_type({"mean_rate_Hz": own.to_numpy()}, np.full(len(own), "L4 Exc"), judge)
    assert same["score"].tolist() == [1.0]


def test_networks_that_cannot_be_judged_are_one_message(plain, column, units):
    every = np.ones(column.n_cells, bool)
    with pytest.raises(DataError, match="no recorded units"):
        plain.on(column, None, every)
    few = np.zeros(column.n_cells, bool)
    few[:9] = True
    with pytest.raises(ConfigError, match="no cell type can be compared") as found:
        plain.on(column, units, few)
    assert len(found.value.problems) == 1


def test_fewer_than_eight_directions_are_refused():
    with pytest.raises(ValueError, match="n_directions"):
        TASKS["in_vivo"](n_directions=4)
