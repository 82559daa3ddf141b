"""A small image data set: its four published files, its manifest, packages of it."""

import gzip
import hashlib
import io
import lzma
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v1builder.fetch.images import fetch_images
from v1builder.schema.manifests import Manifest

CLASS_NAMES = ("disc", "square", "cross")
NAMES = {"train": "train", "test": "t10k"}
SIZES = {"train": 20, "test": 8}


def small_arrays() -> dict[str, dict[str, NDArray[np.uint8]]]:
    """Images [n, 5, 4] and labels [n] of both splits."""
    rng = np.random.default_rng(3)
    return {
        split: {
            "images": rng.integers(0, 256, (n, 5, 4), dtype=np.uint8),
            "labels": (np.arange(n) % len(CLASS_NAMES)).astype(np.uint8),
        }
        for split, n in SIZES.items()
    }


def idx_bytes(values: NDArray[np.uint8]) -> bytes:
    """The values as an IDX file."""
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    return header + values.tobytes()


def idx_name(split: str, kind: str) -> str:
    return f"{NAMES[split]}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"


def small_files() -> dict[str, bytes]:
    """The four files, unpacked."""
    return {
        idx_name(split, kind): idx_bytes(values)
        for split, arrays in small_arrays().items()
        for kind, values in arrays.items()
    }


def packed(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(content) for name, content in files.items()}


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def small_manifest(package: Path | None = None, url: str = "") -> Manifest:
    """The manifest; `package` is what can be downloaded at `url`."""
    values: dict[str, Any] = {
        "name": "small",
        "title": "Small images",
        "url": "https://example.org",
        "version": "1",
        "licence": "none",
        "terms": "https://example.org/terms",
        "references": [{"key": "doe2020", "authors": "Doe, J.", "title": "Shapes", "year": 2020}],
        "images": {
            "class_names": CLASS_NAMES,
            "checked": "made here",
            "obtain": "pass --from with the four files",
            **{
                split: {
                    kind: {
                        "file": idx_name(split, kind),
                        "shape": array.shape,
                        "sha256": hashlib.sha256(idx_bytes(array)).hexdigest(),
                        "description": "noise",
                    }
                    for kind, array in arrays.items()
                }
                for split, arrays in small_arrays().items()
            },
        },
    }
    if package is not None:
        content = package.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        offered = {"file": package.name, "url": url, "size": len(content), "sha256": sha256}
        values["downloads"] = {"package": offered}
    return Manifest.model_validate(values)


def write_small_images(folder: Path) -> Path:
    """The folder that a fetch makes."""
    files = write_files(folder.parent / f"{folder.name}_files", packed(small_files()))
    return fetch_images(folder, small_manifest(), origin=files)


def tar_bytes(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    """A tar archive of files and symbolic links by path."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return tar.getvalue()


def ar_bytes(members: Mapping[str, bytes]) -> bytes:
    """An ar archive."""
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        parts += [header, content, b"\n" * (len(content) % 2)]
    return b"".join(parts)


def deb_bytes(tar: bytes) -> bytes:
    """A Debian package that installs what a tar archive has."""
    # The odd length of the second member is what makes padding matter.
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": b"odd",
        "data.tar.xz": lzma.compress(tar),
    }
    return ar_bytes(members)


def write_small_package(path: Path) -> Path:
    """A Debian package of the small data set."""
    installed = {f"./usr/share/{name}": data for name, data in packed(small_files()).items()}
    path.write_bytes(deb_bytes(tar_bytes(installed | {"./usr/share/doc/README": b"hello"})))
    return path
