"""IDX files, the format of MNIST: unsigned bytes in an array of some dimensions, packed with gzip or not.

    offset  bytes
    0       2      zero
    2       1      type of the values, 0x08: unsigned bytes
    3       1      number of dimensions, d
    4       4 d    their sizes, big-endian
    4+4d    ...    the values, the last dimension changing fastest

A file is not trusted: what its header announces is compared with what is expected before it is read, and of
a packed file no more is unpacked than that.
"""

import gzip
import hashlib
import io
import math
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_GZIP = b"\x1f\x8b"
_UNSIGNED_BYTES = 0x08
_MOST_DIMENSIONS = 3


def read_idx(file: io.BufferedIOBase, largest: int) -> tuple[NDArray[np.uint8], str]:
    """Read an IDX file of unsigned bytes.

    Args:
        file: at its beginning; it can be wound back.
        largest: most values that it may have.

    Returns:
        The values, read-only, with the dimensions of the header; the SHA-256 of the file, unpacked.

    Raises:
        ValueError: it is something else, has more values, or is not whole.
        OSError: it cannot be read.
    """
    packed = file.read(len(_GZIP)) == _GZIP  # an unpacked file begins with zeros
    file.seek(0)
    if not packed:
        return _read(file, largest)
    try:
        return _read(gzip.GzipFile(fileobj=file), largest)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"the gzip file is damaged: {error}") from None


def _read(stream: io.BufferedIOBase, largest: int) -> tuple[NDArray[np.uint8], str]:
    magic = _header(stream, 4)
    if magic[:2] != b"\0\0":
        raise ValueError(f"it begins with {magic.hex(' ')}; an IDX file begins with 00 00")
    _, _, kind, n_dimensions = magic
    if kind != _UNSIGNED_BYTES:
        raise ValueError(f"its values are of type 0x{kind:02x}, and not unsigned bytes, 0x08")
    if not 1 <= n_dimensions <= _MOST_DIMENSIONS:
        raise ValueError(f"it has {n_dimensions} dimensions, and not 1 to {_MOST_DIMENSIONS}")
    sizes = _header(stream, 4 * n_dimensions)
    shape = struct.unpack(f">{n_dimensions}I", sizes)
    n_values = math.prod(shape)
    if n_values > largest:
        raise ValueError(f"its header announces {shape} values; expected are at most {largest}")
    values = stream.read(n_values + 1)  # one more tells that it goes on
    if len(values) != n_values:
        got = "more" if len(values) > n_values else str(len(values))
        raise ValueError(f"its header announces {n_values} values, and it has {got}")
    digest = hashlib.sha256(magic + sizes)
    digest.update(values)
    return np.frombuffer(values, np.uint8).reshape(shape), digest.hexdigest()


def _header(stream: io.BufferedIOBase, n_bytes: int) -> bytes:
    got = stream.read(n_bytes)
    if len(got) != n_bytes:
        raise ValueError("it ends within its header")
    return got
