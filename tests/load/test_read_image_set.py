"""Images are mapped from the files of a fetched folder, and a changed folder is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_images import CLASS_NAMES, small_arrays, write_small_images

from v1builder.load.images import read_image_set
from v1builder.schema.errors import DataError
from v1builder.schema.files import sha256_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_small_images(tmp_path / "images")


def test_both_splits(folder: Path) -> None:
    found = read_image_set(folder)
    assert list(found) == ["train", "test"]
    for split, arrays in small_arrays().items():
        part = found[split]
        np.testing.assert_array_equal(part.images, arrays["images"])
        np.testing.assert_array_equal(part.labels, arrays["labels"].astype(np.int64), strict=True)
        assert part.images.dtype == np.uint8
        assert part.class_names == CLASS_NAMES
        assert part.citation == "Doe, J. (2020). Shapes."


def test_images_are_mapped_and_read_only(folder: Path) -> None:
    images = read_image_set(str(folder))["train"].images
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0, 0, 0] = 1


def _edit_pixel(folder: Path) -> None:
    images = np.lib.format.open_memmap(folder / "train_images.npy", mode="r+")
    images[1, 2, 3] ^= 1
    images.flush()


def _drop_array(folder: Path) -> None:
    (folder / "test_labels.npy").unlink()


def _drop_provenance(folder: Path) -> None:
    (folder / "provenance.json").unlink()


def _cut_provenance(folder: Path) -> None:
    path = folder / "provenance.json"
    path.write_text(path.read_text()[:200])


def _change_record(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "provenance.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def _a_store(folder: Path) -> None:
    _change_record(folder, lambda record: record.pop("images"))


def _forget_a_split(folder: Path) -> None:
    _change_record(folder, lambda record: record["images"].pop("test"))


def _forget_a_hash(folder: Path) -> None:
    _change_record(folder, lambda record: record["images"]["test"]["sha256"].pop("labels"))


def _forget_sources(folder: Path) -> None:
    _change_record(folder, lambda record: record["sources"].clear())


def _replace(folder: Path, split: str, kind: str, values: Any) -> None:
    """Another array whose hash is recorded."""
    path = folder / f"{split}_{kind}.npy"
    np.save(path, values)
    recorded = {kind: sha256_of(path)}
    _change_record(folder, lambda record: record["images"][split]["sha256"].update(recorded))


def _a_class_too_many(folder: Path) -> None:
    _replace(folder, "train", "labels", np.arange(20) % 4)


def _negative_label(folder: Path) -> None:
    _replace(folder, "train", "labels", np.arange(20) % 3 - 1)


def _a_label_too_few(folder: Path) -> None:
    _replace(folder, "test", "labels", np.zeros(7, np.int64))


def _floats(folder: Path) -> None:
    _replace(folder, "train", "images", np.zeros((20, 5, 4)))


def _flat(folder: Path) -> None:
    _replace(folder, "train", "images", np.zeros((20, 20), np.uint8))


def _pickled(folder: Path) -> None:
    _replace(folder, "train", "images", np.array([{}], dtype=object))


@pytest.mark.parametrize(
    ("breaking", "expected"),
    [
        (_edit_pixel, ["changed after they were fetched", "train_images.npy", ", recorded "]),
        (_drop_array, ["cannot be read", "test_labels.npy", "No such file"]),
        (_drop_provenance, ["not a folder of images", "provenance.json", "--source fashion_mnist"]),
        (_cut_provenance, ["provenance of the images is damaged"]),
        (_a_store, ["not a folder of images", "stage fetch"]),
        (_forget_a_split, ["provenance of the images is damaged", "test"]),
        (_forget_a_hash, ["changed after they were fetched", "recorded None"]),
        (_forget_sources, ["provenance of the images is damaged"]),
        (_a_class_too_many, ["labels are not 0 to 2", "0 to 3"]),
        (_negative_label, ["labels are not 0 to 2", "-1 to 1"]),
        (_a_label_too_few, ["not what is recorded", "int64 (7,), recorded int64 (8,)"]),
        (_floats, ["not what is recorded", "float64 (20, 5, 4), recorded uint8 (20, 5, 4)"]),
        (_flat, ["not what is recorded", "(20, 20)"]),
        (_pickled, ["cannot be read", "train_images.npy"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_broken_folders(
    folder: Path, breaking: Callable[[Path], None], expected: list[str]
) -> None:
    breaking(folder)
    with pytest.raises(DataError) as caught:
        read_image_set(folder)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].fix
    for text in expected:
        assert text in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder of images"):
        read_image_set(tmp_path / "nowhere")
