"""Images come from a folder, a Debian package or a download, and are those of the manifest or none."""

import gzip
import json
import lzma
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from allen_server import AllenServer, status, truncated
from small_images import (
    CLASS_NAMES,
    ar_bytes,
    deb_bytes,
    idx_bytes,
    packed,
    small_arrays,
    small_files,
    small_manifest,
    tar_bytes,
    write_files,
    write_small_images,
    write_small_package,
)

from v1builder import stores
from v1builder.cli import main
from v1builder.fetch.debian import files_of_package
from v1builder.fetch.images import fetch_images
from v1builder.fetch.transfer import Transfer
from v1builder.schema.errors import ConfigError, DataError, FetchError, StorageError
from v1builder.schema.files import hash_folder, sha256_of
from v1builder.schema.manifests import read_image_manifests, read_manifests

TRAIN_IMAGES = "train-images-idx3-ubyte"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The four files as they are published."""
    return write_files(tmp_path / "files", packed(small_files()))


def test_arrays_provenance_and_citation(tmp_path: Path) -> None:
    out = write_small_images(tmp_path / "images")
    for split, arrays in small_arrays().items():
        images, labels = (np.load(out / f"{split}_{kind}.npy") for kind in arrays)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
        np.testing.assert_array_equal(images, arrays["images"])
        np.testing.assert_array_equal(labels, arrays["labels"])
    record = json.loads((out / "provenance.json").read_text())
    assert record["stage"] == "fetch"
    assert record["source"] == "small"
    assert record["images"]["class_names"] == list(CLASS_NAMES)
    assert record["images"]["test"]["shape"] == [8, 5, 4]
    recorded = record["images"]["train"]["sha256"]["labels"]
    assert recorded == sha256_of(out / "train_labels.npy")
    assert set(record["files"]) == set(small_files())
    assert "Shapes" in (out / "CITATIONS.md").read_text()
    assert "doe2020" in (out / "CITATIONS.bib").read_text()


def test_however_the_files_come_the_folder_is_the_same(
    files: Path, tmp_path: Path, server: AllenServer, quick: Transfer
) -> None:
    package = write_small_package(tmp_path / "small.deb")
    server.files["/pool/small.deb"] = package.read_bytes()
    plain, compressed = small_files(), packed(small_files())
    mixed = {k: v for k, v in plain.items() if "train" in k} | {
        k: v for k, v in compressed.items() if "t10k" in k
    }
    manifest = small_manifest(package, f"{server.url}/pool/small.deb")
    origins = {
        "packed": files,
        "plain": write_files(tmp_path / "files_plain", plain),
        "mixed": write_files(tmp_path / "files_mixed", mixed),
        "package": package,
        "download": None,
    }
    made = {
        name: fetch_images(tmp_path / name, manifest, origin=origin, transfer=quick)
        for name, origin in origins.items()
    }
    for folder in made.values():
        assert hash_folder(folder) == hash_folder(made["packed"])
    assert server.count("small.deb") == 1
    assert not list(tmp_path.glob(".*"))  # nothing is left of temporary folders


def test_an_unpacked_file_counts_where_both_are_there(files: Path, tmp_path: Path) -> None:
    """As torchvision leaves them; what is packed then need not be read."""
    write_files(files, small_files())
    (files / f"{TRAIN_IMAGES}.gz").write_bytes(b"broken")
    fetch_images(tmp_path / "images", small_manifest(), origin=files)


def _other_values(folder: Path) -> None:
    values = small_arrays()["train"]["images"].copy()
    values[3, 2, 1] ^= 1
    (folder / f"{TRAIN_IMAGES}.gz").write_bytes(gzip.compress(idx_bytes(values)))


def _fewer_images(folder: Path) -> None:
    values = small_arrays()["train"]["images"][:-1]
    (folder / f"{TRAIN_IMAGES}.gz").write_bytes(gzip.compress(idx_bytes(values)))


def _more_images(folder: Path) -> None:
    values = np.zeros((21, 5, 4), np.uint8)
    (folder / f"{TRAIN_IMAGES}.gz").write_bytes(gzip.compress(idx_bytes(values)))


def _labels_for_images(folder: Path) -> None:
    labels = (folder / "train-labels-idx1-ubyte.gz").read_bytes()
    (folder / f"{TRAIN_IMAGES}.gz").write_bytes(labels)


def _cut_off(folder: Path) -> None:
    path = folder / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-9])


def _remove(folder: Path) -> None:
    (folder / f"{TRAIN_IMAGES}.gz").unlink()


@pytest.mark.parametrize(
    ("breaking", "expected"),
    [
        (_other_values, ["not the one that the manifest names", "(unpacked), the manifest says "]),
        (_fewer_images, ["not the one", "(19, 5, 4) values, the manifest says (20, 5, 4)"]),
        (_more_images, ["cannot be read", "(21, 5, 4)", "at most 400"]),
        (_labels_for_images, ["not the one", "(20,) values, the manifest says (20, 5, 4)"]),
        (_cut_off, ["cannot be read", "the gzip file is damaged"]),
        (_remove, ["files of the data set are missing"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_files_that_are_not_those_of_the_manifest(
    files: Path, tmp_path: Path, breaking: Callable[[Path], None], expected: list[str]
) -> None:
    breaking(files)
    with pytest.raises(DataError) as caught:
        fetch_images(tmp_path / "out" / "images", small_manifest(), origin=files)
    for text in [*expected, TRAIN_IMAGES, str(files), "pass --from with the four files"]:
        assert text in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_wrong_hash_shows_both(files: Path, tmp_path: Path) -> None:
    _other_values(files)
    with pytest.raises(DataError) as caught:
        fetch_images(tmp_path / "images", small_manifest(), origin=files)
    manifest = small_manifest().images
    assert manifest is not None
    assert manifest.train.images.sha256 in str(caught.value)
    got = gzip.decompress((files / f"{TRAIN_IMAGES}.gz").read_bytes())
    plain = write_files(tmp_path / "plain", {"it": got})
    assert sha256_of(plain / "it") in str(caught.value)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        fetch_images(tmp_path / "images", small_manifest(), origin=tmp_path / "nowhere")
    assert "no such folder or package" in str(caught.value)
    assert "pass --from" in str(caught.value)


def test_nothing_to_download(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be downloaded") as caught:
        fetch_images(tmp_path / "images", small_manifest())
    assert "pass --from" in str(caught.value)


def test_an_existing_folder_is_kept_unless_told(files: Path, tmp_path: Path) -> None:
    out = write_files(tmp_path / "images", {"notes": b"mine"})
    with pytest.raises(StorageError, match="already exists"):
        fetch_images(out, small_manifest(), origin=files)
    assert [path.name for path in out.iterdir()] == ["notes"]
    fetch_images(out, small_manifest(), origin=files, overwrite=True)
    assert not (out / "notes").exists()


def test_a_transfer_that_breaks_goes_on(
    tmp_path: Path, server: AllenServer, quick: Transfer
) -> None:
    package = write_small_package(tmp_path / "small.deb")
    server.files["/small.deb"] = package.read_bytes()
    server.faults["/small.deb"] = [truncated(500)]
    manifest = small_manifest(package, f"{server.url}/small.deb")
    fetch_images(tmp_path / "images", manifest, transfer=quick)
    assert server.count("small.deb") == 2


def test_failed_downloads(tmp_path: Path, server: AllenServer, quick: Transfer) -> None:
    """Not there, out of order, and another package: each says so, and how to go without."""
    package = write_small_package(tmp_path / "small.deb")
    manifest = small_manifest(package, f"{server.url}/small.deb")

    def message() -> str:
        with pytest.raises(FetchError) as caught:
            fetch_images(tmp_path / "out" / "images", manifest, transfer=quick)
        assert list((tmp_path / "out").iterdir()) == []
        assert f"{server.url}/small.deb" in str(caught.value)
        assert "pass --from with the four files" in str(caught.value)
        return str(caught.value)

    assert "HTTP 404" in message()
    server.files["/small.deb"] = package.read_bytes()
    server.faults["/small.deb"] = [status(503)] * 3
    assert "HTTP 503" in message()
    server.files["/small.deb"] = b"!<arch>\nsomething else"
    assert "not the one that is pinned" in message()


def test_paths_in_a_package_are_not_followed(tmp_path: Path) -> None:
    """Content is taken by base name, from regular files only; nothing is written."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    tar = tar_bytes(
        {"../../a": b"1", str(tmp_path / "b"): b"2"}, links={"./c": str(tmp_path / "secret")}
    )
    package = inside / "it.deb"
    package.write_bytes(deb_bytes(tar))
    before = hash_folder(tmp_path)
    assert files_of_package(package, ["a", "b", "c"], 1 << 20) == {"a": b"1", "b": b"2"}
    assert hash_folder(tmp_path) == before


