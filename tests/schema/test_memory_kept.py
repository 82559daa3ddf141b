"""Memory of a batch is used again by the next one, in the commands that have many."""

import subprocess
import sys

import pytest

#: Two arrays of 64 MB after one another: pages that the second finds new.
PAGES = """
import ctypes, resource, sys
{before}
def touched():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    place = libc.calloc(1, 64 << 20)
    ctypes.memset(place, 1, 64 << 20)
    libc.free(place)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
libc = ctypes.CDLL(None)
libc.calloc.restype, libc.calloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t] * 2
libc.free.argtypes = [ctypes.c_void_p]
touched()
print(touched())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library is not glibc")
@pytest.mark.parametrize(
    ("before", "kept"),
    [("", False), ("from v1builder.schema.memory import keep_memory; keep_memory()", True)],
)
def test_a_second_batch_finds_the_pages_of_the_first(before, kept):
    done = subprocess.run(
        [sys.executable, "-c", PAGES.format(before=before)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (int(done.stdout) < 100) == kept
