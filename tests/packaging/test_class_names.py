"""Names: no two classes of the package have one name in different meanings."""

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "v1builder"
#: One thing in the two compiled backends: the fused one has it for numpy's arrays, triton's for tensors.
TWINS = {
    "Backward", "CellArrays", "Dynamics", "EdgePlan", "Forward", "Graph", "InputSpikes",
    "RolloutSetting", "Sites",
}  # fmt: skip


def places_by_name():
    """Modules in which a class of each public name is defined."""
    found = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path.relative_to(PACKAGE)))
    return found


def test_a_name_is_that_of_one_class():
    again = {name: places for name, places in places_by_name().items() if len(places) > 1}
    of_backends = {
        name: places
        for name, places in again.items()
        if len(places) == 2 and all(place.startswith("model/backends/_") for place in places)
    }
    assert set(of_backends) == TWINS  # else shorten the list
    others = {name: places for name, places in again.items() if name not in of_backends}
    assert not others
