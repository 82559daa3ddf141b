"""Every notebook runs from top to bottom, as it is in git, without a word on stderr."""

import ast
import importlib
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
#: What a reader must find: figures, and sentences that come from results, not from the text.
SHOWS = {
    "01_data.ipynb": (3, "cell models; borrowed: {'e4other': "),
    "02_column.ipynb": (5, "same resting weights: True"),
    "03_simulate.ipynb": (3, "Rates score below recorded units in 3 of 3 metrics"),
    "04_train.ipynb": (1, "better than guessing: True"),
    "06_tasks.ipynb": (2, "the test has new images only: True"),
    "07_dynamics.ipynb": (5, "a spike more is forgotten: "),
    "05_ablate.ipynb": (1, "4 differences; a sign-flip test gives p >= 0.5"),
}


def _read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / name, as_version=4)


def _code(name: str) -> list[str]:
    return [cell.source for cell in _read(name).cells if cell.cell_type == "code"]


def test_there_are_the_notebooks_that_are_tested():
    assert sorted(SHOWS) == NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_without_output(name):
    for cell in _read(name).cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_imports_only_what_is_public(name):
    imported = [
        (str(node.module), alias.name)
        for source in _code(name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("v1builder")
        for alias in node.names
    ]
    for module, member in imported:
        if module.startswith("v1builder.analysis."):  # measures, one module per subject
            assert not member.startswith("_")
        else:
            assert module.count(".") == 1
            assert member in importlib.import_module(module).__all__, (module, member)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    # The kernel inherits the environment. One thread: several of a busy machine wait for one another.
    for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # no settings of the user
    monkeypatch.delenv("MPLBACKEND", raising=False)
    run = tmp_path / "run"
    run.mkdir()
    notebook = _read(name)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(run)}}
    ).execute()

    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    complaints = [out.text for out in outputs if out.get("name") == "stderr"]
    assert complaints == []
    figures, sentence = SHOWS[name]
    assert sum("image/png" in out.get("data", {}) for out in outputs) >= figures
    said = "".join(out.text for out in outputs if out.get("name") == "stdout")
    assert sentence in said, said
    assert [path.name for path in run.iterdir()] == ["work"]
