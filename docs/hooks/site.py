"""What mkdocs does not do by itself: generated pages, pages kept at the top of the repository, formulas."""

import re
from pathlib import Path

from mathml import with_mathml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pages import PAGES

#: Files at the top of the repository that are pages, too.
_AT_TOP = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
#: A link from such a file into docs/ is one from page to page.
_INTO_DOCS = re.compile(r"(?<=\]\()docs/")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """A page that the navigation does not place comes last, so that a new one needs one file only."""
    placed = set(_placed(config.nav))
    docs = Path(config.docs_dir)
    omitted = sorted(page.name for page in docs.glob("*.md") if page.name not in placed)
    if omitted:
        config.nav = [*(config.nav or []), {"More": omitted}]
    return config


def _placed(nav: object) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    if isinstance(nav, dict):
        return [page for part in nav.values() for page in _placed(part)]
    return [page for part in nav or [] for page in _placed(part)] if isinstance(nav, list) else []


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the program, and those from the top of the repository."""
    top = Path(config.config_file_path).parent
    for address, make in PAGES.items():
        files.append(File.generated(config, address, content=make()))
    for address, name in _AT_TOP.items():
        text = _INTO_DOCS.sub("", (top / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, address, content=text))
    return files


def on_page_content(html: str, **_: object) -> str:
    """Draw formulas."""
    return with_mathml(html)
