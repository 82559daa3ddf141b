"""Which files kernels are compiled from, and which parts of a backend know of which compiler."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from v1builder.model.backends import cpu
from v1builder.model.backends.cpu.compiled import SOURCES

FOLDER = Path(cpu.__file__).parent


def test_all_that_is_compiled_is_forgotten_when_any_of_it_changes():
    """numba itself compares a compiled function with its own file alone."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py")}
    compiled = {name for name, text in texts.items() if re.search(r"^@(njit|kernel)", text, re.M)}
    assert {"forward.py", "backward.py", "walk.py"} <= compiled
    used = {
        f"{module}.py"
        for name in compiled
        for module in re.findall(r"from v1builder\.model\.backends\.cpu\.(\w+) import", texts[name])
    }
    assert compiled | used <= set(SOURCES)
    assert all((FOLDER / name).exists() for name in SOURCES)


@pytest.mark.parametrize(
    ("module", "foreign"),
    [("cuda.passes", "numba"), ("driver", "numba"), ("cpu.kernels", "triton.language")],
)
def test_no_backend_imports_the_compiler_of_another(module, foreign):
    pytest.importorskip("triton")
    code = (
        f"import sys; import v1builder.model.backends.{module}; print({foreign!r} in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
