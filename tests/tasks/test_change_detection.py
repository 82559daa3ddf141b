"""Sequences of flashes, and what is asked after each."""

import itertools

import pytest
import torch
from lgn_nodes import lgn_nodes

from v1builder.inputs import FilterSource
from v1builder.lgn import LGN
from v1builder.schema.config import Settings, parse_settings
from v1builder.schema.errors import ConfigError, DataError
from v1builder.stimuli import Grating, Picture
from v1builder.tasks import SPLITS, TASKS, AnyTask, make_task

GRATINGS = TASKS["grating_change_detection"]
IMAGES = TASKS["image_change_detection"]


class Table(Settings):
    task: AnyTask


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def sources():
    return {"lgn": FilterSource(LGN(lgn_nodes(1, seed=4)))}


def flashes(settings, movie):
    """What is shown in every flash, None where nothing is."""
    period = settings.gray_before_ms + settings.on_ms + settings.gray_after_ms
    found = [None] * settings.n_flashes
    for shown in movie:
        number, start = divmod(shown.start_ms, period)
        assert start == settings.gray_before_ms
        assert shown.stop_ms - shown.start_ms == settings.on_ms
        found[int(number)] = shown.stimulus
    return found


def test_published_timing(sources):
    task = make_task(GRATINGS(n_flashes=3), sources, dt=1.0)
    assert task.n_steps == 900
    assert task.windows == (slice(500, 550), slice(800, 850))
    assert task.carry_state
    mice = IMAGES(gray_before_ms=0, on_ms=250, gray_after_ms=500, response_ms=(150, 750))
    assert make_task(mice, sources, dt=1.0).windows[0] == slice(900, 1500)


def test_the_answer_is_whether_the_orientation_changed():
    settings = GRATINGS(n_flashes=5, min_change=2.0)
    trials = settings.draw(300, "train", generator())
    phases = set()
    for movie, target, kind in zip(trials.movies, trials.target, trials.kind, strict=True):
        shown = flashes(settings, movie)
        assert all(isinstance(one, Grating) for one in shown)
        differences = [abs(b.direction - a.direction) for a, b in itertools.pairwise(shown)]
        assert [d > 0 for d in differences] == target.bool().tolist()
        assert all(d == 0 or d >= 2 - 1e-9 for d in differences)
        assert all(120 <= one.direction <= 150 for one in shown)
        for difference, number in zip(differences, kind.tolist(), strict=True):
            limit = settings.kinds[number].value
            assert difference <= limit
            assert number < 2 or difference > settings.kinds[number - 1].value
        phases |= {one.phase for one in shown}
    assert len(phases) > 1490  # random in every flash
    assert trials.target.float().mean() == pytest.approx(0.5, abs=0.05)


def test_orientations_are_uniform():
    trials = GRATINGS(n_flashes=2).draw(2000, "test", generator(1))
    first = torch.tensor([movie[0].stimulus.direction for movie in trials.movies])
    assert first.mean() == pytest.approx(135, abs=1)
    assert first.std() == pytest.approx(30 / 12**0.5, rel=0.05)


def test_images_of_the_test_are_new_and_omissions_are_no_change():
    settings = IMAGES(p_omitted=0.3, n_flashes=6)
    seen = {}
    for split in SPLITS:
        trials = settings.draw(200, split, generator())
        for movie, target, kind in zip(trials.movies, trials.target, trials.kind, strict=True):
            shown = flashes(settings, movie)
            last = shown[0]
            for one, changed, number in zip(shown[1:], target.tolist(), kind.tolist(), strict=True):
                assert number == (2 if one is None else int(one != last))
                assert changed == (one is not None and one != last)
                last = one or last
        seen[split] = {
            shown.stimulus.images.pixels(split, shown.stimulus.index).tobytes()
            for movie in trials.movies for shown in movie
        }  # fmt: skip
        share = (trials.kind == 2).float().mean()
        assert share == pytest.approx(0.5 * 0.3, abs=0.04)
    assert len(seen["train"]) == 40
    assert len(seen["test"]) == 8
    assert seen["validation"] == seen["train"]
    assert seen["train"].isdisjoint(seen["test"])