def test_package_without_the_files(tmp_path: Path) -> None:
    package = tmp_path / "other.deb"
    package.write_bytes(deb_bytes(tar_bytes({"./usr/bin/other": b"1"})))
    with pytest.raises(DataError, match="files of the data set are missing") as caught:
        fetch_images(tmp_path / "images", small_manifest(), origin=package)
    assert all(name in str(caught.value) for name in small_files())


def _compressed_otherwise(package: Path) -> None:
    package.write_bytes(ar_bytes({"debian-binary": b"2.0\n", "data.tar.zst": b"1234"}))


def _no_archive(package: Path) -> None:
    package.write_bytes(b"PK\x03\x04")


def _cut_in_a_header(package: Path) -> None:
    package.write_bytes(package.read_bytes()[:30])


def _cut_in_the_data(package: Path) -> None:
    package.write_bytes(package.read_bytes()[:-10])


def _no_xz(package: Path) -> None:
    package.write_bytes(ar_bytes({"data.tar.xz": b"no xz at all"}))


def _half_an_xz(package: Path) -> None:
    package.write_bytes(ar_bytes({"data.tar.xz": lzma.compress(bytes(4000))[:-12]}))


def _no_tar(package: Path) -> None:
    package.write_bytes(ar_bytes({"data.tar.xz": lzma.compress(b"no tar at all" * 100)}))


