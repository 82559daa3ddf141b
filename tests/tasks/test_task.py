import numpy as np
import pytest
import torch
from lgn_nodes import lgn_nodes

from v1builder.inputs import FilterSource, PoissonSource
from v1builder.lgn import LGN, LGN_CLASSES
from v1builder.schema.config import Settings, parse_settings
from v1builder.schema.errors import ConfigError
from v1builder.stimuli import factored
from v1builder.tasks import (
    SPLITS,
    AnyTask,
    DirectionClassification,
    GratingTuning,
    OrientationDiscrimination,
    make_task,
)

ALL = [OrientationDiscrimination(), DirectionClassification(), GratingTuning()]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sources_of(lgn):
    background = PoissonSource(torch.full((100,), 250.0), lgn.dt)
    return {"lgn": FilterSource(lgn), "bkg": background}


@pytest.fixture(scope="module")
def lgn():
    return LGN(lgn_nodes(2, seed=4))


@pytest.fixture(scope="module")
def sources(lgn):
    return sources_of(lgn)


@pytest.fixture(scope="module")
def discrimination(sources):
    return make_task(OrientationDiscrimination(n_phases=3, n_deltas=4), sources, dt=1.0)


@pytest.mark.parametrize("settings", ALL, ids=lambda s: s.name)
@pytest.mark.parametrize("split", SPLITS)
def test_classes_are_balanced_in_every_split(sources, settings, split):
    task = make_task(settings, sources, dt=1.0)
    for n_trials in (16, 17, 40):
        counts = torch.bincount(task.draw(n_trials, split, generator()).target.flatten())
        assert len(counts) == settings.n_classes == task.answer.n_outputs
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("settings", ALL, ids=lambda s: s.name)
def test_the_target_is_that_of_the_drawn_stimulus(sources, settings):
    task = make_task(settings, sources, dt=1.0)
    trials = task.draw(60, "train", generator())
    circle = 180 if getattr(settings, "temporal_frequency", None) == 0 else 360
    for condition, (shown,), target in zip(
        trials.condition, trials.movies, trials.target, strict=True
    ):
        grating = shown.stimulus
        assert grating == settings.stimuli("train")[condition][0]
        if settings.name == "orientation_discrimination":
            assert int(grating.direction > 45) == target
        else:
            assert grating.direction == circle * target / settings.n_directions


@pytest.mark.parametrize("split", SPLITS)
def test_every_stimulus_is_drawn_about_equally_often(discrimination, split):
    n_stimuli = len(discrimination.settings.stimuli(split))
    counts = torch.bincount(discrimination.draw(4800, split, generator()).condition)
    assert len(counts) == n_stimuli == 24
    assert (counts - 200).abs().max() < 5 * 200**0.5


@pytest.mark.parametrize("settings", [*ALL[:2], OrientationDiscrimination(n_phases=8)])
def test_held_out_stimuli_are_not_those_of_training(settings):
    stimuli = {split: {grating for grating, _ in settings.stimuli(split)} for split in SPLITS}
    sets = list(stimuli.values())
    assert sum(map(len, sets)) == len(set.union(*sets))
    if settings.name == "orientation_discrimination":
        angles = [{g.direction for g in stimuli[split]} for split in SPLITS]
        assert sum(map(len, angles)) == len(set.union(*angles))


def test_published_orientations():
    angles = {g.direction for g, _ in OrientationDiscrimination().stimuli("train")}
    expected = 45 + np.array([i for i in range(-20, 21) if i]) / 10
    assert np.allclose(sorted(angles), expected)


@pytest.mark.parametrize("split", SPLITS)
def test_difficulty_bounds_the_orientations(split):
    settings = OrientationDiscrimination(max_delta=20.0, n_deltas=3)
    apart = {abs(g.direction - 45) for g, _ in settings.stimuli(split)}
    assert min(apart) > 0
    assert 20 - 20 / 3 < max(apart) <= 20


@pytest.mark.parametrize("dt", [0.5, 1.0, 2.0])
def test_windows_follow_the_time_step(dt):
    lgn = LGN(lgn_nodes(1, seed=0), dt=dt)
    task = make_task(OrientationDiscrimination(), sources_of(lgn), dt=dt)
    assert task.n_steps == 600 / dt
    assert task.windows == (slice(round(150 / dt), round(200 / dt)),)
    assert task.stimulus_ms == (50.0, 150.0)


