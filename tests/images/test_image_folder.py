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
    for split in ("train", "test"):
        write(tmp_path / split / "cat" / "a.png", ramp)
        write(tmp_path / split / "dog" / "b.npy", ramp[::-1].copy())
    write(tmp_path / "train" / "dog" / "film.npy", np.linspace(-1, 1, 24).reshape(2, 3, 4))
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
    assert np.allclose(images.pixels("train", 2, 1), np.linspace(-1, 1, 24).reshape(2, 3, 4)[1])


def test_without_splits_files_are_shared_out_and_none_twice(tmp_path):
    for name in ("cat", "dog"):
        for i in range(60):
            write(tmp_path / name / f"{i}.npy", np.full((2, 2), i, np.uint8))
    images = ImageFolder(str(tmp_path))
    numbers = {split: len(images.labels(split)) for split in ("train", "validation", "test")}
    assert sum(numbers.values()) == 120
    assert numbers["train"] > 60
    assert min(numbers.values()) > 4
    values = [{images.pixels(split, i)[0, 0] for i in range(numbers[split])} for split in numbers]
    assert values[0].isdisjoint(values[2])


def test_a_film_has_its_frames_and_their_rate(tmp_path):
    frames = np.stack([np.full((32, 48), 40 * i, np.uint8) for i in range(6)])
    write_film(tmp_path / "moving" / "a.mp4", frames, 25)
    for i in range(40):
        write(tmp_path / "still" / f"{i}.npy", frames[0])
        write_film(tmp_path / "moving" / f"{i}.mp4", frames[:1], 25) if i < 30 else None
    images = ImageFolder(str(tmp_path))
    lengths = {
        (split, i): images.n_frames(split, i)
        for split in ("train", "validation", "test")
        for i in np.flatnonzero(images.labels(split) == 0)
    }
    at = next(key for key, length in lengths.items() if length == 6)
    assert images.frames_per_second(*at) == 25
    levels = [(images.pixels(*at, frame).mean() + 1) * 127.5 for frame in range(6)]
    assert np.allclose(levels, 40 * np.arange(6), atol=3)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.png", b"not a picture", "an image cannot be read"),
    ("a.npy", b"\x93NUMPY", "an image cannot be read"),
    ("a.npy", np.zeros(5, np.uint8), r"wrong shape(.|\n)*\(5,\)(.|\n)*\[row, column\]"),
    ("a.npy", np.zeros((3, 0), np.uint8), "wrong shape"),
    ("a.npy", np.full((3, 4), 7.5), "not in its range(.|\n)*up to 7.5"),
    ("a.npy", np.full((3, 4), np.nan), "not in its range"),
    ("a.npy", np.zeros((3, 4), np.int32), "not in its range(.|\n)*int32(.|\n)*uint8"),
    ("a.mp4", b"not a film", "a film cannot be read"),
])  # fmt: skip
def test_what_is_no_image_is_refused(folder, name, content, message):
    path = folder[0]
    bad = path / "train" / "ant" / name
    for split in ("train", "test"):
        write(path / split / "ant" / "0.npy", np.zeros((2, 2), np.uint8))
    if isinstance(content, bytes):
        bad.write_bytes(content)
    else:
        write(bad, content)
    images = ImageFolder(str(path))
    with pytest.raises(DataError, match=message):
        [images.pixels("train", i) for i in range(len(images.labels("train")))]


def test_a_folder_without_classes_is_explained(tmp_path):
    write(tmp_path / "train" / "only" / "a.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match=r"no classes of images(.|\n)*one folder per class"):
        ImageFolder(str(tmp_path)).labels("train")
    write(tmp_path / "train" / "other" / "a.png", np.zeros((2, 2), np.uint8))
    write(tmp_path / "test" / "only" / "a.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match=r"no images for (test|validation)(.|\n)*other"):
        ImageFolder(str(tmp_path)).labels("train")
