"""Image data sets: four IDX files, from a folder or a Debian package, become memory-mappable arrays.

The files come from a folder of the user's, from a Debian package that the user has, or from the package
that the manifest names. Each must have the manifest's shape and SHA-256. `schema.images` says what is
written; `load.images` reads it.
"""

import io
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from v1builder.fetch.debian import files_of_package
from v1builder.fetch.idx import read_idx
from v1builder.fetch.transfer import RefusedError, Transfer, WantedFile, download, new_session
from v1builder.schema.citations import write_citations
from v1builder.schema.errors import ConfigError, DataError, FetchError
from v1builder.schema.files import atomic_folder, sha256_of, write_json
from v1builder.schema.images import SPLITS, IdxFile, PublishedImages, StoredImages, array_file
from v1builder.schema.manifests import Download, Manifest
from v1builder.schema.provenance import provenance

Progress = Callable[[str, int, int], None]
Found = Mapping[str, Path | bytes]
_BESIDE = 1 << 20  # bytes that a package may have beside the four files
_MB = 1_000_000


def fetch_images(
    out: Path | str,
    manifest: Manifest,
    *,
    origin: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    transfer: Transfer | None = None,
) -> Path:
    """Make a folder of images: arrays, `provenance.json`, CITATIONS.md and CITATIONS.bib.

    Args:
        out: the folder.
        manifest: of an image data set.
        origin: folder that has the four files, packed with gzip or not, or a Debian package that has
            them; None to download the package that the manifest names.
        overwrite: replace `out` if it exists.
        progress: called with (stage, done, total).
        transfer: how to download.

    Returns:
        `out` as a path.

    Raises:
        ConfigError: the source has no images; or no `origin` is given, and none is in the manifest.
        DataError: a file is not there, damaged, or not the one that the manifest names.
        FetchError: the package could not be downloaded.
        StorageError: `out` is in the way or the file system refused.
    """
    out, images, where = Path(out), manifest.images, f"fetch, source {manifest.name}"
    if images is None:
        raise ConfigError.of("this source has no images", where)
    if origin is None and not manifest.downloads:
        what = "the files of this source cannot be downloaded"
        raise ConfigError.of(what, where, "no --from", images.obtain)
    report = progress or (lambda _stage, _done, _total: None)
    with atomic_folder(out, overwrite=overwrite) as temporary:
        if origin is None:
            (offered,) = manifest.downloads.values()
            origin = temporary / offered.file
            _download(offered, origin, images, transfer or Transfer(), report)
            found = _in_package(origin, images)
            origin.unlink()
        else:
            origin = Path(origin)
            found = _in_package(origin, images) if origin.is_file() else _in_folder(origin, images)
        stored = _write(temporary, found, origin, images, report)
        record = provenance(
            "fetch",
            source=manifest.name,
            sources=[manifest.record()],
            files={file.file: file.sha256 for file in images.files().values()},
            images=stored.model_dump(mode="json"),
        )
        write_json(temporary / "provenance.json", record)
        write_citations(temporary, record)
    return out


def _download(
    offered: Download, package: Path, images: PublishedImages, transfer: Transfer, report: Progress
) -> None:
    """Bring the package that the manifest names; half of one is not kept beyond this run."""
    wanted = WantedFile(offered.file, offered.url, offered.sha256, offered.size)
    total = (offered.size or 0) // _MB

    def advance(n_bytes: int) -> None:
        report("download (MB)", n_bytes // _MB, max(total, n_bytes // _MB))

    try:
        with new_session() as session:
            download(session, wanted, package, transfer, threading.Event(), advance)
    except RefusedError as error:
        raise FetchError.of(
            f"the data set could not be downloaded: {error.reason}",
            offered.file,
            offered.url,
            f"check the connection and try again; or: {images.obtain}",
        ) from None
    package.with_name(package.name + ".validator").unlink(missing_ok=True)


def _in_folder(folder: Path, images: PublishedImages) -> Found:
    """The four files by name, packed or not; of two the unpacked one."""
    if not folder.is_dir():
        raise DataError.of("there is no such folder or package", folder, fix=images.obtain)
    found: dict[str, Path | bytes] = {}
    for file in images.files().values():
        for path in (folder / f"{file.file}.gz", folder / file.file):
            if path.is_file():
                found[file.file] = path
    return _complete(found, folder, images)


def _in_package(package: Path, images: PublishedImages) -> Found:
    """The four files by name."""
    files = list(images.files().values())
    names = {f"{file.file}.gz": file.file for file in files} | {
        file.file: file.file for file in files
    }
    largest = sum(file.n_values for file in files) + _BESIDE
    try:
        contents = files_of_package(package, names, largest)
    except (OSError, ValueError) as error:
        what = "the package of the data set cannot be read"
        raise DataError.of(what, package, error, images.obtain) from None
    return _complete({names[name]: data for name, data in contents.items()}, package, images)


def _complete(found: Found, where: Path, images: PublishedImages) -> Found:
    missing = [file.file for file in images.files().values() if file.file not in found]
    if missing:
        what = "files of the data set are missing"
        raise DataError.of(what, where, f"no {', no '.join(missing)}", images.obtain)
    return found


def _write(
    folder: Path, found: Found, origin: Path, images: PublishedImages, report: Progress
) -> StoredImages:
    """Check the files and write them as arrays."""
    sha256: dict[str, dict[str, str]] = {split: {} for split in SPLITS}
    for done, ((split, kind), file) in enumerate(images.files().items(), start=1):
        values = _read(found[file.file], file, origin, images)
        target = folder / array_file(split, kind)
        np.save(target, values if kind == "images" else values.astype(np.int64))
        sha256[split][kind] = sha256_of(target)
        report("images", done, len(images.files()))
    splits = {
        split: {"shape": images.files()[split, "images"].shape, "sha256": sha256[split]}
        for split in SPLITS
    }
    return StoredImages.model_validate({"class_names": images.class_names} | splits)


def _read(
    content: Path | bytes, file: IdxFile, origin: Path, images: PublishedImages
) -> NDArray[np.uint8]:
    """The values of a file, which must be what the manifest says."""
    where = content if isinstance(content, Path) else f"{origin}, {file.file}"
    try:
        opened = content.open("rb") if isinstance(content, Path) else io.BytesIO(content)
        with opened:
            values, sha256 = read_idx(opened, file.n_values)
    except (OSError, ValueError) as error:
        what = "a file of the data set cannot be read"
        raise DataError.of(what, where, error, images.obtain) from None
    if values.shape == file.shape and sha256 == file.sha256:
        return values
    got = (
        f"sha256 {sha256} (unpacked), the manifest says {file.sha256}"
        if values.shape == file.shape
        else f"{values.shape} values, the manifest says {file.shape}"
    )
    what = "a file is not the one that the manifest names"
    raise DataError.of(what, where, got, images.obtain)
