"""Pictures on the screen, and patches."""

import numpy as np
import pytest
import torch

from v1builder.images import Digits, Textures
from v1builder.lgn import Raster
from v1builder.stimuli import Grating, GratingPatch, Picture


@pytest.mark.parametrize("degrees", [7.3, 24.0, 60.0])
@pytest.mark.parametrize("pixels_per_degree", [0.5, 1.0, 2.0])
def test_a_picture_keeps_its_light_and_lies_in_the_middle(degrees, pixels_per_degree):
    raster = Raster(pixels_per_degree=pixels_per_degree)
    picture = Picture(Digits(), "train", 5, degrees=degrees)
    pixels = Digits().pixels("train", 5)
    frame = picture.frames(raster)[0].numpy()
    area = pixels_per_degree**-2
    assert frame.sum() * area == pytest.approx(pixels.sum() * (degrees / 8) ** 2)
    # The centre of light, from the middle of the screen, in degrees.
    for axis, at in ((0, raster.y), (1, raster.x)):
        seen = (frame.sum(axis=1 - axis) * (at - at.mean())).sum() / frame.sum()
        own = (pixels.sum(axis=1 - axis) * (np.arange(8) - 3.5)).sum() / pixels.sum() * degrees / 8
        assert seen == pytest.approx(own, abs=0.05 / pixels_per_degree)


def test_a_pixel_of_whole_degrees_is_shown_as_it_is():
    frame = Picture(Digits(), "test", 0, degrees=24.0).frames(Raster())[0]
    expected = np.repeat(np.repeat(Digits().pixels("test", 0), 3, axis=0), 3, axis=1)
    assert np.allclose(frame[28:52, 48:72], expected)


def test_what_is_around_a_picture_is_gray():
    frame = Picture(Textures(), "train", 0, degrees=20.0).frames(Raster())[0]
    assert frame[:30].abs().sum() == frame[50:].abs().sum() == 0
    assert frame[30:50, 50:70].abs().min() > 0


def test_a_patch_is_the_grating_in_its_window():
    patch = GratingPatch(30.0, 0.05, phase=20.0, x=-8.0, y=3.0, radius=5.0)
    frame, whole = patch.frames(Raster())[0], Grating(30.0, 0.05, phase=20.0).frames(Raster())[0]
    x, y = torch.arange(120.0) - 59.5 + 8, torch.arange(80.0)[:, None] - 39.5 - 3
    inside = x**2 + y**2 <= 25
    assert torch.equal(frame[inside], whole[inside])
    assert frame[~inside].abs().sum() == 0
