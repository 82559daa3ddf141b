"""docs/ablations.md says what the ablations say of themselves."""

from pathlib import Path

from v1builder.experiments.ablations import catalogue

PAGE = Path(__file__).parents[2] / "docs/ablations.md"


def test_the_catalogue_on_the_page_is_that_of_the_register():
    assert catalogue() in PAGE.read_text(encoding="utf-8")