def test_sensitivity_by_size_of_the_change():
    """An observer that sees changes above 10 degrees and guesses otherwise."""
    settings = GRATINGS()
    trials = settings.draw(4000, "test", generator())
    large = trials.kind >= 3
    guess = torch.rand(trials.target.shape, generator=generator(2)) < 0.2
    output = torch.nn.functional.one_hot((large | guess).long(), 2).float()
    found = settings.describe(output, trials)
    by_kind = {row["value"]: row["d_prime"] for row in found["d_prime_by_kind"]}
    assert list(by_kind) == [5, 10, 20, 90]
    assert abs(by_kind[5]) < 0.15
    assert abs(by_kind[10]) < 0.15
    assert min(by_kind[20], by_kind[90]) > 3
    same = next(row for row in found["by_kind"] if row["kind"] == "same")
    assert same["share_1"] == pytest.approx(0.2, abs=0.02)
    assert same["accuracy"] == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("table", "message"), [
    ({"name": "grating_change_detection", "response_ms": [200, 310]}, "within the 300 ms of a flash"),
    ({"name": "grating_change_detection", "min_change": 16}, "more than twice min_change apart"),
    ({"name": "grating_change_detection", "highest": 220}, "at most 90 degrees"),
    ({"name": "evidence_accumulation", "distance": 300}, "nor leave the screen"),
    ({"name": "evidence_accumulation", "radius": 9}, "must not overlap"),
    ({"name": "grating_change_detection", "n_flashes": 1}, "greater than or equal to 2"),
    ({"name": "grating_change_detection", "p_change": 1}, "less than 1"),
    ({"name": "orientation_discrimination", "carry_state": True}, "remove carry_state"),
    ({"name": "image_classification", "carry_state": True}, "remove carry_state"),
    ({"name": "evidence_accumulation", "n_cues": 4}, "must be odd"),
])  # fmt: skip
def test_a_wrong_table_is_explained(table, message):
    with pytest.raises(ConfigError, match=message):
        parse_settings({"task": table}, Table, "experiment.toml")


def test_chance_knows_how_frequent_changes_are():
    answer = GRATINGS(p_change=0.1).answer
    assert answer.primary.chance == 0.9
    trials = GRATINGS(p_change=0.1).draw(3000, "test", generator())
    never = torch.nn.functional.one_hot(torch.zeros_like(trials.target), 2).float()
    found = answer.score(never, trials.target)
    assert found["accuracy"] == pytest.approx(0.9, abs=0.01)


def test_an_omission_is_no_noise_trial():
    """An observer with hits of .7 and false alarms of .2 that never answers to nothing."""
    settings = IMAGES(p_omitted=0.3)
    trials = settings.draw(6000, "train", generator())
    chance = torch.tensor([0.2, 0.7, 0.0])[trials.kind]
    says = torch.rand(chance.shape, generator=generator(1)) < chance
    found = settings.describe(torch.nn.functional.one_hot(says.long(), 2).float(), trials)
    (row,) = found["d_prime_by_kind"]
    assert row["d_prime"] == pytest.approx(0.524 + 0.842, abs=0.06)


def test_a_carried_trial_begins_with_no_spontaneous_activity(sources):
    task = make_task(GRATINGS(), sources, dt=1.0)
    assert task.spontaneous.stop == 0
    alone = make_task(GRATINGS(carry_state=False), sources, dt=1.0)
    assert alone.spontaneous == slice(0, 50)


def test_images_that_are_not_there_are_named():
    with pytest.raises(DataError, match="no such images(.|\n)*photograph"):  # noqa: RUF043
        IMAGES(images="photograph").draw(1, "train", generator())


def test_pictures_are_as_large_as_the_settings_say():
    trials = IMAGES(degrees=30.0).draw(2, "train", generator())
    assert all(
        isinstance(shown.stimulus, Picture) and shown.stimulus.degrees == 30
        for movie in trials.movies for shown in movie
    )  # fmt: skip