@pytest.mark.parametrize("settings", [
    OrientationDiscrimination(n_deltas=2, n_phases=2),
    DirectionClassification(n_directions=2, n_phases=2),
    GratingTuning(temporal_frequency=0.0, n_directions=2, gray_before_ms=100, on_ms=200,
                  response_ms=(100, 300)),
])  # fmt: skip
def test_the_kept_rates_are_those_of_the_movie(lgn, sources, settings):
    n_steps = round(settings.duration_ms)
    trials = settings.trials(torch.arange(len(settings.stimuli("test"))), "test")
    for movie in trials.movies:
        rates = lgn.rates(factored(movie, n_steps, lgn.raster, 1.0).dense())
        assert torch.allclose(sources["lgn"].rates(movie, n_steps), rates, atol=1e-4)


def test_inputs_are_counts_of_the_right_size_and_rate(discrimination, lgn):
    trials = discrimination.draw(64, "train", generator())
    inputs = discrimination.inputs(trials, generator(1))
    assert inputs["lgn"].shape == (64, 600, lgn.n_units)
    assert inputs["bkg"].shape == (64, 600, 100)
    assert {spikes.dtype for spikes in inputs.values()} == {torch.uint8}
    expected = sum(FilterSource(lgn).rates(movie, 600).sum() for movie in trials.movies) / 1000
    assert abs(inputs["lgn"].sum() - expected) < 5 * expected**0.5
    expected = 64 * 600 * 100 * 0.25
    assert abs(inputs["bkg"].sum() - expected) < 5 * expected**0.5


def test_a_blank_trial_fires_at_the_spontaneous_rates(discrimination):
    inputs = discrimination.blank(50, generator())
    rates = [kind.spontaneous_rate for kind in LGN_CLASSES.values() for _ in range(2)]
    expected = 50 * 0.6 * torch.tensor(rates)
    assert ((inputs["lgn"].sum(dim=(0, 1)) - expected).abs() < 5 * expected.sqrt()).all()
    assert inputs["bkg"].shape == (50, 600, 100)


def test_the_seed_determines_trials_and_noise(discrimination):
    def run(seed):
        stream = generator(seed)
        trials = discrimination.draw(6, "train", stream)
        return trials, discrimination.inputs(trials, stream)

    (first, inputs), (again, inputs_again), (other, _) = run(3), run(3), run(4)
    assert torch.equal(first.condition, again.condition)
    assert all(torch.equal(inputs[name], inputs_again[name]) for name in inputs)
    assert not torch.equal(first.condition, other.condition)


def test_a_slice_of_trials_is_a_batch(discrimination):
    trials = discrimination.draw(10, "validation", generator())
    batch = trials[4:7]
    assert len(batch) == 3
    assert batch.split == "validation"
    assert torch.equal(batch.target, trials.target[4:7])
    assert torch.equal(batch.condition, trials.condition[4:7])


def test_the_warm_up_is_gray_and_as_long_as_the_setting_says(discrimination, sources):
    inputs = discrimination.warm_up(40, generator())
    assert {name: spikes.shape for name, spikes in inputs.items()} == {
        "lgn": (40, 500, 28), "bkg": (40, 500, 100),
    }  # fmt: skip
    rates = [kind.spontaneous_rate for kind in LGN_CLASSES.values() for _ in range(2)]
    expected = 40 * 0.5 * torch.tensor(rates)
    assert ((inputs["lgn"].sum(dim=(0, 1)) - expected).abs() < 5 * expected.sqrt()).all()
    expected = 40 * 500 * 100 * 0.25
    assert abs(inputs["bkg"].sum() - expected) < 5 * expected**0.5
    again = discrimination.warm_up(40, generator())
    assert all(torch.equal(inputs[name], again[name]) for name in inputs)
    none = make_task(OrientationDiscrimination(warm_up_ms=0), sources, dt=1.0)
    assert none.warm_up(4, generator()) is None
    half = make_task(OrientationDiscrimination(warm_up_ms=30), sources, dt=1.0)
    assert half.warm_up(4, generator())["bkg"].shape == (4, 30, 100)


