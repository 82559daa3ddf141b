"""IDX files read back what was written, and a damaged or hostile one is refused before it costs memory."""

import gzip
import hashlib
import io
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from small_images import idx_bytes

from v1builder.fetch.idx import read_idx

ARRAYS = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=3, max_side=6))
SMALL = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)


@given(ARRAYS, st.booleans())
def test_what_is_written_is_read(values: NDArray[np.uint8], packed: bool) -> None:
    plain = idx_bytes(values)
    found, sha256 = read_idx(io.BytesIO(gzip.compress(plain) if packed else plain), values.size)
    assert found.dtype == np.uint8
    assert found.shape == values.shape
    np.testing.assert_array_equal(found, values)
    assert sha256 == hashlib.sha256(plain).hexdigest()


def test_header_is_big_endian_as_published() -> None:
    """The first 16 bytes of train-images-idx3-ubyte of MNIST, whose dimensions are 60000, 28, 28."""
    header = bytes.fromhex("00000803 0000ea60 0000001c 0000001c")
    found, _ = read_idx(io.BytesIO(header + bytes(60000 * 28 * 28)), 60000 * 28 * 28)
    assert found.shape == (60000, 28, 28)


@given(ARRAYS, st.booleans(), st.data())
def test_a_file_that_is_cut_off_anywhere(
    values: NDArray[np.uint8], packed: bool, data: st.DataObject
) -> None:
    whole = gzip.compress(idx_bytes(values)) if packed else idx_bytes(values)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match=r"ends within its header|and it has|gzip|begins with"):
        read_idx(io.BytesIO(whole[:cut]), values.size)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_goes_on(packed: bool) -> None:
    longer = idx_bytes(SMALL) + b"\0"
    with pytest.raises(ValueError, match="announces 24 values, and it has more"):
        read_idx(io.BytesIO(gzip.compress(longer) if packed else longer), 1000)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"\x89PNG", "begins with 89 50 4e 47"),
        (b"\0\0\x0d\x01", "type 0x0d, and not unsigned bytes"),
        (b"\0\0\x08\0", "0 dimensions"),
        (b"\0\0\x08\x04", "4 dimensions"),
    ],
)
def test_another_magic_number(header: bytes, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_idx(io.BytesIO(header + bytes(100)), 1000)


def test_sizes_are_compared_before_values_are_read() -> None:
    """Dimensions whose product would wrap in 64 bits, and one value too many."""
    for shape in ((2**32 - 1, 2**32 - 1, 2**32 - 1), (5, 5)):
        header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
        file = io.BytesIO(header + bytes(100))
        with pytest.raises(ValueError, match="expected are at most 24"):
            read_idx(file, 24)
        assert file.tell() == len(header)


def test_no_more_is_unpacked_than_announced() -> None:
    bomb = gzip.compress(idx_bytes(SMALL) + bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="it has more"):
            read_idx(io.BytesIO(bomb), SMALL.size)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_byte_changed_in_a_packed_file() -> None:
    """Where gzip does not see it (the time in its header) the values are the same."""
    plain = idx_bytes(SMALL)
    whole = gzip.compress(plain)
    for place in range(2, len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        try:
            _, sha256 = read_idx(io.BytesIO(changed), SMALL.size)
        except ValueError:
            continue
        assert sha256 == hashlib.sha256(plain).hexdigest()
