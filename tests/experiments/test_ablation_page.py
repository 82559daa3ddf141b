"""docs/ablations.md says what the ablations and the table of parameters say of themselves."""

from pathlib import Path

from v1builder.experiments.ablations import catalogue
from v1builder.schema import parameters

PAGE = Path(__file__).parents[2] / "docs/ablations.md"


def test_the_tables_on_the_page_are_those_of_the_code():
    page = PAGE.read_text(encoding="utf-8")
    assert catalogue() in page
    assert parameters.table() in page
