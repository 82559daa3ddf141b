"""What README and CONTRIBUTING lead to exists, and the first is short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"(?:^|`)make ([a-z-]+)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name: str) -> None:
    links = [each for each in LINK.findall((ROOT / name).read_text()) if "://" not in each]
    assert links
    assert not [each for each in links if not (ROOT / each).exists()]


def test_the_readme_takes_a_minute() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert "make demo" in text
    assert "make test" in text


def test_its_targets_are_in_the_makefile() -> None:
    pages = (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/installation.md"))
    asked = {each for page in pages for each in COMMAND.findall(page.read_text())}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= asked
    assert asked <= targets
