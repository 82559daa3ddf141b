import numpy as np
import pytest
import torch
from bmtk.simulator.filternet.lgnmodel.movie import GratingMovie

from v1builder.lgn import Raster
from v1builder.stimuli import FullField, Grating, Shown, factored


def movie_of(stimulus, raster, before, on, after):
    shown = Shown(stimulus, before, before + on)
    return factored((shown,), before + on + after, raster, 1.0).dense()


class BmtkRaster:
    """The pixels of BMTK's GratingMovie: its last pixel lies on the field's edge."""

    def __init__(self, width, height):
        self.shape = (height, width)
        self.x, self.y = np.linspace(0, width, width), np.linspace(0, height, height)


def bmtk_movie(grating, y_dir, theta, t_max=0.4):
    movie = GratingMovie(row_size=30, col_size=40, frame_rate=1000.0, y_dir=y_dir)
    return movie.create_movie(
        t_max=t_max,
        cpd=grating.spatial_frequency,
        temporal_f=grating.temporal_frequency,
        theta=theta,
        phase=grating.phase,
        contrast=grating.contrast,
        degrees_per_pixel=1.0,
    ).data


@pytest.mark.parametrize("direction", [0.0, 45.0, 100.0, 225.0, 300.0])
@pytest.mark.parametrize("temporal_frequency", [0.0, 4.0])
def test_a_grating_is_bmtks_with_y_up(direction, temporal_frequency):
    grating = Grating(direction, 0.05, temporal_frequency, phase=70.0, contrast=0.6)
    ours = movie_of(grating, BmtkRaster(40, 30), 0, 401, 0)
    assert np.allclose(ours, bmtk_movie(grating, "up", direction), atol=1e-12)
    assert np.allclose(ours, bmtk_movie(grating, "down", -direction), atol=1e-12)


@pytest.mark.parametrize(("direction", "shift"), [(0, (0, 1)), (90, (1, 0)), (180, (0, -1))])
def test_a_grating_drifts_along_its_direction(direction, shift):
    """At .05 cpd and 5 Hz it moves a pixel in 10 ms."""
    grating = Grating(direction, 0.05, 5.0)
    movie = movie_of(grating, Raster(), 0, 11, 0).numpy()
    moved = np.roll(movie[0], shift, axis=(0, 1))
    assert np.allclose(movie[10][5:-5, 5:-5], moved[5:-5, 5:-5], atol=1e-12)


def test_gray_surrounds_the_stimulus():
    movie = movie_of(Grating(30, 0.05, 2.0), Raster(), 7, 11, 5)
    shown = movie.abs().amax(dim=(1, 2)) > 0
    assert shown.tolist() == [False] * 7 + [True] * 11 + [False] * 5
    assert movie.abs().max() <= 0.8


def test_flash_and_gray_fill_the_screen():
    raster = Raster(pixels_per_degree=0.5)
    flash = movie_of(FullField(-1.0), raster, 2, 3, 1)
    assert flash.shape == (6, 40, 60)
    assert torch.equal(flash[2:5], torch.full((3, 40, 60), -1.0, dtype=torch.float64))
    assert flash[[0, 1, 5]].abs().sum() == 0
    gray = factored((), 4, raster, 1.0).dense()
    assert gray.abs().sum() == 0
    assert gray.shape == (4, 40, 60)
