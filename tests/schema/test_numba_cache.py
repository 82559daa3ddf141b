"""Compiled kernels are kept, and forgotten when any of their sources changes."""

from v1builder.schema.numba_cache import forget_stale

PATTERNS = ("_kernels*.py", "_compiled.py")


def test_kernels_of_other_sources_are_forgotten(tmp_path):
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    (tmp_path / "_compiled.py").write_text("a = 1\n")
    (tmp_path / "_kernels_layout.py").write_text("b = 1\n")

    def kept():
        return sorted(path.name for path in cache.glob("*.nb?"))

    def compiled():
        for name in ("_kernels_forward.f-1.py311.nbi", "_kernels_forward.f-1.py311.1.nbc"):
            (cache / name).write_bytes(b"")

    compiled()
    forget_stale(tmp_path, *PATTERNS)  # nobody knows what they were compiled from
    assert kept() == []
    compiled()
    forget_stale(tmp_path, *PATTERNS)
    assert len(kept()) == 2
    (tmp_path / "_kernels_layout.py").write_text("b = 2\n")
    forget_stale(tmp_path, *PATTERNS)
    assert kept() == []
    compiled()
    (tmp_path / "other.py").write_text("c = 1\n")
    forget_stale(tmp_path, *PATTERNS)
    assert len(kept()) == 2
