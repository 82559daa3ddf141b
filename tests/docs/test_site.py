"""The documentation: it builds without a warning, nothing is missing in it, and it needs no other host."""

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import typer

import v1builder
from v1builder.cli import app
from v1builder.experiments.ablations import catalogue
from v1builder.measures import MEASURES
from v1builder.protocols import PROTOCOLS
from v1builder.schema.config import Settings
from v1builder.schema.manifests import read_manifests
from v1builder.schema.recipe import BuildRecipe
from v1builder.train.settings import Experiment

ROOT = Path(__file__).parents[2]
HEADING = re.compile(r'<h[23] id="([^"]+)">')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; links and anchors are checked while it is built, and every warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "hooks"))


def sections(page: Path) -> dict[str, str]:
    """The HTML below every heading of a page, by the heading's anchor."""
    parts = HEADING.split(page.read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def first_column(html: str) -> set[str]:
    return {unescape(each) for each in re.findall(r"<tr>\s*<td><code>(.*?)</code></td>", html)}


def keys_by_table(schema: dict[str, Any]) -> dict[str, set[str]]:
    """What pydantic itself says that a file may have: keys by the class of their table."""
    tables = {schema["title"]: schema, **schema["$defs"]}
    return {name: set(table["properties"]) for name, table in tables.items()}


def test_every_key_of_an_experiment_is_there(site: Path) -> None:
    schema = Experiment.model_json_schema()
    expected = keys_by_table(schema)
    assert len(expected) > 20
    page = sections(site / "reference" / "experiment" / "index.html")
    assert expected["Experiment"] == first_column(page["keys-of-the-file"]) | {
        "task", "also", "readout", "objective", "network", "model", "train", "measure", "compare"
    }  # fmt: skip
    for table in ("Network", "Train", "Measure", "Compare"):
        assert first_column(page[table.lower()]) == expected[f"{table}Settings"]
    assert first_column(page["model"]) == expected["ModelSettings"] - {"surrogate"}
    assert first_column(page["modelsurrogate"]) == expected["SurrogateSettings"]
    members = {}
    for room, selects in (("tasks", "name"), ("readouts", "kind"), ("objectives", "kind")):
        for anchor, html in sections(site / "reference" / room / "index.html").items():
            members[anchor] = first_column(html) | {selects}
    definitions = schema["$defs"]
    for name, keys in expected.items():
        own = definitions.get(name, {}).get("properties", {})
        tag = own.get("kind", own.get("name", {})).get("const")
        if tag is not None:
            assert members.pop(tag) == keys, tag
    assert not members


def test_every_key_of_a_recipe_is_there(site: Path) -> None:
    page = sections(site / "reference" / "recipe" / "index.html")
    for name, field in BuildRecipe.model_fields.items():
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, Settings)
        assert first_column(page[name]) == set(field.annotation.model_fields)
    assert "um, at most" not in page["boundary"]
    assert "number, above 0" in page["boundary"]


def test_every_option_is_there(site: Path) -> None:
    page = sections(site / "reference" / "command-line" / "index.html")
    group: Any = typer.main.get_command(app)
    assert len(page) == len(group.commands) + 1
    for name, command in group.commands.items():
        asked = command.get_help(typer.Context(command, info_name=name))
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", asked)) - {"--help"}
        shown = " ".join(first_column(page[f"v1builder-{name}"]))
        missing = {option for option in options if option not in shown.split()}
        assert not missing, name
    assert len(re.findall(r"<code>required</code>|>required<", str(page))) > 20


def test_every_member_of_a_register_is_there(site: Path) -> None:
    measures = sections(site / "reference" / "measures" / "index.html")
    assert {*MEASURES, *PROTOCOLS} <= set(measures)
    ablations = sections(site / "reference" / "ablations" / "index.html")
    words = set(re.findall(r"(?m)^\| `(\w+)", catalogue()))
    assert set(ablations) == words
    sources = (site / "reference" / "sources" / "index.html").read_text(encoding="utf-8")
    for manifest in read_manifests():
        for reference in manifest.references:
            assert (reference.doi or reference.title) in unescape(sources)


def test_every_public_name_is_there(site: Path) -> None:
    html = (site / "python" / "index.html").read_text(encoding="utf-8")
    anchors = set(re.findall(r'id="(v1builder\.[\w.]+)"', html))
    public = {
        f"{each.__module__}.{each.__qualname__}"
        for each in (getattr(v1builder, name) for name in v1builder.__all__)
    }
    assert public <= anchors


def test_nothing_comes_from_another_host(site: Path) -> None:
    pages = [*site.rglob("*.html")]
    assert len(pages) > 30
    for page in pages:
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]* src="?([^" >]+)', html)
        loaded += re.findall(r'<link[^>]* href="?([^" >]+)', html)
        assert loaded
        assert not [each for each in loaded if re.match(r"(https?:)?//", each)], page
        assert 'class="mermaid"' not in html  # which the theme would fetch
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )[\"']?(https?:)?//", style.read_text())


def test_formulas_are_drawn(site: Path) -> None:
    pages = {page.parent.name: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    assert pages["science"].count("<math ") > 60
    for name, html in pages.items():
        assert 'class="arithmatex"' not in html, name


def test_a_formula_that_is_not_known_is_an_error(hooks: None) -> None:
    from mathml import FormulaError, with_mathml

    drawn = with_mathml(r'<p><span class="arithmatex">\(a &lt; \tau_f\)</span></p>')
    assert drawn.startswith("<p><math ")
    assert "<mi>a</mi><mo>&#x0003C;</mo>" in drawn
    with pytest.raises(FormulaError, match="nosuchcommand"):
        with_mathml(r'<div class="arithmatex">\[ \nosuchcommand{x} \]</div>')


def test_a_key_without_a_meaning_is_an_error(hooks: None) -> None:
    from keys import UndocumentedKeyError, key_table

    class Half(Settings):
        """Of two keys.

        Attributes:
            rate: Hz,
                of one cell.
        """

        rate: float = 2.0

    class Whole(Half):
        """Of three."""

        phase: float

    assert "| `rate` | number | `2.0` | Hz, of one cell. |" in key_table(Half)
    with pytest.raises(UndocumentedKeyError, match="'phase'"):
        key_table(Whole)