@pytest.mark.parametrize(
    ("breaking", "expected"),
    [
        (_compressed_otherwise, "it has no data.tar.xz, but debian-binary, data.tar.zst"),
        (_no_archive, "not a Debian package"),
        (_cut_in_a_header, "its ar archive is damaged"),
        (_cut_in_the_data, "data.tar.xz is cut off"),
        (_no_xz, "data.tar.xz is damaged"),
        (_half_an_xz, "data.tar.xz is cut off"),
        (_no_tar, "data.tar.xz is damaged"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damaged_packages(tmp_path: Path, breaking: Callable[[Path], None], expected: str) -> None:
    package = write_small_package(tmp_path / "small.deb")
    breaking(package)
    with pytest.raises(DataError, match="package of the data set cannot be read") as caught:
        fetch_images(tmp_path / "images", small_manifest(), origin=package)
    assert expected in str(caught.value)
    assert str(package) in str(caught.value)


def test_no_more_of_a_package_is_unpacked_than_expected(tmp_path: Path) -> None:
    package = tmp_path / "bomb.deb"
    bomb = lzma.compress(bytes(64 << 20), preset=0)
    package.write_bytes(ar_bytes({"data.tar.xz": bomb}))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="holds more than"):
            files_of_package(package, ["a"], 1 << 20)
        with pytest.raises(ValueError, match=f"has {len(bomb)} bytes"):
            files_of_package(package, ["a"], 1000)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_the_verb_fetches_images_too(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "read_image_manifests", lambda: {"small": small_manifest()})
    calls: list[tuple[str, int, int]] = []
    out = stores.fetch(
        tmp_path / "images",
        source="small",
        origin=files,
        progress=lambda *call: calls.append(call),
    )
    assert (out / "train_images.npy").exists()
    assert calls == [("images", done, 4) for done in (1, 2, 3, 4)]


def test_the_command_says_what_it_made(
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(stores, "read_image_manifests", lambda: {"small": small_manifest()})
    arguments = ["fetch", "--from", str(files), "--out", str(tmp_path / "images")]
    monkeypatch.setattr(sys, "argv", ["v1builder", *arguments, "--source", "small"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    printed = capsys.readouterr().out
    assert "train: 20 images of 5 x 4, 3 classes\ntest: 8 images of 5 x 4" in printed
    monkeypatch.setattr(sys, "argv", ["v1builder", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "this option is for images" in capsys.readouterr().err


def test_unknown_source_names_tables_and_images(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        stores.fetch(tmp_path / "out", source="fashion-mnist")
    assert "did you mean 'fashion_mnist'?" in str(caught.value)
    assert "snapshot, live, fashion_mnist, mnist" in str(caught.value)


def test_images_are_no_source_of_a_store() -> None:
    """A network that was built from the tables rests on none of them."""
    assert not set(read_image_manifests()) & {manifest.name for manifest in read_manifests()}


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist"])
def test_published_image_sets(name: str) -> None:
    manifest = read_image_manifests()[name]
    images = manifest.images
    assert images is not None
    assert len(images.class_names) == 10
    assert [file.shape for file in images.files().values()] == [
        (60000, 28, 28), (60000,), (10000, 28, 28), (10000,)
    ]  # fmt: skip
    assert set(small_files()) == {file.file for file in images.files().values()}
    record = manifest.record()
    assert record["citation"]
    assert record["terms"].startswith("https://")
    assert all(offered.sha256 and offered.size for offered in manifest.downloads.values())
