"""The code of docs/layers.md, run as one program, and what the page says of it."""

import re
from pathlib import Path

import pytest

from v1builder.sonata import validate

PAGE = Path(__file__).parents[2] / "docs" / "layers.md"
CODE = re.compile(r"```python\n(.*?)```", re.S)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The names that the page's program leaves behind, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("page")
    blocks = CODE.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) == 5
    found: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for number, block in enumerate(blocks):
            exec(compile(block, f"{PAGE.name}, block {number}", "exec"), found)  # noqa: S102
    return found, folder


def test_the_layer_learns_which_pulse_came_first(ran):
    found, _ = ran
    assert found["accuracy"] > 0.95
    untrained = found["train"](found["GLIF"](2, 32, seed=1), steps=0)
    assert untrained < 0.65


def test_its_cells_and_files_are_as_it_says(ran):
    found, folder = ran
    assert set(found["fast"]["ei"]) == {"i"}
    assert set(found["inhibitory"].arrays.cells.attributes["pop_name"]) <= set(
        found["fast"]["population"]
    )
    assert validate(folder / "trained_layer") == []
