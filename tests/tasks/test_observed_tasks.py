"""Tasks of which nothing is learned; and what measures know of what tasks show."""

import numpy as np
import pytest
import torch
from handmade import make_foreign

from v1builder.inputs import input_sources
from v1builder.lgn import Raster
from v1builder.measures import Window
from v1builder.schema.config import Settings, parse_settings
from v1builder.schema.errors import ConfigError
from v1builder.stimuli import FullField, Grating, Shown, factored
from v1builder.tasks import (
    SPLITS,
    AnyTask,
    DirectionClassification,
    OrientationDiscrimination,
    design_of,
    make_task,
)
from v1builder.tasks.contrast_response import ContrastResponse
from v1builder.tasks.design import common
from v1builder.tasks.flow_perturbation import FlowPerturbation

CONTRASTS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


class Table(Settings):
    task: AnyTask


@pytest.fixture(scope="module")
def network():
    return make_foreign()


def task_on(network, settings, dt=1.0):
    return make_task(settings, input_sources(network, dt=dt), dt=dt)


@pytest.mark.parametrize("split", SPLITS)
def test_contrast_response_shows_every_contrast_in_every_direction(network, split):
    """10 of each in 480 trials, and measures know which is which."""
    task = task_on(network, ContrastResponse())
    trials = task.draw(480, split, torch.Generator().manual_seed(0))
    shown = [(m[0].stimulus.contrast, m[0].stimulus.direction) for m in trials.movies]
    pairs = {(c, d * 45.0) for c in CONTRASTS for d in range(8)}
    assert {pair: shown.count(pair) for pair in set(shown)} == dict.fromkeys(pairs, 10)
    assert {(m[0].start_ms, m[0].stop_ms) for m in trials.movies} == {(500.0, 2500.0)}
    assert {(m[0].stimulus.spatial_frequency, m[0].stimulus.temporal_frequency) for m in trials.movies} == {
        (0.04, 2.0)
    }  # fmt: skip
    design = design_of(task, network, split)
    known = zip(
        design.contrasts[trials.condition], design.directions[trials.condition], strict=True
    )
    assert list(known) == shown
    assert (task.evoked, task.measured["evoked"].conditions) == (slice(500, 2500), None)


@pytest.mark.parametrize(
    "contrasts", [[0.1], [0.2, 0.1], [0.1, 0.1], [0.0, 0.5], [0.5, 1.2]], ids=str
)
def test_contrasts_that_are_none_are_refused(contrasts):
    table = {"task": {"name": "contrast_response", "contrasts": contrasts}}
    with pytest.raises(ConfigError, match=r"contrasts"):
        parse_settings(table, Table, "experiment.toml")


@pytest.mark.parametrize(
    ("settings", "dt"),
    [
        (FlowPerturbation(), 1.0),
        (
            FlowPerturbation(temporal_frequency=1.3, direction=70.0, contrast=0.5, before_ms=700.0),
            1.0,
        ),
        (FlowPerturbation(temporal_frequency=3.7, changed_ms=330.0, after_ms=200.0), 0.5),
    ],
)
def test_nothing_but_motion_changes(settings, dt):
    """The whole movie is one grating at the place that the time it has moved for brings it to."""
    raster = Raster(40, 30, 1.0)
    n_steps = round(settings.duration_ms / dt)
    t = np.arange(n_steps) * dt
    second = (t >= settings.before_ms) & (t < settings.before_ms + settings.changed_ms)
    angle = np.deg2rad(settings.direction)
    place = raster.x * np.cos(angle) + np.asarray(raster.y)[:, None] * np.sin(angle)
    begins, ends = settings.conditions("test")
    for movie, moves in ((begins, second), (ends, ~second)):
        cycles = np.cumsum(moves) - moves  # steps of motion before each step
        cycles = settings.temporal_frequency * cycles * dt / 1000
        phase = settings.spatial_frequency * place - cycles[:, None, None]
        expected = settings.contrast * np.sin(2 * np.pi * phase)
        found = factored(movie, n_steps, raster, dt).dense().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("dt", [0.5, 1.0])
def test_flow_perturbation_is_measured_around_the_first_change_of_each_condition(network, dt):
    task = task_on(network, FlowPerturbation(), dt)
    steps = slice(round(500 / dt), round(2000 / dt))
    change = round(1000 / dt)
    assert task.measured == {
        "motion_begins": Window(steps, (0,), change),
        "motion_ends": Window(steps, (1,), change),
    }
    assert task.carry_state
    trials = task.draw(20, "train", torch.Generator().manual_seed(0))
    assert torch.bincount(trials.condition).tolist() == [10, 10]
    moves = [movie[1].stimulus.temporal_frequency > 0 for movie in trials.movies]
    assert moves == [condition == 0 for condition in trials.condition]
    with pytest.raises(ConfigError, match="baseline_ms must not be longer than before_ms, 1000"):
        parse_settings(
            {"task": {"name": "flow_perturbation", "baseline_ms": 1001.0}}, Table, "experiment.toml"
        )


def test_measures_know_what_tasks_show(network):
    """Directions of what moves, contrasts of all gratings; of the split that is shown."""
    directions = task_on(network, DirectionClassification(n_directions=4, n_phases=2, contrast=0.3))
    design = design_of(directions, network, "test")
    np.testing.assert_array_equal(design.directions, np.repeat([0, 90, 180, 270], 2))
    np.testing.assert_array_equal(design.contrasts, np.full(8, 0.3))
    np.testing.assert_array_equal(design.t_ref, network.membrane.per_cell("t_ref"))
    assert (design.cells, design.dt, design.n_steps) == (network.cells, 1.0, directions.n_steps)
    still = design_of(
        task_on(network, OrientationDiscrimination(n_deltas=3)), network, "validation"
    )
    assert still.directions is None
    assert len(still.contrasts) == 6
    with pytest.raises(ConfigError, match="did you mean 'test'"):
        design_of(directions, network, "tests")


def test_what_differs_within_a_trial_is_not_known():
    a, b = Grating(0.0, 0.04, 2.0, contrast=0.4), Grating(90.0, 0.04, 2.0, contrast=0.4)
    movies = [
        (Shown(a, 0, 10), Shown(b, 10, 20)),
        (Shown(a, 0, 10), Shown(FullField(), 10, 20), Shown(a, 20, 30)),
        (Shown(FullField(), 0, 10),),
        (),
    ]
    np.testing.assert_array_equal(
        common(movies, lambda g: g.direction), [np.nan, 0, np.nan, np.nan]
    )
    np.testing.assert_array_equal(common(movies, lambda g: g.contrast), [0.4, 0.4, np.nan, np.nan])
    assert common(movies[2:], lambda g: g.contrast) is None
