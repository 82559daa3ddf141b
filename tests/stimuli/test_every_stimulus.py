"""What every kind of stimulus must do; a new one is tested the moment its file exists."""

import pickle

import pytest
import torch

from v1builder.lgn import Raster
from v1builder.stimuli import STIMULI, Shown, factored

RASTER = Raster(pixels_per_degree=0.5)
EXAMPLES = [
    pytest.param(example, id=f"{name}-{i}")
    for name, kind in STIMULI.items()
    for i, example in enumerate(kind.examples())
]


@pytest.mark.parametrize("stimulus", EXAMPLES)
def test_it_is_frames_with_a_course_on_the_screen(stimulus):
    frames, course = stimulus.frames(RASTER), stimulus.course(50, 2.0)
    assert frames.dtype == course.dtype == torch.float64
    assert frames.shape == (len(frames), *RASTER.shape)
    assert course.shape == (50, len(frames))
    movie = torch.einsum("tk,khw->thw", course, frames)
    assert movie.abs().max() <= 1 + 1e-12
    assert movie.abs().max() > 0


@pytest.mark.parametrize("stimulus", EXAMPLES)
def test_the_course_starts_at_onset_whatever_its_length_and_step(stimulus):
    long, short = stimulus.course(40, 1.0), stimulus.course(10, 1.0)
    assert torch.equal(long[:10], short)
    assert torch.allclose(stimulus.course(20, 2.0), long[::2], atol=1e-12)


@pytest.mark.parametrize("stimulus", EXAMPLES)
def test_equal_stimuli_are_one(stimulus):
    again = pickle.loads(pickle.dumps(stimulus))  # noqa: S301
    assert again == stimulus
    assert hash(again) == hash(stimulus)
    assert torch.equal(again.frames(RASTER), stimulus.frames(RASTER))


def test_examples_of_equal_rhythm_have_equal_courses_and_all_differ():
    examples = [example for kind in STIMULI.values() for example in kind.examples()]
    assert len(set(examples)) == len(examples)
    for a in examples:
        for b in examples:
            if type(a) is type(b) and a.rhythm == b.rhythm:
                assert torch.equal(a.course(30, 1.0), b.course(30, 1.0))


def test_a_movie_is_the_sum_of_what_it_shows_and_ends_with_the_trial():
    examples = [example for kind in STIMULI.values() for example in kind.examples()]
    movie = tuple(Shown(s, 5.0 + 7 * i, 25.0 + 7 * i) for i, s in enumerate(examples))
    expected = torch.zeros(30, *RASTER.shape, dtype=torch.float64)
    for shown in movie:
        start, stop = shown.steps(1.0)
        own = torch.einsum(
            "tk,khw->thw", shown.stimulus.course(20, 1.0), shown.stimulus.frames(RASTER)
        )
        expected[start:stop] += own[: max(0, 30 - start)]
    assert torch.allclose(factored(movie, 30, RASTER, 1.0).dense(), expected)
