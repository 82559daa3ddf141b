"""One version, one licence and one list of Python versions, wherever they are written."""

import re
import tomllib
from pathlib import Path

import yaml

import v1builder

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["title"] == PROJECT["name"] == v1builder.__name__


def test_the_changelog_begins_with_this_version() -> None:
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first is not None
    assert first[1] == PROJECT["version"]


def test_the_workflow_tries_every_python_that_is_promised() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    jobs = workflow["jobs"]
    tried = set(jobs["tests"]["strategy"]["matrix"]["python"])
    promised = {
        match[1]
        for each in PROJECT["classifiers"]
        if (match := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", each))
    }
    assert tried == promised
    assert PROJECT["requires-python"] == f">={min(promised, key=lambda v: int(v[2:]))}"
    resolutions = {each["uv"] for each in jobs["dependencies"]["strategy"]["matrix"]["include"]}
    assert resolutions == {"lowest-direct", "highest"}
    assert "gpu" in jobs["gpu"]["if"]


def test_the_pinned_versions_are_allowed() -> None:
    """What `make` installs is within what the project says it runs with."""
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.lower().split("==") for line in lines if "==" in line)
    extras = PROJECT["optional-dependencies"]
    asked = [*PROJECT["dependencies"], *extras["docs"], *extras["test"]]
    for requirement in map(Requirement, asked):
        name = requirement.name.lower()
        if name != PROJECT["name"]:
            assert requirement.specifier.contains(pins[name]), name
