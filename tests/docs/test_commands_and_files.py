"""What pages tell a reader to type or to save is understood by the program of today."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from v1builder.cli import app
from v1builder.schema.config import parse_settings
from v1builder.schema.recipe import BuildRecipe
from v1builder.train.settings import Experiment

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Every call of v1builder in a block of shell, with the page it stands on."""
    found = []
    for page in PAGES:
        for block in [*blocks(page, "sh"), *blocks(page, "bash")]:
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page.name, line) for line in lines if line.strip().startswith("v1builder ")]
    return found


def test_commands_and_options_exist() -> None:
    group: Any = typer.main.get_command(app)
    calls = commands()
    assert len(calls) > 40
    assert len({page for page, _ in calls}) > 8
    for page, line in calls:
        words = line.partition("#")[0].replace("[", " ").replace("]", " ").split()[1:]
        command = group if words[0].startswith("--") else group.commands.get(words[0])
        assert command is not None, f"{page}: {line}"
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        used = {word for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known, f"{page}: {line}"


@pytest.mark.parametrize("name", ["README.md", "docs/tour.md", "docs/experiments.md"])
def test_files_to_save_are_read(name: str) -> None:
    n_read = 0
    for text in blocks(ROOT / name, "toml"):
        values = tomllib.loads(text)
        if "selection" in values:
            parse_settings(values, BuildRecipe, name)
        elif "network" in values:
            parse_settings(values, Experiment, name)
        else:  # a part of a file
            whole = {"name": "x", "network": {"path": "x"}, "task": {"name": "grating_tuning"}}
            parse_settings(whole | values, Experiment, name)
        n_read += 1
    assert n_read


def test_the_python_of_the_tour(
    small_column: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net-1").symlink_to(small_column)
    (code,) = blocks(ROOT / "docs" / "tour.md", "python")
    assert "torch.rand(2, 200" in code
    found: dict[str, Any] = {}
    exec(code.replace("2, 200", "1, 30"), found)  # noqa: S102
    network, rollout = found["network"], found["rollout"]
    assert rollout.spikes.shape == (1, 30, network.n_cells)
    (trained,) = [p for p in network.parameters() if p.requires_grad]
    assert trained.grad is not None
    assert trained.grad.abs().sum() > 0
