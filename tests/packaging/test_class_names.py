"""Names: no two classes of the package have one name in different meanings."""

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "v1builder"


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
    assert not again
