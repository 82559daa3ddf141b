"""Single files out of a Debian package, read into memory: nothing is unpacked to disk, no path is followed.

A package is an `ar` archive, whose member `data.tar.xz` is a tar archive of what is installed (deb(5)).
"""

import io
import lzma
import tarfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import IO

_MAGIC = b"!<arch>\n"
_HEADER = 60  # bytes: name 16, time 12, owner 6, group 6, mode 8, size 10, end 2
_END = b"`\n"
_DATA = "data.tar.xz"
_XZ_MEMORY = 128 << 20  # bytes; the strongest preset of xz needs 65 MiB


def files_of_package(path: Path, names: Collection[str], largest: int) -> dict[str, bytes]:
    """Read the files of a package that have certain names, in whatever folder of it they are.

    Args:
        path: of the package.
        names: without folders.
        largest: most bytes that the package may hold, packed or not.

    Returns:
        Contents by name, of those that are there.

    Raises:
        ValueError: it is no Debian package, is damaged or is larger.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        packed = _ar_member(file, _DATA, largest)
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    try:
        data = decompressor.decompress(packed, max_length=largest + 1)
        if len(data) > largest:
            raise ValueError(f"{_DATA} holds more than the {largest} bytes that are expected")
        if not decompressor.eof:
            raise ValueError(f"{_DATA} is cut off")
        return _tar_members(data, names)
    except (lzma.LZMAError, tarfile.TarError) as error:
        raise ValueError(f"{_DATA} is damaged: {error}") from None


def _ar_member(file: IO[bytes], wanted: str, largest: int) -> bytes:
    if file.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("not a Debian package: it is no ar archive")
    found: list[str] = []
    while header := file.read(_HEADER):
        name, size = header[:16].decode("ascii", "replace").strip(" /"), header[48:58].strip()
        if not header.endswith(_END) or len(header) != _HEADER or not size.isdigit():
            raise ValueError("its ar archive is damaged")
        found.append(name)
        n_bytes = int(size)
        if name != wanted:
            file.seek(n_bytes + n_bytes % 2, io.SEEK_CUR)  # members begin at even places
            continue
        if n_bytes > largest:
            raise ValueError(f"{wanted} has {n_bytes} bytes; expected are at most {largest}")
        content = file.read(n_bytes)
        if len(content) != n_bytes:
            raise ValueError(f"{wanted} is cut off")
        return content
    raise ValueError(f"it has no {wanted}, but {', '.join(found) or 'nothing'}")


def _tar_members(data: bytes, names: Collection[str]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            # A link has no content of its own; a sparse file can say that it is larger than the archive.
            if name not in names or not member.isreg() or member.issparse():
                continue
            content = archive.extractfile(member)
            if content is not None:
                files[name] = content.read()
    return files
