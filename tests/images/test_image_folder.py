"""The user's own folders of images and films."""

import av
import numpy as np
import pytest
from PIL import Image

from v1builder.images import ImageFolder
from v1builder.schema.errors import DataError


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
    else:
        Image.fromarray(pixels).save(path)


def write_film(path, frames, rate):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.repeat(frame[..., None], 3, axis=2), "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


@pytest.fixture
def folder(tmp_path):
    ramp = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    for split in ("train", "validation", "test"):
        write(tmp_path / split / "cat" / "a.png", ramp)
        write(tmp_path / split / "dog" / "b.npy", ramp[::-1].copy())
    write(tmp_path / "train" / "dog" / "film.npy", np.linspace(-1, 1, 30).reshape(2, 3, 5))
    (tmp_path / "train" / "dog" / "notes.txt").write_text("not an image")
    return tmp_path, ramp


def test_images_and_arrays_by_class(folder):
    path, ramp = folder
    images = ImageFolder(str(path))
    assert images.class_names == ("cat", "dog")
    assert images.labels("train").tolist() == [0, 1, 1]
    assert images.labels("test").tolist() == images.labels("validation").tolist() == [0, 1]
    expected = ramp / 255 * 2 - 1
    assert np.allclose(images.pixels("train", 0), expected)
    assert np.allclose(images.pixels("train", 1), expected[::-1])
    assert [images.n_frames("train", i) for i in range(3)] == [1, 1, 2]
    assert np.allclose(images.pixels("train", 2, 1), np.linspace(-1, 1, 30).reshape(2, 3, 5)[1])


@pytest.mark.parametrize("layout", ["", "train and test"])
def test_no_image_is_in_two_splits(tmp_path, layout):
    for split, first in (("train", 0), ("test", 100)) if layout else (("", 0),):
        for k, name in enumerate(("cat", "dog")):
            for i in range(40):
                value = (first + i + 0.5 * k) / 200
                write(tmp_path / split / name / f"{first + i}.npy", np.full((2, 2), value))
    images = ImageFolder(str(tmp_path))
    numbers = {split: len(images.labels(split)) for split in ("train", "validation", "test")}
    expected = (70, 10, 80) if layout else (56, 8, 16)
    assert tuple(numbers.values()) == expected
    values = [
        {images.pixels(split, i)[0, 0] for i in range(number)} for split, number in numbers.items()
    ]
    assert len(set.union(*values)) == sum(expected)
    for split, number in numbers.items():  # as many of each class
        assert np.bincount(images.labels(split)).tolist() == [number // 2] * 2


def test_sixteen_bits_are_not_cut(tmp_path):
    ramp = np.linspace(0, 65535, 24).astype(np.uint16).reshape(4, 6)
    for split in ("train", "validation", "test"):
        for name in ("a", "b"):
            write(tmp_path / split / name / "x.png", ramp)
    assert np.allclose(ImageFolder(str(tmp_path)).pixels("train", 0), ramp / 65535 * 2 - 1)


def test_a_film_has_its_frames_and_their_rate(tmp_path):
    frames = np.stack([np.full((32, 48), 40 * i, np.uint8) for i in range(6)])
    for split in ("train", "validation", "test"):
        write_film(tmp_path / split / "moving" / "a.mp4", frames, 25)
        write(tmp_path / split / "still" / "a.png", frames[0])
    images = ImageFolder(str(tmp_path))
    assert [images.n_frames("train", i) for i in range(2)] == [6, 1]
    assert [images.frames_per_second("train", i) for i in range(2)] == [25, None]
    levels = [(images.pixels("train", 0, frame).mean() + 1) * 127.5 for frame in range(6)]
    assert np.allclose(levels, 40 * np.arange(6), atol=3)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.png", b"not a picture", "an image cannot be read"),
    ("a.npy", b"\x93NUMPY", "an image cannot be read"),
    ("a.npy", np.zeros(5, np.uint8), r"wrong shape(.|\n)*\(5,\)(.|\n)*\[row, column\]"),
    ("a.npy", np.zeros((3, 0), np.uint8), "wrong shape"),
    ("a.npy", np.zeros((8, 8, 3), np.uint8), "wrong shape(.|\n)*without colours"),
    ("a.tif", np.zeros((4, 4), np.float32), "unusual kind(.|\n)*mode F"),
    ("a.npy", np.full((3, 4), 7.5), "not in its range(.|\n)*up to 7.5"),
    ("a.npy", np.full((3, 4), np.nan), "not in its range"),
    ("a.npy", np.zeros((3, 4), np.int32), "not in its range(.|\n)*int32(.|\n)*uint8"),
    ("a.mp4", b"not a film", "a film cannot be read"),
])  # fmt: skip
def test_what_is_no_image_is_refused(folder, name, content, message):
    path = folder[0]
    bad = path / "train" / "ant" / name
    for split in ("train", "validation", "test"):
        write(path / split / "ant" / "0.npy", np.zeros((2, 2), np.uint8))
    if isinstance(content, bytes):
        bad.write_bytes(content)
    else:
        write(bad, content)
    images = ImageFolder(str(path))
    with pytest.raises(DataError, match=message):
        [images.pixels("train", i) for i in range(len(images.labels("train")))]


def test_a_folder_without_classes_is_explained(tmp_path):
    for i in range(3):
        write(tmp_path / "train" / "only" / f"{i}.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match=r"no classes of images(.|\n)*one folder per class"):
        ImageFolder(str(tmp_path)).labels("train")
    for i in range(3):
        write(tmp_path / "train" / "other" / f"{i}.png", np.zeros((2, 2), np.uint8))
    write(tmp_path / "test" / "only" / "a.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match=r"no images for test(.|\n)*other"):
        ImageFolder(str(tmp_path)).labels("train")