@pytest.mark.parametrize("settings", [
    OrientationDiscrimination(),
    OrientationDiscrimination(warm_up_ms=0),
    DirectionClassification(gray_before_ms=0, response_ms=(50, 500)),
])  # fmt: skip
def test_gray_and_stimulus_are_told_apart(sources, settings):
    """From rest, the gray part of a trial is not spontaneous activity."""
    task = make_task(settings, sources, dt=1.0)
    gray = settings.gray_before_ms if settings.warm_up_ms else 0
    assert task.spontaneous == slice(0, int(gray))
    last = max(settings.gray_before_ms + settings.on_ms, settings.response_ms[1])
    assert task.evoked == slice(int(settings.gray_before_ms), int(last))


def test_without_eyes_a_task_runs_and_says_so(sources):
    task = make_task(OrientationDiscrimination(), {"bkg": sources["bkg"]}, dt=1.0)
    trials = task.draw(4, "train", generator())
    assert task.inputs(trials, generator()).keys() == {"bkg"}
    assert task.inputs(trials, generator())["bkg"].shape == (4, 600, 100)
    assert task.blank(2, generator())["bkg"].shape == (2, 600, 100)
    (note,) = task.notes
    assert "'bkg' is Poisson units" in note
    assert make_task(OrientationDiscrimination(), sources, dt=1.0).notes == ()


def test_only_active_units_fire():
    nodes = lgn_nodes(2, seed=4)
    active = np.array([1, 5, 26])
    task = make_task(OrientationDiscrimination(), sources_of(LGN(nodes, active=active)), dt=1.0)
    inputs = task.inputs(task.draw(20, "train", generator()), generator())
    assert set(np.flatnonzero(inputs["lgn"].sum(dim=(0, 1)).numpy())) == {1, 5, 26}


class Table(Settings):
    task: AnyTask


def parse(**task):
    return parse_settings({"task": task}, Table, "experiment.toml").task


def test_the_name_selects_the_task():
    assert parse(name="direction_classification", n_directions=4).n_directions == 4
    assert isinstance(parse(name="orientation_discrimination"), OrientationDiscrimination)


@pytest.mark.parametrize(("table", "message"), [
    ({"name": "orientation_discriminate"}, "did you mean 'orientation_discrimination'"),
    ({"name": "orientation_discrimination", "max_dleta": 5}, "did you mean 'max_delta'"),
    ({"name": "direction_classification", "n_direction": 5}, "did you mean 'n_directions'"),
    ({"max_delta": 5.0}, "add 'name', one of: .*direction_classification"),
    ({"name": "grating_tuning", "contrast": 1.5}, "less than or equal to 1"),
    ({"name": "orientation_discrimination", "response_ms": [150, 700]}, "trial of 600 ms"),
    ({"name": "orientation_discrimination", "response_ms": [200, 150]}, "a later end"),
    ({"name": "orientation_discrimination", "warm_up_ms": -1}, "greater than or equal to 0"),
    ({"name": "orientation_discrimination", "background_rate": 250.0}, "column rate_Hz"),
])  # fmt: skip
def test_a_wrong_task_table_is_explained(table, message):
    with pytest.raises(ConfigError, match=message):
        parse(**table)


def test_unknown_split(discrimination):
    with pytest.raises(ConfigError, match="did you mean 'validation'"):
        discrimination.draw(4, "valid", generator())


def test_the_inputs_must_have_the_networks_time_step(sources):
    with pytest.raises(ConfigError, match="different time steps"):
        make_task(OrientationDiscrimination(), sources, dt=0.5)


def test_a_network_without_inputs_is_refused():
    with pytest.raises(ConfigError, match="no inputs"):
        make_task(OrientationDiscrimination(), {}, dt=1.0)


def test_a_window_shorter_than_a_step_is_refused(sources):
    settings = OrientationDiscrimination(response_ms=(150.1, 150.2))
    with pytest.raises(ConfigError, match="shorter than one time step"):
        make_task(settings, sources, dt=1.0)
