"""What every set of images must do."""

import numpy as np
import pytest

from v1builder.images import NAMED, Photographs, Textures, image_set
from v1builder.lgn import Raster
from v1builder.schema.errors import DataError
from v1builder.stimuli import Picture

EVERY = pytest.mark.parametrize("name", NAMED)
SPLITS = ("train", "validation", "test")


@EVERY
def test_a_set_is_a_value(name):
    assert image_set(name) == image_set(name)
    assert hash(image_set(name)) == hash(image_set(name))


@EVERY
@pytest.mark.parametrize("split", SPLITS)
def test_images_are_in_range_and_of_a_class(name, split):
    images = image_set(name)
    labels = images.labels(split)
    assert labels.min() >= 0
    assert labels.max() < len(images.class_names)
    for index in {0, len(labels) // 2, len(labels) - 1}:
        pixels = images.pixels(split, index)
        assert pixels.dtype == np.float64
        assert np.abs(pixels).max() <= 1
        assert pixels.std() > 0.1
        assert np.array_equal(pixels, images.pixels(split, index))


@EVERY
def test_held_out_images_are_others(name):
    images = image_set(name)
    seen = {images.pixels("train", i).tobytes() for i in range(len(images.labels("train")))}
    new = [images.pixels("test", i).tobytes() for i in range(len(images.labels("test")))]
    assert seen.isdisjoint(new)


def test_photographs_have_equal_mean_and_contrast_on_the_screen():
    """40 to be learned with and 8 new ones, as reference experiments have."""
    images = Photographs()
    assert len(images.labels("train")) == len(images.labels("validation")) == 40
    assert len(images.labels("test")) == 8
    for split in ("train", "test"):
        for i in images.labels(split):
            screen = Picture(images, split, i, degrees=24.0).frames(Raster())[0].numpy()
            pixels = screen[28:52, 48:72]
            assert np.allclose(pixels, images.pixels(split, i))
            assert np.abs(screen).sum() == pytest.approx(np.abs(pixels).sum())
            assert abs(pixels.mean()) < 0.01
            assert pixels.std() == pytest.approx(0.3, rel=0.02)


def test_power_of_textures_falls_with_the_square_of_frequency():
    spectra = []
    for i in range(40):
        pixels = Textures(40, 64, contrast=0.05).pixels("train", i)
        spectra.append(np.abs(np.fft.fft2(pixels)) ** 2)
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None])
    chosen = (frequency > 0.03) & (frequency < 0.4)
    power = np.mean(spectra, axis=0)[chosen]
    slope = np.polyfit(np.log(frequency[chosen]), np.log(power), 1)[0]
    assert slope == pytest.approx(-2, abs=0.1)


def test_an_unknown_set_names_the_nearest():
    with pytest.raises(DataError, match="did you mean 'digits'"):
        image_set("digit")
