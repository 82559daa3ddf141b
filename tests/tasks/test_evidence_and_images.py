"""Accumulation of evidence, classes of images and films, and thresholds of orientation."""

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from v1builder.images.folder import _digest, _listed
from v1builder.schema.config import Settings, parse_settings
from v1builder.schema.errors import ConfigError
from v1builder.tasks import TASKS, AnyTask
from v1builder.tasks.psychometrics import threshold

EVIDENCE = TASKS["evidence_accumulation"]
CLASSES = TASKS["image_classification"]
ORIENTATION = TASKS["orientation_discrimination"]


class Table(Settings):
    task: AnyTask


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("n_cues", "duration"), [(5, 600), (7, 720)])
def test_the_majority_of_cues_is_the_answer(n_cues, duration):
    settings = EVIDENCE(n_cues=n_cues)
    assert settings.duration_ms == duration
    assert settings.windows_ms == [(duration - 50, duration)]
    trials = settings.draw(2000, "train", generator())
    right = torch.zeros(2000, n_cues, dtype=torch.bool)
    for row, movie in zip(right, trials.movies, strict=True):
        assert [shown.start_ms for shown in movie] == [60 * i for i in range(n_cues)]
        assert {shown.stop_ms - shown.start_ms for shown in movie} == {50}
        row[:] = torch.tensor([shown.stimulus.x > 0 for shown in movie])
    number = right.sum(dim=1)
    assert torch.equal((number > n_cues / 2).long(), trials.target[:, 0])
    assert torch.equal(number, trials.kind[:, 0])
    # Classes are equal in number; given that, cues are independent: numbers are binomial.
    assert trials.target.sum() == 1000
    expected = 2000 * torch.tensor([_binomial(n_cues, k) for k in range(n_cues + 1)])
    found = torch.bincount(number, minlength=n_cues + 1)
    assert ((found - expected).abs() < 5 * expected.sqrt()).all()
    assert (right.float().mean(dim=0) - 0.5).abs().max() < 0.06


def _binomial(n, k):
    from math import comb

    return comb(n, k) / 2**n


def test_digits_are_shown_with_their_class():
    settings = CLASSES()
    trials = settings.draw(50, "test", generator())
    assert settings.n_classes == 10
    assert torch.bincount(trials.target[:, 0]).tolist() == [5] * 10
    for movie, target in zip(trials.movies, trials.target, strict=True):
        (shown,) = movie
        picture = shown.stimulus
        assert picture.images.labels("test")[picture.index] == target
        assert (shown.start_ms, shown.stop_ms, picture.degrees) == (50, 150, 24)


def test_a_folder_beside_the_experiment_becomes_a_task_and_films_run(tmp_path):
    for split in ("train", "validation", "test"):
        for name, length in (("still", 1), ("moving", 6)):
            folder = tmp_path / "films" / split / name
            folder.mkdir(parents=True)
            frames = np.stack([np.full((4, 5), 30 * i, np.uint8) for i in range(length)])
            np.save(folder / "a.npy", frames)
    table = {"name": "image_classification", "images": "films", "frames_per_second": 40.0}
    settings = parse_settings({"task": table}, Table, "experiment.toml", tmp_path).task
    assert settings.images == str(tmp_path / "films")
    trials = settings.draw(2, "test", generator())
    lengths = {
        int(target): movie for target, movie in zip(trials.target, trials.movies, strict=True)
    }
    moving, still = lengths[0], lengths[1]  # classes in alphabetical order
    assert len(still) == 1
    # 25 ms a frame: only four of six frames fit into 100 ms.
    assert [(shown.start_ms, shown.stop_ms) for shown in moving] == [
        (50, 75), (75, 100), (100, 125), (125, 150),
    ]  # fmt: skip
    assert [shown.stimulus.frame for shown in moving] == [0, 1, 2, 3]


@pytest.mark.parametrize("images", ["photographs", "textures"])
def test_images_without_classes_in_common_are_not_classified(images):
    with pytest.raises(ConfigError, match="not of the same classes"):
        CLASSES(images=images).draw(4, "train", generator())


def test_a_folder_named_like_a_set_does_not_hide_it(tmp_path):
    (tmp_path / "digits").mkdir()
    table = {"name": "image_classification", "images": "digits"}
    settings = parse_settings({"task": table}, Table, "experiment.toml", tmp_path).task
    assert settings.images == "digits"


def test_the_hash_of_the_images_says_what_they_are(tmp_path):
    for name in ("a", "b"):
        for i in range(9):
            (tmp_path / name).mkdir(exist_ok=True)
            np.save(tmp_path / name / f"{i}.npy", np.full((2, 2), i, np.uint8))
    before = CLASSES(images=str(tmp_path)).files
    assert CLASSES(images=str(tmp_path)).files == before
    assert CLASSES().files == {}
    _listed.cache_clear()
    _digest.cache_clear()
    np.save(tmp_path / "a" / "0.npy", np.full((2, 2), 77, np.uint8))
    assert CLASSES(images=str(tmp_path)).files != before


def test_random_phases_are_uniform_and_orientations_stay():
    settings = ORIENTATION(n_phases="random", max_delta=10.0)
    trials = settings.draw(1000, "train", generator())
    phases = torch.tensor([movie[0].stimulus.phase for movie in trials.movies])
    assert len(set(phases.tolist())) == 1000
    assert phases.mean() == pytest.approx(180, abs=5 * 104 / 1000**0.5)
    for movie, target in zip(trials.movies, trials.target, strict=True):
        assert (movie[0].stimulus.direction > 45) == bool(target)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_threshold_of_an_observer_is_found(split):
    """An observer with Gaussian noise of 4 degrees and a bias of 1: 75 % at .674 * 4 degrees."""
    settings = ORIENTATION(max_delta=10.0, n_phases="random")
    trials = settings.draw(4000, split, generator())
    noise = 4 * torch.randn(4000, generator=generator(3))
    seen = torch.tensor([movie[0].stimulus.direction - 45 for movie in trials.movies]) + noise
    output = torch.nn.functional.one_hot((seen > 1).long(), 2)[:, None].float()
    found = settings.describe(output, trials)
    fit = found["psychometric"]
    assert fit["threshold_75"] == pytest.approx(0.6745 * 4, rel=0.08)
    assert fit["interval_95"][0] < 0.6745 * 4 < fit["interval_95"][1]
    assert fit["bias"] == pytest.approx(1, abs=0.3)
    for row in found["by_kind"]:
        shift = {"train": 0, "test": 2 / 3}[split] * 0.5 * np.sign(row["value"])
        expected = ndtr((row["value"] - shift - 1) / 4)
        assert row["share_1"] == pytest.approx(expected, abs=0.2)
    assert sum(row["n"] for row in found["by_kind"]) == 4000


@pytest.mark.parametrize(("choice", "reason"), [
    (lambda value: value > -100, "one answer was given always"),
    (lambda value: value > 0, "without error"),
    (lambda value: value < 0, "do not grow"),
    (lambda value: np.random.default_rng(1).normal(-value, 3) > 0, "do not grow"),
])  # fmt: skip
def test_there_is_no_threshold_without_a_curve(choice, reason):
    value = np.repeat(np.arange(-10.0, 11.0)[np.arange(21) != 10], 20)
    found = threshold(value, choice(value).astype(np.int64))
    assert found["threshold_75"] is None
    assert reason in found["reason"]
