"""What docs/live-data.md tells a user to write works as it stands there."""

import re
import tomllib
from pathlib import Path

from synphys_database import write_database

from v1builder.curate import cell_models, read_store
from v1builder.fetch.live import Pins
from v1builder.schema.config import parse_settings
from v1builder.schema.recipe import BuildRecipe

PAGE = Path(__file__).parents[2] / "docs" / "live-data.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_recipes_select_cells_for_all_their_populations() -> None:
    store = read_store()
    numbers = []
    for text in blocks("toml"):
        values = tomllib.loads(text)
        if "selection" in values:
            recipe = parse_settings(values, BuildRecipe, PAGE)
            numbers.append(cell_models(store, recipe.selection)["population"].nunique())
    assert numbers == [22, 7]


def test_pins_are_pins() -> None:
    (pins,) = (text for text in blocks("toml") if text.startswith("files."))
    assert len(parse_settings(tomllib.loads(pins), Pins, PAGE).files) == 1


def test_any_grouping_of_cells(tmp_path: Path) -> None:
    (code,) = blocks("python")
    path = re.search(r'"(store/raw/[^"]+)"', code)
    assert path is not None
    database = write_database(tmp_path / "db.sqlite")
    exec(code.replace(path.group(1), str(database)), {})  # noqa: S102
