"""Movies of several stimuli, and what is kept of them."""

import pytest
import torch
from lgn_nodes import lgn_nodes

from v1builder.inputs import FilterSource
from v1builder.inputs.kept import Kept
from v1builder.lgn import LGN
from v1builder.stimuli import FullField, Grating, Shown, factored

GRATING = Grating(30.0, 0.05)
DRIFTING = Grating(120.0, 0.04, 4.0)
MOVIES = {
    "one after the other": (Shown(GRATING, 50, 150), Shown(FullField(), 300, 400)),
    "again and again": tuple(Shown(GRATING, 50 + 150 * i, 150 + 150 * i) for i in range(4)),
    "at once": (Shown(DRIFTING, 100, 500), Shown(GRATING, 100, 500)),
    "not in order": (Shown(FullField(-1.0), 333, 601), Shown(DRIFTING, 20, 210)),
    "past the end": (Shown(GRATING, 50, 100), Shown(DRIFTING, 550, 900)),
    "gray": (),
}


@pytest.fixture(scope="module")
def lgn():
    return LGN(lgn_nodes(1, seed=4))


@pytest.mark.parametrize("name", MOVIES)
def test_rates_are_those_of_the_movie_frame_by_frame(lgn, name):
    movie = MOVIES[name]
    expected = lgn.rates(factored(movie, 600, lgn.raster, 1.0).dense())
    assert torch.allclose(FilterSource(lgn).rates(movie, 600), expected, atol=2e-4)


def test_spikes_follow_the_rates_of_their_trial(lgn):
    source = FilterSource(lgn)
    movies = [MOVIES["one after the other"], MOVIES["gray"], MOVIES["at once"]]
    spikes = source.spikes([m for m in movies for _ in range(60)], 600, torch.Generator())
    for i, movie in enumerate(movies):
        expected = 60 * source.rates(movie, 600).unflatten(0, (12, 50)).sum(1) / 1000
        found = spikes[60 * i : 60 * i + 60].sum(0).unflatten(0, (12, 50)).sum(1)
        assert ((found - expected).abs() < 5 * expected.sqrt() + 1).all()


def test_spikes_are_poisson_with_the_rate_of_every_step(lgn):
    """Where rates change most, step by step, and with a variance equal to the mean."""
    source, n = FilterSource(lgn), 400
    movie = MOVIES["one after the other"]
    spikes = source.spikes([movie] * n, 600, torch.Generator().manual_seed(3)).double()
    expected = source.rates(movie, 600).double() / 1000
    by_step, mean = spikes.sum(dim=(0, 2)), n * expected.sum(dim=1)
    assert mean.max() > 1.5 * mean.min()
    deviation = (by_step - mean) / mean.sqrt()
    assert deviation.square().sum() == pytest.approx(600, abs=4 * (2 * 600) ** 0.5)
    assert deviation.abs().max() < 4.5
    by_trial = spikes.sum(dim=(1, 2))
    assert by_trial.mean() == pytest.approx(expected.sum().item(), rel=0.01)
    assert by_trial.var() / by_trial.mean() == pytest.approx(1, abs=4 * (2 / n) ** 0.5)


def test_a_stimulus_is_filtered_once_and_forgotten_in_time(lgn, monkeypatch):
    seen = []
    whole = lgn.frame_drive
    monkeypatch.setattr(
        lgn, "frame_drive", lambda frames: seen.append(len(frames)) or whole(frames)
    )
    source = FilterSource(lgn)
    for _ in range(2):
        source.spikes([MOVIES["one after the other"]] * 3, 600, torch.Generator())
    assert seen == [2]
    source._drives = Kept(limit=1)  # room for the last one only
    movies = [(Shown(Grating(float(a), 0.05), 50, 150),) for a in range(5)]
    few = source.spikes(movies, 600, torch.Generator().manual_seed(1))
    assert torch.equal(few, FilterSource(lgn).spikes(movies, 600, torch.Generator().manual_seed(1)))
    assert seen[1:] == [5, 5]


def test_what_is_unused_for_longest_is_forgotten_first():
    kept = Kept(limit=20)
    for name in "abc":
        kept[name] = torch.zeros(2)  # 8 bytes
        kept["a"]
    assert [name in kept for name in "abc"] == [True, False, True]
    kept["large"] = torch.zeros(100)
    assert [name in kept for name in ("a", "c", "large")] == [False, False, True]
